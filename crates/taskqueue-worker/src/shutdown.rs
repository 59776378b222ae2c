//! Runs the stages of a worker and ends them in order: stop claiming, release what has not started, let handlers
//! finish, cancel them, drop them, settle what they returned, end the rest.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use taskqueue_core::{Outcome, Result};
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::dispatcher::{self, Mode};
use crate::pipe::Pipe;
use crate::settings::STORE_BATCH_MAX;
use crate::settler::Finished;
use crate::{Report, heartbeater, maintenance, settler};

/// How many outcomes may wait for the settler before handlers' slots wait with them.
const OUTCOMES_MAX: usize = 4 * STORE_BATCH_MAX;
/// How long dropped handlers may take to be gone. Only one that blocks its thread takes longer.
const DROP_PERIOD: Duration = Duration::from_secs(1);
/// How long the last outcomes are tried when the store does not answer.
const SETTLE_PERIOD: Duration = Duration::from_secs(10);

/// One worker's life. It is the one task outside the tracker, as it waits for all those inside.
///
/// # Errors
/// What ended the dispatcher before it was stopped.
pub(crate) async fn supervise(pipe: Arc<Pipe>, mode: Mode) -> Result<Report> {
    let (settle, outcomes) = mpsc::channel(OUTCOMES_MAX);
    let mut settler = pipe.tracker.spawn(settler::run(Arc::clone(&pipe), outcomes));
    pipe.tracker.spawn(heartbeater::run(Arc::clone(&pipe)));
    if mode == Mode::Serve {
        maintenance::start(&pipe);
    }
    info!(worker = %pipe.worker_id, types = pipe.handlers.len(), "worker started");
    let dispatched = dispatcher::run(&pipe, &settle, mode).await;
    pipe.tokens.stop.cancel();
    // Bounded, as a store that does not answer keeps the settler's queue full.
    within(SETTLE_PERIOD, release_waiting(&pipe, &settle)).await;
    drop(settle);
    let is_quiet = quiet_handlers(&pipe).await;
    if !is_quiet || !within(SETTLE_PERIOD, &mut settler).await {
        pipe.tokens.give_up.cancel();
        within(SETTLE_PERIOD, &mut settler).await;
    }
    pipe.tokens.end.cancel();
    pipe.tracker.close();
    if is_quiet {
        within(SETTLE_PERIOD, pipe.tracker.wait()).await;
    }
    let report = pipe.tally.report();
    info!(worker = %pipe.worker_id, ?report, "worker stopped");
    dispatched.map(|()| report)
}

async fn release_waiting(pipe: &Pipe, settle: &mpsc::Sender<Finished>) {
    for claimed in pipe.slots.close() {
        // The settler ends after its senders; it cannot be gone yet.
        let _ = settle.send(Finished { held: claimed.held, outcome: Outcome::Release }).await;
    }
}

/// Lets handlers finish, then tells them to, then drops them. Answers whether all are gone.
async fn quiet_handlers(pipe: &Pipe) -> bool {
    if within(pipe.settings.grace_period, pipe.slots.none_running()).await {
        return true;
    }
    warn!(handlers = pipe.slots.running(), "the grace period is over; handlers are cancelled");
    pipe.leases.cancel_all();
    if within(pipe.settings.cancel_period, pipe.slots.none_running()).await {
        return true;
    }
    warn!(
        handlers = pipe.slots.running(),
        "handlers did not return; they are dropped and their tasks released"
    );
    pipe.tokens.kill.cancel();
    let is_quiet = within(DROP_PERIOD, pipe.slots.none_running()).await;
    if !is_quiet {
        let handlers = pipe.slots.running();
        warn!(handlers, "handlers block their threads; their tasks return when their leases end");
    }
    is_quiet
}

async fn within(period: Duration, future: impl Future) -> bool {
    tokio::time::timeout(period, future).await.is_ok()
}
