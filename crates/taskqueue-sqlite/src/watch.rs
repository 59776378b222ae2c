//! Wake-ups between processes that share a file: it looks whether another connection has committed anything. They are
//! hints: polling is what correctness rests on. It owns when to look; it knows no task.

use std::sync::OnceLock;
use std::time::Duration;

use sqlx::SqlitePool;
use taskqueue_core::WakeUp;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

/// How often the file is looked at while others change it.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);
/// How often after that.
const QUIET_INTERVAL: Duration = Duration::from_millis(25);
/// How long after a change more are expected.
const QUIET_AFTER: Duration = Duration::from_millis(100);
/// The shortest time between two wake-ups: workers of several processes would ask each time one of them settles.
const WAKE_INTERVAL: Duration = Duration::from_millis(10);

/// The wake-ups of one queue. Dropping it ends its task.
#[derive(Debug)]
pub(crate) struct Watch {
    task: OnceLock<AbortOnDropHandle<()>>,
    /// The runtime that the queue was opened on: wake-ups may be asked for outside of any.
    runtime: Handle,
}

impl Watch {
    /// Starts nothing yet. Within a runtime only.
    pub(crate) fn new() -> Self {
        Self { task: OnceLock::new(), runtime: Handle::current() }
    }

    /// Rouses `wake_up` from now on when anybody else changes the file that `writer` is the queue's connection to, until
    /// that is closed.
    pub(crate) fn hear(&self, writer: &SqlitePool, wake_up: &WakeUp) {
        self.task.get_or_init(|| {
            let watching = watch(writer.clone(), wake_up.clone());
            AbortOnDropHandle::new(self.runtime.spawn(watching))
        });
    }
}

/// Looks until the pool is closed.
async fn watch(writer: SqlitePool, wake_up: WakeUp) {
    wake_up.set_hears_others(true);
    let mut seen = None;
    let mut changed_at = Instant::now();
    loop {
        match version(&writer).await {
            Ok(version) if seen != Some(version) => {
                seen = Some(version);
                changed_at = Instant::now();
                wake_up.notify();
                sleep(WAKE_INTERVAL).await;
                continue;
            }
            Ok(_) => {}
            Err(sqlx::Error::PoolClosed) => return,
            Err(error) => tracing::debug!(%error, "whether others changed the file could not be asked"),
        }
        let is_quiet = changed_at.elapsed() >= QUIET_AFTER;
        sleep(if is_quiet { QUIET_INTERVAL } else { LOOK_INTERVAL }).await;
    }
}

/// A number that is another one once another connection has committed: asked on the connection that the queue writes
/// with, so that what the queue does itself changes nothing. It reads the head of the WAL's index and no page.
async fn version(writer: &SqlitePool) -> sqlx::Result<i64> {
    sqlx::query_scalar("PRAGMA data_version").fetch_one(writer).await
}

#[cfg(test)]
mod tests {
    use taskqueue_core::{NewTask, Queue};

    use super::*;
    use crate::SqliteQueue;

    #[tokio::test]
    async fn the_version_of_the_file_changes_by_what_others_do_and_not_by_the_queue_itself() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("q.db").display().to_string();
        let queue = SqliteQueue::connect(&path).await.expect("the file can be made");
        queue.migrate().await.expect("it takes the tables");
        let other = SqliteQueue::connect(&path).await.expect("the file is there");
        let task = || NewTask::raw("welcome", "{}").expect("the task is valid");
        let writer = &queue.sql.dialect().writer;

        let before = version(writer).await.expect("the file answers");
        queue.enqueue(task()).await.expect("it is stored");
        assert_eq!(version(writer).await.expect("the file answers"), before);
        other.enqueue(task()).await.expect("it is stored");
        assert_ne!(version(writer).await.expect("the file answers"), before);
    }
}
