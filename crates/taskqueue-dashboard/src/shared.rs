//! An answer that all viewers share: one of them asks, the others wait for that answer, and it is kept for a while. It
//! knows neither the question nor the answer.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::failure::Failure;

/// How long an answer is kept at least.
const KEPT_MIN: Duration = Duration::from_secs(1);
/// How many times as long as it took to get: a database whose answer is dear is asked for a fifth of the time at most.
const KEPT_TIMES: u32 = 4;

/// The last answer, if there is one. A failure is an answer as well: it is not asked for once a viewer.
#[derive(Debug)]
pub(crate) struct Shared<T> {
    last: Mutex<Option<Kept<T>>>,
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self { last: Mutex::new(None) }
    }
}

#[derive(Debug)]
struct Kept<T> {
    answer: Result<T, Failure>,
    until: Instant,
}

impl<T: Clone> Shared<T> {
    /// The answer that is kept, or else that of `ask`, for which all who come meanwhile wait, each at most `limit`. Whoever
    /// asks and goes away leaves the question to the next.
    pub(crate) async fn get(
        &self,
        limit: Duration,
        ask: impl AsyncFnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let locked = tokio::time::timeout(limit, self.last.lock()).await;
        let mut last = locked.map_err(|_| Failure::too_slow(limit))?;
        if let Some(kept) = last.as_ref().filter(|kept| Instant::now() < kept.until) {
            return kept.answer.clone();
        }
        let began = Instant::now();
        let answer = ask().await;
        let until = Instant::now() + kept_for(began.elapsed());
        *last = Some(Kept { answer: answer.clone(), until });
        answer
    }

    /// Lets the next one ask: what was asked about has changed. Waits for whoever asks now, at most `limit`.
    pub(crate) async fn forget(&self, limit: Duration) {
        // One that asks for longer than that gets an answer that is as good as new.
        if let Ok(mut last) = tokio::time::timeout(limit, self.last.lock()).await {
            *last = None;
        }
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
            assert_eq!(shared.get(limit, async || answer).await.ok(), expected);
        }
        tokio::time::advance(KEPT_MIN).await;
        for answer in [Err(Failure::too_slow(limit)), Ok(3)] {
            assert!(shared.get(limit, async || answer).await.is_err(), "the failure is kept");
        }
        tokio::time::advance(KEPT_MIN).await;
        assert_eq!(shared.get(limit, async || Ok(4)).await.ok(), Some(4));
    }
}
