//! Keeps the leases of this worker alive, all in one call, those of unstarted and unsettled tasks included. A
//! lost lease cancels its handler. Of a cancel in this process it does not wait to learn.

use std::sync::Arc;
use std::time::Duration;

use taskqueue_core::{Heartbeat, Queue, TaskId};
use tokio::time::Instant;
use tracing::warn;

use crate::escaped::Escaped;
use crate::pipe::Pipe;
use crate::settings::STORE_BATCH_MAX;
use crate::timing::later;

/// Beats until the worker ends.
pub(crate) async fn run(pipe: Arc<Pipe>) {
    let mut cancels = pipe.queue.wake_up().listen_cancelled();
    let mut next = later(Instant::now(), pipe.heartbeat_interval);
    loop {
        tokio::select! {
            () = pipe.tokens.end.cancelled() => return,
            id = cancels.cancelled() => check(&pipe, id).await,
            () = tokio::time::sleep_until(next) => next = later(Instant::now(), beat(&pipe).await),
        }
    }
}

/// Lets the store say whether a task is lost that is said to be cancelled, where this worker has it.
async fn check(pipe: &Pipe, id: TaskId) {
    let leases = pipe.leases.of_task(id);
    if !leases.is_empty()
        && let Err(error) = pipe.extend(leases).await
    {
        warn!(error = %Escaped(&error), %id, "a cancelled task could not be looked up; the next heartbeat finds it");
    }
}

/// Extends what is due, and answers how long to wait for the next beat.
async fn beat(pipe: &Pipe) -> Duration {
    // Younger leases can wait for the next beat: they are then at most one and a half intervals old.
    let Some(since) = Instant::now().checked_sub(pipe.heartbeat_interval / 2) else {
        return pipe.heartbeat_interval;
    };
    let due = pipe.leases.not_extended_since(since);
    let mut wait = pipe.heartbeat_interval;
    for leases in due.chunks(STORE_BATCH_MAX) {
        let extended = pipe.extend(leases.to_vec()).await;
        if let Err(error) = &extended {
            warn!(error = %Escaped(&error), leases = leases.len(), "a heartbeat failed; it is repeated soon");
        }
        if extended.map_or(true, |answers| answers.contains(&Heartbeat::Locked)) {
            wait = pipe.heartbeat_interval / 8;
        }
    }
    wait
}
