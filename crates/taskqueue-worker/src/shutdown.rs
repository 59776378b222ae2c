//! Runs the stages of a worker and ends them in order: stop claiming, release what has not started, let handlers
//! finish, cancel them, drop them, settle what they returned, end the rest.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use taskqueue_core::{Error, ErrorKind, Result};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tracing::{error, info, warn};

use crate::dispatcher::{self, Mode};
use crate::named::named;
use crate::periodic::ahead;
use crate::pipe::Pipe;
use crate::settings::STORE_BATCH_MAX;
use crate::settling::Finished;
use crate::slots::Claimed;
use crate::{Report, heartbeater, maintenance, settler};

/// How many outcomes may wait for the settler before handlers' slots wait with them.
const OUTCOMES_MAX: usize = 4 * STORE_BATCH_MAX;
/// How long dropped handlers may take to be gone. Only one that blocks its thread takes longer.
const DROP_PERIOD: Duration = Duration::from_secs(1);
/// How long a store that does not answer is waited for at the end: for a claim under way, the last outcomes, and all other
/// calls together.
const SETTLE_PERIOD: Duration = Duration::from_secs(10);
/// The last part of it: what has arrived by then is tried once more.
const LAST_TRY_PERIOD: Duration = Duration::from_secs(1);

/// One worker's life. It is the one task outside the tracker, as it waits for all those inside.
///
/// # Errors
/// What ended the dispatcher before it was stopped.
pub(crate) async fn supervise(pipe: Arc<Pipe>, mode: Mode) -> Result<Report> {
    let (settle, outcomes) = mpsc::channel(OUTCOMES_MAX);
    let settler = pipe.tracker.spawn(settler::run(Arc::clone(&pipe), outcomes));
    pipe.tracker.spawn(heartbeater::run(Arc::clone(&pipe)));
    if mode == Mode::Serve {
        maintenance::start(&pipe);
        ahead::start(&pipe);
    }
    info!(worker = %pipe.worker_id, types = pipe.handlers.len(), "worker started");
    let dispatched = dispatch(&pipe, &settle, mode).await;
    pipe.tokens.stop.cancel();
    let waiting = pipe.slots.close();
    // Beside the handlers, whose grace period begins now: a store that does not answer keeps the settler's queue full.
    pipe.tracker.spawn(release_all(Arc::clone(&pipe), settle, waiting));
    let is_quiet = quiet_handlers(&pipe).await;
    end_stages(&pipe, settler, is_quiet).await;
    let report = pipe.tally.report();
    info!(worker = %pipe.worker_id, ?report, "worker stopped");
    dispatched.map(|()| report)
}

/// Runs the dispatcher until it ends or the worker is stopped. It then ends by itself, with the claim that is under way:
/// a dropped one could leave its tasks leased.
async fn dispatch(pipe: &Arc<Pipe>, settle: &mpsc::Sender<Finished>, mode: Mode) -> Result<()> {
    let dispatcher = pipe.tracker.spawn(dispatcher::run(Arc::clone(pipe), settle.clone(), mode));
    tokio::select! {
        biased;
        ended = dispatcher => ended.unwrap_or_else(|source| {
            Err(Error::new(ErrorKind::Backend, "worker", "the dispatcher panicked").with_source(source))
        }),
        () = pipe.tokens.stop.cancelled() => Ok(()),
    }
}

async fn release_all(pipe: Arc<Pipe>, settle: mpsc::Sender<Finished>, waiting: Vec<Claimed>) {
    for claimed in waiting {
        dispatcher::release(&pipe, &settle, claimed.held).await;
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
    pipe.kill_handlers();
    let is_quiet = within(DROP_PERIOD, pipe.slots.none_running()).await;
    if !is_quiet {
        let handlers = pipe.slots.running();
        warn!(handlers, "handlers block their threads; their tasks return when their leases end");
    }
    is_quiet
}

/// Ends the settler, after what still sends to it, and then the rest; all by one deadline.
async fn end_stages(pipe: &Pipe, mut settler: JoinHandle<()>, is_quiet: bool) {
    let end = Instant::now() + SETTLE_PERIOD;
    if !is_quiet || timeout_at(end - LAST_TRY_PERIOD, &mut settler).await.is_err() {
        pipe.tokens.give_up.cancel();
        if timeout_at(end, &mut settler).await.is_err() {
            // Its calls go on to their ends, but nobody tells of them any more.
            settler.abort();
            let _ = settler.await;
        }
    }
    tell_of_unconfirmed(pipe);
    pipe.tokens.end.cancel();
    pipe.tracker.close();
    if is_quiet {
        let _ = timeout_at(end, pipe.tracker.wait()).await;
    }
}

/// Counts the tasks that are held even now, and tells of those whose outcomes are lost. Of handlers that block their threads
/// is told already.
fn tell_of_unconfirmed(pipe: &Pipe) {
    let (leases, outcomes) = pipe.leases.abandon();
    pipe.tally.unconfirmed(leases.len() as u64);
    if outcomes > 0 {
        let tasks = named(leases[..outcomes].iter());
        error!(
            rows = outcomes, %tasks,
            "outcomes could not be settled within {SETTLE_PERIOD:?}; tasks that the database has not settled all the same are \
             handled again when their leases end"
        );
    }
}

async fn within(period: Duration, future: impl Future) -> bool {
    tokio::time::timeout(period, future).await.is_ok()
}
