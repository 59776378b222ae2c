//! Random histories: whatever happens in whatever order, the backend and the model agree after every step, and
//! in the end every task is finished.

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

use crate::history::history;
use crate::replay::replay;
use crate::{Harness, Unmet, Verdict};

/// How many histories are replayed unless `PROPTEST_CASES` says otherwise.
const CASES_DEFAULT: u32 = 48;
/// How long a failing history may be shrunk.
const SHRINK_MS_MAX: u32 = 60_000;
/// The variable that repeats a run.
const SEED: &str = "TASKQUEUE_SEED";

pub(crate) async fn random_histories_agree_with_the_model(harness: &dyn Harness) -> Verdict {
    let seed = std::env::var(SEED).ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    tokio::task::block_in_place(|| run(harness, seed))
}

fn run(harness: &dyn Harness, seed: u64) -> Verdict {
    let mut config =
        Config { failure_persistence: None, max_shrink_time: SHRINK_MS_MAX, ..Config::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = CASES_DEFAULT;
    }
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed.to_le_bytes(); 4].concat());
    let runtime = tokio::runtime::Handle::current();
    let outcome = TestRunner::new_with_rng(config, rng).run(&history().boxed(), |steps| {
        runtime.block_on(replay(harness, steps));
        Ok(())
    });
    outcome.map_err(|error| {
        let found = match error {
            TestError::Fail(reason, steps) => {
                format!("{reason}\nthe smallest history that shows it: {steps:#?}")
            }
            TestError::Abort(reason) => format!("given up: {reason}"),
        };
        Unmet::Failed(format!("{found}\n{SEED}={seed} repeats it"))
    })
}
