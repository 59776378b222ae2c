//! The queue as the dashboard asks it: each question has a time limit, and only a few are under way at once. It owns the
//! limits; what is asked, and how an answer looks, is elsewhere.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use taskqueue_core::{Queue, Result as QueueResult};
use tokio::sync::Semaphore;

use crate::failure::Failure;

/// How many questions are under way at once. A service's pool is for its workers: viewers get this much of it.
const QUESTIONS_MAX: usize = 4;

/// After how long a request that asks for many tasks, one or a page after the other, begins no other question.
pub(crate) const REQUEST_MAX: Duration = Duration::from_secs(5);

/// A queue with limits on what it is asked.
pub(crate) struct Asked {
    queue: Arc<dyn Queue>,
    limit: Duration,
    places: Semaphore,
}

impl Asked {
    /// Of this queue, each question for at most `limit`.
    pub(crate) fn new(queue: Arc<dyn Queue>, limit: Duration) -> Self {
        Self { queue, limit, places: Semaphore::new(QUESTIONS_MAX) }
    }

    /// What questions are put to.
    pub(crate) fn queue(&self) -> &dyn Queue {
        &*self.queue
    }

    /// How long a question may take, the wait for its place included.
    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    /// How long a request may take: two questions, or one that was begun when a request on many tasks may still do so.
    pub(crate) fn answer_max(&self) -> Duration {
        self.limit.saturating_add(self.limit.max(REQUEST_MAX))
    }

    /// The answer, or why there is none.
    pub(crate) async fn ask<T>(&self, question: impl Future<Output = QueueResult<T>>) -> Result<T, Failure> {
        let answer = async {
            let _place = self.places.acquire().await;
            question.await
        };
        match tokio::time::timeout(self.limit, answer).await {
            Ok(answer) => answer.map_err(|error| Failure::of_queue(&error)),
            Err(_) => Err(Failure::too_slow(self.limit)),
        }
    }
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked").field("limit", &self.limit).finish_non_exhaustive()
    }
}
