//! How many enqueues that may wait for a transaction of somebody else's run at once. Who enqueues a unique key waits for as long as
//! a transaction that holds it is open; without a limit such calls would take all connections, and heartbeats, settles and
//! claims would fail for want of one. It knows no database.

use std::sync::Arc;
use std::time::Duration;

use taskqueue_core::{Error, ErrorKind, NewTask, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How enqueues of unique keys take turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyedEnqueues {
    /// How many run at once.
    at_once: usize,
    /// How long one waits for its turn before it fails as `Unavailable`.
    wait_max: Duration,
}

impl KeyedEnqueues {
    /// All at once.
    pub const UNLIMITED: Self = Self { at_once: usize::MAX, wait_max: Duration::MAX };

    /// So many that they leave half of a pool's connections for all else. One waits for its turn as long as for a connection.
    pub fn of_pool(connections_max: u32, acquire_timeout: Duration) -> Self {
        Self { at_once: connections_max as usize / 2, wait_max: acquire_timeout }
    }
}

/// The turns of one queue's enqueues of unique keys.
#[derive(Debug)]
pub(crate) struct Keyed {
    turns: Arc<Semaphore>,
    wait_max: Duration,
}

impl Keyed {
    pub(crate) fn new(KeyedEnqueues { at_once, wait_max }: KeyedEnqueues) -> Self {
        Self { turns: Arc::new(Semaphore::new(at_once.clamp(1, Semaphore::MAX_PERMITS))), wait_max }
    }

    /// The turn of an enqueue of these, which ends when it is dropped. None where none has a unique key: it need not wait.
    ///
    /// # Errors
    /// `Unavailable` where it is long in coming.
    ///
    /// # Cancel safety
    /// Whoever is dropped while it waits is not waited for.
    pub(crate) async fn turn(&self, tasks: &[NewTask]) -> Result<Option<OwnedSemaphorePermit>> {
        if tasks.iter().all(|task| task.unique_key.is_none()) {
            return Ok(None);
        }
        let turn = timeout(self.wait_max, Arc::clone(&self.turns).acquire_owned()).await.map_err(|_| {
            let message = "others that enqueue unique keys wait for transactions that hold them";
            Error::new(ErrorKind::Unavailable, "enqueue", message).transient(true)
        })?;
        Ok(Some(turn.expect("the semaphore is never closed")))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    fn task() -> NewTask {
        NewTask::raw("mail", "1").expect("it is a task")
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_enqueues_of_unique_keys_run_at_once_and_others_never_wait_for_them() {
        let limit = Duration::from_secs(3);
        let keyed = Keyed::new(KeyedEnqueues::of_pool(3, limit));
        let (one, other) = ([task().unique_key(1)], [task(), task().unique_key(2)]);
        let turn = keyed.turn(&one).await.expect("it is the first");
        assert!(turn.is_some());

        let began = Instant::now();
        let late = keyed.turn(&other).await.expect_err("the first one goes on");

        assert_eq!(began.elapsed(), limit, "as long as it would wait for a connection");
        assert_eq!((late.kind(), late.is_transient()), (ErrorKind::Unavailable, true));
        assert!(keyed.turn(&[task()]).await.expect("it has no key").is_none());
        drop(turn);
        assert!(keyed.turn(&other).await.expect("the first one is done").is_some());
    }
}
