//! Runs behaviours, each to a verdict. It owns the runtime they run on; it knows no test framework.

use std::any::Any;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::time::Duration;

use taskqueue_core::Error;

use crate::{BEHAVIOURS, Behaviour, Harness, ORDERED};

/// How long one behaviour may take. The slowest is the model, on a durable backend.
const BEHAVIOUR_TIME_MAX: Duration = Duration::from_secs(300);

/// What a behaviour found.
pub type Verdict = Result<(), Unmet>;

/// Why a behaviour was not seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unmet {
    /// The backend does not behave so.
    Failed(String),
    /// The backend has no such thing, so that there is nothing to check.
    NotRun(&'static str),
}

impl From<Error> for Unmet {
    #[track_caller]
    fn from(error: Error) -> Self {
        Self::Failed(format!("{}: a call failed: {error}", Location::caller()))
    }
}

/// What came of one behaviour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// The backend behaves so.
    Passed,
    /// It does not; this is what was seen.
    Failed(String),
    /// There was nothing to check, for this reason.
    NotRun(&'static str),
}

/// Runs one behaviour on a runtime of its own; panics are caught and reported.
pub fn run(harness: &dyn Harness, behaviour: &Behaviour) -> Report {
    if !harness.is_ordered() && ORDERED.contains(&behaviour.name) {
        return Report::NotRun("the order of claims holds within a shard only");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("the host lets the suite start threads");
    let limited = async { tokio::time::timeout(BEHAVIOUR_TIME_MAX, (behaviour.run)(harness)).await };
    match catch_unwind(AssertUnwindSafe(|| runtime.block_on(limited))) {
        Ok(Ok(Ok(()))) => Report::Passed,
        Ok(Ok(Err(Unmet::NotRun(reason)))) => Report::NotRun(reason),
        Ok(Ok(Err(Unmet::Failed(message)))) => Report::Failed(message),
        Ok(Err(_)) => Report::Failed(format!("it did not end within {BEHAVIOUR_TIME_MAX:?}")),
        Err(panic) => Report::Failed(panic_text(panic.as_ref())),
    }
}

/// Runs one behaviour as a test: panics when it failed, says so when it was not run.
///
/// # Panics
/// When the behaviour fails, or is not in the list.
pub fn check(harness: &dyn Harness, group: &str, name: &str) {
    let behaviour = BEHAVIOURS.iter().find(|listed| listed.group == group && listed.name == name);
    match run(harness, behaviour.expect("the behaviour is listed")) {
        Report::Passed => {}
        Report::NotRun(reason) => println!("not run: {reason}"),
        Report::Failed(message) => panic!("{group}::{name}: {message}"),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked").to_owned()
}
