//! Keeps the leases of this worker alive, all in one call, those of unstarted and unsettled tasks included. A
//! lost lease cancels its handler.

use std::sync::Arc;
use std::time::Duration;

use taskqueue_core::Heartbeat;
use tokio::time::Instant;
use tracing::warn;

use crate::pipe::Pipe;
use crate::settings::STORE_BATCH_MAX;

/// Beats until the worker ends.
pub(crate) async fn run(pipe: Arc<Pipe>) {
    let mut wait = pipe.heartbeat_interval;
    loop {
        tokio::select! {
            () = pipe.tokens.end.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        wait = beat(&pipe).await;
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
            warn!(%error, leases = leases.len(), "a heartbeat failed; it is repeated soon");
        }
        if extended.map_or(true, |answers| answers.contains(&Heartbeat::Locked)) {
            wait = pipe.heartbeat_interval / 8;
        }
    }
    wait
}
