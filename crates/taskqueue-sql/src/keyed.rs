//! How many enqueues that may wait for a transaction of somebody else's run at once. Who enqueues a unique key waits for as long as
//! a transaction that holds it is open; without a limit such calls would take all connections, and heartbeats, settles and
//! claims would fail for want of one. It knows no database.

use std::sync::Arc;
use std::time::Duration;

use taskqueue_core::{Error, ErrorKind, NewTask, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How long a call waits for its turn, as it would for a connection.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// The turns of one queue's enqueues of unique keys.
#[derive(Debug)]
pub(crate) struct Keyed(Arc<Semaphore>);

impl Keyed {
    /// So many at once.
    pub(crate) fn new(at_once: usize) -> Self {
        Self(Arc::new(Semaphore::new(at_once.clamp(1, Semaphore::MAX_PERMITS))))
    }

    /// The turn of an enqueue of these, which ends when it is dropped. None where none has a unique key: it need not wait.
    ///
    /// # Errors
    /// `Unavailable` where it is long in coming.
    pub(crate) async fn turn(&self, tasks: &[NewTask]) -> Result<Option<OwnedSemaphorePermit>> {
        if tasks.iter().all(|task| task.unique_key.is_none()) {
            return Ok(None);
        }
        let turn = timeout(WAIT_MAX, Arc::clone(&self.0).acquire_owned()).await.map_err(|_| {
            let message = "others that enqueue unique keys wait for transactions that hold them";
            Error::new(ErrorKind::Unavailable, "enqueue", message).transient(true)
        })?;
        Ok(Some(turn.expect("the semaphore is never closed")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task() -> NewTask {
        NewTask::raw("mail", "1").expect("it is a task")
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_enqueues_of_unique_keys_run_at_once_and_others_never_wait_for_them() {
        let (keyed, one, other) = (Keyed::new(1), [task().unique_key(1)], [task(), task().unique_key(2)]);
        let turn = keyed.turn(&one).await.expect("it is the first");
        assert!(turn.is_some());

        let late = keyed.turn(&other).await.expect_err("the first one goes on");

        assert_eq!((late.kind(), late.is_transient()), (ErrorKind::Unavailable, true));
        assert!(keyed.turn(&[task()]).await.expect("it has no key").is_none());
        drop(turn);
        assert!(keyed.turn(&other).await.expect("the first one is done").is_some());
    }
}
