//! The queue as the dashboard asks it: each question has a time limit, and only a few are under way at once. It owns the
//! limits; what is asked, and how an answer looks, is elsewhere.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use taskqueue_core::Queue;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::Instrument as _;

use crate::failure::Failure;

/// How many views are under way at once. A service's pool is for its workers: viewers get this much of it. SQLite has four
/// readers, from which claims read as well: one is left to them.
const VIEWS_MAX: usize = 3;
/// How many actions are. They have a place of their own, so that no crowd of viewers keeps anybody from a repair.
const ACTIONS_MAX: usize = 1;

/// After how long a request that asks for many tasks, one or a page after the other, begins no other question.
pub(crate) const REQUEST_MAX: Duration = Duration::from_secs(5);

/// A queue with limits on what it is asked. Clones share them.
///
/// A backend may run a call to its end although nobody waits for it any more, as those over SQL do. So a question, once it
/// is begun, is run to its end, and holds its place until then: only the wait for it has a limit.
#[derive(Clone)]
pub(crate) struct Asked {
    queue: Arc<dyn Queue>,
    limit: Duration,
    views: Arc<Semaphore>,
    actions: Arc<Semaphore>,
}

impl Asked {
    /// Of this queue, each question for at most `limit`.
    pub(crate) fn new(queue: Arc<dyn Queue>, limit: Duration) -> Self {
        let places = |places| Arc::new(Semaphore::new(places));
        Self { queue, limit, views: places(VIEWS_MAX), actions: places(ACTIONS_MAX) }
    }

    /// What questions are put to.
    pub(crate) fn queue(&self) -> Arc<dyn Queue> {
        Arc::clone(&self.queue)
    }

    /// How long a question may take, the wait for its place included.
    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    /// How long a request may take: one question, begun when a request on many tasks may still do so.
    pub(crate) fn answer_max(&self) -> Duration {
        self.limit.saturating_add(REQUEST_MAX)
    }

    /// The answer to a question that changes nothing, or why there is none. What it makes of the queue's answer is made in its
    /// place, too.
    pub(crate) async fn view<T, F>(&self, question: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        self.ask(&self.views, question).await
    }

    /// What became of an action, or why that is not known.
    pub(crate) async fn act<T, F>(&self, action: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        self.ask(&self.actions, action).await
    }

    /// As [`view`](Self::view), and waits for the answer as long as it takes: for who asks for others, who each wait for
    /// as long as they may.
    pub(crate) async fn view_to_its_end<T>(
        &self,
        question: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let _place = self.place(&self.views).await?;
        question.await
    }

    async fn ask<T, F>(&self, places: &Arc<Semaphore>, question: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let until = Instant::now() + self.limit;
        let place = self.place(places).await?;
        let asked: JoinHandle<Result<T, Failure>> = tokio::spawn(
            async move {
                let answer = question.await;
                drop(place);
                answer
            }
            .in_current_span(),
        );
        match timeout_at(until, asked).await {
            Ok(ended) => ended.unwrap_or_else(|_| Err(Failure::broken())),
            Err(_) => Err(Failure::too_slow(self.limit)),
        }
    }

    async fn place(&self, places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Failure> {
        let place = timeout(self.limit, Arc::clone(places).acquire_owned()).await;
        place.map_err(|_| Failure::busy(self.limit))?.map_err(|_| Failure::broken())
    }
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked").field("limit", &self.limit).finish_non_exhaustive()
    }
}
