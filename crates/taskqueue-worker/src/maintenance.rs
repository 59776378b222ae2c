//! What a worker does for the queue on timers: promote, reclaim, clean up, sample depths. Each step is safe when
//! every worker runs it, and jittered, so that they spread.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use taskqueue_core::{Cleanup, FinishedStatuses, Queue, Result, clock};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::escaped::Escaped;
use crate::pipe::Pipe;
use crate::timing::{after_errors, jittered};

/// The most rows of one maintenance call. A full one is followed by the next at once; after another one, what is left
/// waits for the next time. A cleanup of a large table goes on then where it stopped.
const ROWS_MAX: usize = 1000;

/// Starts the loops that the settings ask for. They end when the worker is stopped.
pub(crate) fn start(pipe: &Arc<Pipe>) {
    let config = &pipe.settings.maintenance;
    if let Some(interval) = config.promote_interval {
        every(pipe, "promote", interval, promote);
    }
    if let Some(interval) = config.reclaim_interval {
        every(pipe, "reclaim", interval, reclaim);
    }
    for (retention, statuses) in [
        (config.retention, FinishedStatuses::ALL_BUT_DEAD_LETTER),
        (config.dead_letter_retention, FinishedStatuses::DEAD_LETTER),
    ] {
        let Some(older_than) = retention else { continue };
        let cleanup = Cleanup::new(older_than, ROWS_MAX).only(statuses);
        every(
            pipe,
            "cleanup",
            config.cleanup_interval,
            move |queue| async move { queue.cleanup(cleanup).await },
        );
    }
    if let Some(interval) = config.depth_interval {
        sample(pipe, interval);
    }
}

/// Samples depths at a jittered interval, or less often where that takes long: statistics may read all that waits.
fn sample(pipe: &Arc<Pipe>, interval: Duration) {
    let pipe_of_loop = Arc::clone(pipe);
    pipe.tracker.spawn(async move {
        let pipe = pipe_of_loop;
        let mut took = Duration::ZERO;
        loop {
            let rest = jittered(interval).max(clock::rest(took));
            tokio::select! {
                () = pipe.tokens.stop.cancelled() => return,
                () = tokio::time::sleep(rest) => {}
            }
            let began = Instant::now();
            // The observed queue takes the sample down.
            if let Err(error) = pipe.call("stats", |queue| async move { queue.stats().await }).await {
                warn!(error = %Escaped(&error), "the depth could not be sampled; it is tried again at its next time");
            }
            took = began.elapsed();
        }
    });
}

/// Makes ready what is due, as much as one call does.
async fn promote(queue: Arc<dyn Queue>) -> Result<u64> {
    queue.promote_due(ROWS_MAX).await
}

/// Takes back tasks whose leases have ended, as many as one call does.
async fn reclaim(queue: Arc<dyn Queue>) -> Result<u64> {
    let reclaimed = queue.reclaim_stale(ROWS_MAX).await?;
    if reclaimed.total() > 0 {
        info!(released = reclaimed.released, dead_lettered = reclaimed.dead_lettered, "leases had ended");
    }
    Ok(reclaimed.total())
}

/// Makes ready all that is due by now.
pub(crate) async fn promote_all(pipe: &Pipe) -> Result<()> {
    to_the_end(pipe, "promote", promote).await
}

/// Takes back all tasks whose leases have ended by now, unless the settings leave that to others.
pub(crate) async fn reclaim_all(pipe: &Pipe) -> Result<()> {
    match pipe.settings.maintenance.reclaim_interval {
        Some(_) => to_the_end(pipe, "reclaim", reclaim).await,
        None => Ok(()),
    }
}

/// Repeats `step` while it finds as many rows as it may, unless the worker is stopped.
async fn to_the_end<S, F>(pipe: &Pipe, operation: &'static str, step: S) -> Result<()>
where
    S: Fn(Arc<dyn Queue>) -> F,
    F: Future<Output = Result<u64>> + Send + 'static,
{
    let mut rows = ROWS_MAX as u64;
    while rows == ROWS_MAX as u64 && !pipe.tokens.stop.is_cancelled() {
        rows = pipe.call(operation, &step).await?;
    }
    Ok(())
}

/// Runs `step` at a jittered interval, and again at once while it finds as many rows as it may. After failures in a row it
/// waits longer than that, as claims do; one that does not fail ends that.
fn every<S, F>(pipe: &Arc<Pipe>, operation: &'static str, interval: Duration, step: S)
where
    S: Fn(Arc<dyn Queue>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<u64>> + Send + 'static,
{
    let pipe_of_loop = Arc::clone(pipe);
    pipe.tracker.spawn(async move {
        let pipe = pipe_of_loop;
        let (mut rest, mut errors) = (jittered(interval), 0_u32);
        loop {
            tokio::select! {
                biased;
                () = pipe.tokens.stop.cancelled() => return,
                () = tokio::time::sleep(rest) => {}
            }
            rest = match pipe.call(operation, &step).await {
                Ok(rows) => {
                    errors = 0;
                    if rows < ROWS_MAX as u64 { jittered(interval) } else { Duration::ZERO }
                }
                Err(error) => {
                    errors = errors.saturating_add(1);
                    let rest = after_errors(errors).max(jittered(interval));
                    warn!(error = %Escaped(&error), attempt = errors, "maintenance failed; trying again in {rest:?}");
                    rest
                }
            };
        }
    });
}
