//! Keeps the leases of this worker alive, all in one call, those of unstarted and unsettled tasks included. A
//! lost lease cancels its handler. Of a cancel in this process it does not wait to learn.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::{join, join_all};
use futures::stream::FuturesUnordered;
use taskqueue_core::{Error, ErrorKind, Heartbeat, Lease, Queue, Result, TaskId};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tracing::warn;

use crate::escaped::Escaped;
use crate::pipe::Pipe;
use crate::settings::STORE_BATCH_MAX;
use crate::timing::later;

/// The most calls of heartbeats that are under way, late ones with them: each may hold a connection.
const BEATS_MAX: usize = 4;
/// The same of looks at tasks that are said to be cancelled.
const CHECKS_MAX: usize = 2;
/// How often the same leases are sent before the answers are waited for no longer.
const TRIES: u32 = 4;
/// The shortest time after which a call is late: a busy store takes as long.
const PATIENCE_MIN: Duration = Duration::from_millis(250);

/// Beats until the worker ends.
pub(crate) async fn run(pipe: Arc<Pipe>) {
    let (beating, checking) = (Sending::new(&pipe, BEATS_MAX), Sending::new(&pipe, CHECKS_MAX));
    // Apart, so that neither waits for what the other one waits for.
    tokio::select! {
        () = pipe.tokens.end.cancelled() => {}
        _ = join(beats(&beating), checks(&checking)) => {}
    }
}

async fn beats(sending: &Sending<'_>) {
    let interval = sending.pipe.heartbeat_interval;
    let mut next = later(Instant::now(), interval);
    loop {
        tokio::time::sleep_until(next).await;
        let began = Instant::now();
        let wait = beat(sending).await;
        // From its beginning: one that waited for an answer must not put off the next.
        next = later(began, wait).max(later(Instant::now(), interval / 8));
    }
}

async fn checks(sending: &Sending<'_>) {
    let mut cancels = sending.pipe.queue.wake_up().listen_cancelled();
    loop {
        let id = cancels.cancelled().await;
        check(sending, id).await;
    }
}

/// Lets the store say whether a task is lost that is said to be cancelled, where this worker has it.
async fn check(sending: &Sending<'_>, id: TaskId) {
    let leases = sending.pipe.leases.of_task(id);
    if !leases.is_empty()
        && let Err(error) = sending.extend(&leases).await
    {
        warn!(error = %Escaped(&error), %id, "a cancelled task could not be looked up; the next heartbeat finds it");
    }
}

/// Extends what is due, and answers how long to wait for the next beat.
async fn beat(sending: &Sending<'_>) -> Duration {
    let pipe = sending.pipe;
    // Younger leases can wait for the next beat: they are then at most one and a half intervals old.
    let Some(since) = Instant::now().checked_sub(pipe.heartbeat_interval / 2) else {
        return pipe.heartbeat_interval;
    };
    let due = pipe.leases.not_extended_since(since);
    let are_done = join_all(due.chunks(STORE_BATCH_MAX).map(async |leases| {
        let extended = sending.extend(leases).await;
        if let Err(error) = &extended {
            warn!(error = %Escaped(error), leases = leases.len(), "a heartbeat failed; it is repeated soon");
        }
        extended.is_ok_and(|answers| !answers.contains(&Heartbeat::Locked))
    }));
    if are_done.await.contains(&false) { pipe.heartbeat_interval / 8 } else { pipe.heartbeat_interval }
}

/// Sends leases to the store, and sends them again where no answer comes. A connection may have died without a word, which
/// the store finds out after a minute only, when the leases may have ended; another connection works.
struct Sending<'p> {
    pipe: &'p Arc<Pipe>,
    calls: Arc<Semaphore>,
}

impl<'p> Sending<'p> {
    fn new(pipe: &'p Arc<Pipe>, calls_max: usize) -> Self {
        Self { pipe, calls: Arc::new(Semaphore::new(calls_max)) }
    }

    /// Extends these leases. The first answer counts; what a late one says is taken down as well.
    async fn extend(&self, leases: &[Lease]) -> Result<Vec<Heartbeat>> {
        let patience = (self.pipe.heartbeat_interval / 4).max(PATIENCE_MIN);
        let mut under_way = FuturesUnordered::new();
        for _ in 0..TRIES {
            let permit = tokio::select! {
                biased;
                answer = first_answer(&mut under_way) => return answer,
                permit = Arc::clone(&self.calls).acquire_owned() => permit,
            };
            under_way.push(self.pipe.extend(leases.to_vec(), permit));
            if let Ok(answer) = timeout(patience, first_answer(&mut under_way)).await {
                return answer;
            }
        }
        let message = format!("the store did not answer within {:?}", patience * TRIES);
        Err(Error::new(ErrorKind::Unavailable, "heartbeat", message))
    }
}

/// What the first of the calls answers that does not fail, or the last that fails.
async fn first_answer<T>(calls: &mut FuturesUnordered<impl Future<Output = Result<T>>>) -> Result<T> {
    while let Some(answer) = calls.next().await {
        if answer.is_ok() || calls.is_empty() {
            return answer;
        }
    }
    pending().await
}
