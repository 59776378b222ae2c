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
    let due = pipe.leases.not_extended_since(Instant::now() - pipe.heartbeat_interval / 2);
    for leases in due.chunks(STORE_BATCH_MAX) {
        match pipe.extend(leases.to_vec()).await {
            Ok(answers) => count_lost(pipe, &answers),
            Err(error) => {
                warn!(%error, leases = leases.len(), "a heartbeat failed");
                return pipe.heartbeat_interval / 8;
            }
        }
    }
    pipe.heartbeat_interval
}

fn count_lost(pipe: &Pipe, answers: &[Heartbeat]) {
    let lost = answers.iter().filter(|answer| **answer == Heartbeat::Lost).count();
    if lost > 0 {
        warn!(leases = lost, "leases were lost: their tasks were cancelled or taken back");
    }
    (0..lost).for_each(|_| pipe.tally.lease_lost());
}
