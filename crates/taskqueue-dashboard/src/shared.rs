//! An answer that all viewers share: it is asked for once, all who come meanwhile wait for it, and it is kept for a while.
//! It knows neither the question nor the answer.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::Instrument as _;

use crate::failure::Failure;

/// How long an answer is kept at least, and a failure at all.
const KEPT_MIN: Duration = Duration::from_secs(1);
/// How many times as long as it took to get: a database whose answer is dear is asked for a fifth of the time at most.
const KEPT_TIMES: u32 = 4;

/// The last answer, or the one that is being asked for. A failure is an answer as well: it is not asked for once a viewer.
#[derive(Debug)]
pub(crate) struct Shared<T> {
    last: Mutex<Option<Coming<T>>>,
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self { last: Mutex::new(None) }
    }
}

/// Where an answer will be, or is.
type Coming<T> = watch::Receiver<Option<Kept<T>>>;

#[derive(Debug)]
struct Kept<T> {
    answer: Result<T, Failure>,
    until: Instant,
}

impl<T: Clone + Send + Sync + 'static> Shared<T> {
    /// The answer that is kept, or else that of `question`, for which all who come meanwhile wait, each at most `limit`. It is
    /// asked in a task of its own: who has waited for too long, or goes away, leaves it under way for the others.
    pub(crate) async fn get<F>(&self, limit: Duration, question: F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let mut coming = self.coming(question);
        let waited = timeout(limit, coming.wait_for(Option::is_some)).await;
        let kept = waited.map_err(|_| Failure::too_slow(limit))?.map_err(|_| Failure::broken())?;
        kept.as_ref().map_or_else(|| Err(Failure::broken()), |kept| kept.answer.clone())
    }

    /// Lets the next one ask: what was asked about has changed. Who waits already gets what was asked for before.
    pub(crate) fn forget(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn coming<F>(&self, question: F) -> Coming<T>
    where
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match last.as_ref().filter(|coming| is_of_use(coming)) {
            Some(coming) => coming.clone(),
            None => last.insert(begin(question)).clone(),
        }
    }
}

fn begin<T, F>(question: F) -> Coming<T>
where
    T: Send + Sync + 'static,
    F: Future<Output = Result<T, Failure>> + Send + 'static,
{
    let (answered, coming) = watch::channel(None);
    tokio::spawn(
        async move {
            let began = Instant::now();
            let answer = question.await;
            let kept_for = if answer.is_ok() { kept_for(began.elapsed()) } else { KEPT_MIN };
            answered.send_replace(Some(Kept { answer, until: Instant::now() + kept_for }));
        }
        .in_current_span(),
    );
    coming
}

/// Whether it is not too old or, if there is none yet, somebody still asks for it.
fn is_of_use<T>(coming: &Coming<T>) -> bool {
    match coming.borrow().as_ref() {
        Some(kept) => Instant::now() < kept.until,
        None => coming.has_changed().is_ok(),
    }
}

fn kept_for(took: Duration) -> Duration {
    took.saturating_mul(KEPT_TIMES).max(KEPT_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_took_long_is_kept_for_longer() {
        assert_eq!(kept_for(Duration::from_millis(3)), KEPT_MIN);
        assert_eq!(kept_for(Duration::from_secs(2)), Duration::from_secs(8));
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_is_asked_again_once_its_answer_is_old_a_failure_too() {
        let (shared, limit) = (Shared::default(), Duration::from_secs(9));
        for (answer, expected) in [(Ok(1), Some(1)), (Ok(2), Some(1))] {
            assert_eq!(shared.get(limit, async { answer }).await.ok(), expected);
        }
        tokio::time::advance(KEPT_MIN).await;
        for answer in [Err(Failure::too_slow(limit)), Ok(3)] {
            assert!(shared.get(limit, async { answer }).await.is_err(), "the failure is kept");
        }
        tokio::time::advance(KEPT_MIN).await;
        assert_eq!(shared.get(limit, async { Ok(4) }).await.ok(), Some(4));
    }
    #[tokio::test(start_paused = true)]
    async fn who_waits_for_too_long_leaves_the_question_to_the_others_and_a_failure_is_kept_for_a_second() {
        let (shared, limit) = (Shared::default(), Duration::from_secs(2));
        let (answered, answer) = tokio::sync::oneshot::channel();
        let failure = Failure::too_slow(limit);
        let question = async { answer.await.map_err(|_| Failure::broken())? };
        assert!(shared.get(limit, question).await.is_err());
        tokio::time::advance(Duration::from_secs(60)).await;
        let (second, ()) = tokio::join!(shared.get(limit, async { Ok(1) }), async {
            let _ = answered.send(Err(failure));
        });
        assert_eq!(second.expect_err("the first question's").kind, "too_slow");
        tokio::time::advance(KEPT_MIN).await;
        assert_eq!(
            shared.get(limit, async { Ok(2) }).await.ok(),
            Some(2),
            "a failure is not kept for longer"
        );
    }

    #[tokio::test]
    async fn a_question_that_panics_is_asked_again() {
        let (shared, limit) = (Shared::default(), Duration::from_secs(60));
        let panics = async move { if limit.is_zero() { Ok(1) } else { panic!("as a driver may") } };
        assert_eq!(shared.get(limit, panics).await.expect_err("nobody answers").kind, "backend");
        assert_eq!(shared.get(limit, async { Ok(2) }).await.ok(), Some(2));
    }
}
