//! Beside the settler: outcomes that bring follow-up tasks, which may wait for what another session holds, and those that the
//! store did not take at once. It owns what to do when the store fails; nothing that it waits for holds up other outcomes: a
//! call that is late goes on beside the next ones.

use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use taskqueue_core::{Error, ErrorKind, Lease, Outcome};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::batch::{Answered, Batch, Halves, answered, halves};
use crate::escaped::Escaped;
use crate::executor::decide;
use crate::named::named;
use crate::pipe::Pipe;
use crate::settings::STORE_BATCH_MAX;
use crate::settling::{Call, Finished, LATE_AFTER, Untaken, give_up, settle};
use crate::timing::{backoff, later};

const RETRY_WAIT_MIN: Duration = Duration::from_millis(50);
const RETRY_WAIT_MAX: Duration = Duration::from_secs(2);
/// How long a completion waits for room in a full queue for the tasks that it brings: workers make room as they finish others.
const ROOM_PERIOD: Duration = Duration::from_secs(30);
/// The most completions that wait for room; they must leave the settler its own.
const FULL_MAX: usize = STORE_BATCH_MAX;
/// How often a whole batch is tried where the database refuses it for no reason that is a row's.
const TRIES: u32 = 3;
/// The most follow-up tasks of one call, unless one outcome brings more.
const FOLLOW_UPS_MAX: usize = 1_000;

/// The most late calls, those of the settler among them, beside which rows are tried that have failed. Each holds a connection, and
/// claims and heartbeats need some.
const LATE_MAX: usize = 2;
/// The same while the worker stops: nothing is claimed then. A call is late that is not answered at once, so that as many go on
/// beside each other: there is little time.
const LATE_MAX_STOPPING: usize = 8;
const LATE_AFTER_STOPPING: Duration = Duration::from_millis(1);
/// In how many parts a batch is tried again that waited for a lock: each try of the one with the locked row takes as long again.
const LATE_PARTS: usize = 16;

/// So many rows may wait apart; beyond that the settler waits, and handlers' slots with it.
const ROWS_MAX: usize = 4 * STORE_BATCH_MAX;

/// What arrives.
enum Arrival<'p> {
    /// These bring follow-up tasks.
    New(Vec<Finished>),
    /// The store did not take these.
    Failed(Untaken),
    /// A call with so many rows is late.
    Late(usize, Call<'p>),
}

/// Where the settler sends what goes apart.
pub(crate) struct Apart<'p> {
    arrivals: mpsc::UnboundedSender<Arrival<'p>>,
    sent: usize,
    /// How many of them are done with.
    done: watch::Receiver<usize>,
}

impl<'p> Apart<'p> {
    /// Sends rows that bring follow-up tasks, once there is room.
    pub(crate) async fn send_new(&mut self, rows: Vec<Finished>) {
        if rows.is_empty() {
            return;
        }
        let sent = self.sent;
        // The lane ends after this.
        let _ = self.done.wait_for(|done| sent - done < ROWS_MAX).await;
        self.send(rows.len(), Arrival::New(rows));
    }

    /// Sends rows that the store did not take, whether there is room or not: nothing else can become of them.
    pub(crate) fn send_failed(&mut self, untaken: Untaken) {
        self.send(untaken.rows.len(), Arrival::Failed(untaken));
    }

    /// Sends a call that is under way, with so many rows.
    pub(crate) fn send_late(&mut self, rows: usize, call: Call<'p>) {
        self.send(rows, Arrival::Late(rows, call));
    }

    fn send(&mut self, rows: usize, arrival: Arrival<'p>) {
        self.sent += rows;
        let _ = self.arrivals.send(arrival);
    }
}

/// What is still to be settled.
struct Lane<'p> {
    pipe: &'p Pipe,
    new: VecDeque<Finished>,
    tried: VecDeque<Batch>,
    late: FuturesUnordered<BoxFuture<'p, Answered>>,
    /// Rows that found no room for what they bring, each alone. They wait apart from all others.
    full: Vec<Batch>,
    /// Rounds of them since one found room.
    full_rounds: u32,
    /// When they are tried again.
    full_until: Instant,
    /// How many rows have arrived so far.
    taken: usize,
    /// Calls that failed since the last one that did not, for what may pass.
    failures: u32,
    /// When the store may be tried again.
    rests_until: Instant,
}

/// Where to send what goes apart, and what settles it until that is gone.
pub(crate) fn lane(pipe: &Pipe) -> (Apart<'_>, impl Future<Output = ()>) {
    let (arrivals, arriving) = mpsc::unbounded_channel();
    let (telling, done) = watch::channel(0);
    (Apart { arrivals, sent: 0, done }, run(pipe, arriving, telling))
}

async fn run<'p>(
    pipe: &'p Pipe,
    mut arrivals: mpsc::UnboundedReceiver<Arrival<'p>>,
    done: watch::Sender<usize>,
) {
    let mut lane = Lane::new(pipe);
    loop {
        while lane.new.is_empty() && (lane.tried.is_empty() || lane.is_full_of_late()) {
            // What has arrived may be given up at once, and the settler waits for room.
            done.send_replace(lane.taken - lane.rows());
            if !lane.wait(&mut arrivals).await {
                return;
            }
        }
        while let Ok(arrival) = arrivals.try_recv() {
            lane.take(arrival);
        }
        if lane.full_until <= Instant::now() {
            lane.tried.extend(lane.full.drain(..));
        }
        let tried = if lane.is_full_of_late() { None } else { lane.tried.pop_front() };
        for batch in lane.next_new().into_iter().chain(tried) {
            lane.settle(batch).await;
        }
        done.send_replace(lane.taken - lane.rows());
    }
}

impl<'p> Lane<'p> {
    fn new(pipe: &'p Pipe) -> Self {
        let now = Instant::now();
        Self {
            pipe,
            new: VecDeque::new(),
            tried: VecDeque::new(),
            late: FuturesUnordered::new(),
            full: Vec::new(),
            full_rounds: 0,
            full_until: now,
            taken: 0,
            failures: 0,
            rests_until: now,
        }
    }

    /// How many calls may be late, and from when on one is.
    fn lateness(&self) -> (usize, Duration) {
        if self.pipe.tokens.stop.is_cancelled() {
            (LATE_MAX_STOPPING, LATE_AFTER_STOPPING)
        } else {
            (LATE_MAX, LATE_AFTER)
        }
    }

    fn is_full_of_late(&self) -> bool {
        self.late.len() >= self.lateness().0
    }

    /// Waits for rows to settle. Answers whether there may be any.
    async fn wait(&mut self, arrivals: &mut mpsc::UnboundedReceiver<Arrival<'p>>) -> bool {
        let rest = pin!(tokio::time::sleep_until(self.full_until));
        // As the others, they are tried for the last time when the worker gives up.
        let rest = self.pipe.tokens.give_up.run_until_cancelled(rest);
        // From then on more calls may be late.
        let (pipe, tried) = (self.pipe, !self.tried.is_empty());
        let stop = &pipe.tokens.stop;
        tokio::select! {
            Some(arrival) = arrivals.recv() => self.take(arrival),
            Some(answered) = self.late.next() => self.answered(answered),
            _ = rest, if !self.full.is_empty() => self.tried.extend(self.full.drain(..)),
            () = stop.cancelled(), if tried && !stop.is_cancelled() => {}
            else => return false,
        }
        true
    }

    fn take(&mut self, arrival: Arrival<'p>) {
        match arrival {
            Arrival::New(rows) => {
                self.taken += rows.len();
                self.new.extend(rows);
            }
            Arrival::Failed(Untaken { rows, failure, is_late }) => {
                self.taken += rows.len();
                self.failed(Batch::new(rows, TRIES), &failure, is_late);
            }
            Arrival::Late(rows, call) => {
                self.taken += rows;
                self.late.push(answered(Batch::new(Vec::new(), TRIES), call));
            }
        }
    }

    /// How many rows take up room. Those of late calls do not: there are few such calls, and what is new would wait for them.
    fn rows(&self) -> usize {
        let tried = self.tried.iter().chain(&self.full);
        self.new.len() + tried.map(|batch| batch.rows.len()).sum::<usize>()
    }

    /// As many of the new ones as one call takes.
    fn next_new(&mut self) -> Option<Batch> {
        let (mut rows, mut follow_ups) = (0, 0);
        for row in self.new.iter().take(STORE_BATCH_MAX) {
            follow_ups += row.follow_ups();
            if rows > 0 && follow_ups > FOLLOW_UPS_MAX {
                break;
            }
            rows += 1;
        }
        (rows > 0).then(|| Batch::new(self.new.drain(..rows).collect(), TRIES))
    }

    /// Settles a batch, or sees that it is late, and others can be settled meanwhile.
    async fn settle(&mut self, mut batch: Batch) {
        // What has failed is tried at once, for the last time, when the worker gives up.
        let rest = tokio::time::sleep_until(self.rests_until);
        let _ = self.pipe.tokens.give_up.run_until_cancelled(rest).await;
        let (pipe, began) = (self.pipe, Instant::now());
        let stop = &pipe.tokens.stop;
        let call = Box::pin(settle(pipe, std::mem::take(&mut batch.rows)));
        let mut call = answered(batch, call);
        loop {
            let (late_at, is_full) = (later(began, self.lateness().1), self.is_full_of_late());
            tokio::select! {
                biased;
                answered = &mut call => return self.answered(answered),
                Some(answered) = self.late.next() => self.answered(answered),
                () = tokio::time::sleep_until(late_at), if !is_full => return self.late.push(call),
                () = stop.cancelled(), if !stop.is_cancelled() => {}
            }
        }
    }

    fn answered(&mut self, Answered { had_waited_for_room, untaken, .. }: Answered) {
        match untaken {
            None => {
                self.failures = 0;
                if had_waited_for_room {
                    self.full_rounds = 0;
                }
            }
            Some((batch, failure, is_late)) => self.failed(batch, &failure, is_late),
        }
    }

    /// Decides what to do with a batch that the store did not take.
    fn failed(&mut self, batch: Batch, failure: &Error, is_late: bool) {
        if failure.kind() == ErrorKind::QueueClosed || self.pipe.tokens.give_up.is_cancelled() {
            give_up(self.pipe, &batch.rows, failure);
            // What waited for a lock says nothing of the others.
            if !is_late {
                self.give_up_tried(failure);
            }
        } else if failure.kind() == ErrorKind::QueueFull {
            self.full(batch, failure);
        } else if failure.is_transient() {
            self.rest(&batch, failure);
            // What stood beside a locked row was locked itself, and its lease could not be extended: whether it is lost the store says.
            let is_beside = is_late && batch.rows.len() > 1;
            let batch = if is_beside { batch } else { self.live(batch, failure) };
            self.split_and_put_back(batch, is_late);
        } else if failure.kind() == ErrorKind::Backend && batch.tries > 1 {
            self.rest(&batch, failure);
            let batch = self.live(batch, failure);
            self.tried.push_front(Batch { tries: batch.tries - 1, ..batch });
        } else {
            self.refused(batch.rows, failure);
        }
    }

    /// What has failed before will not be tried again; what is new is tried once.
    fn give_up_tried(&mut self, failure: &Error) {
        let batches = self.tried.drain(..).chain(self.full.drain(..));
        let rows: Vec<Finished> = batches.flat_map(|batch| batch.rows).collect();
        give_up(self.pipe, &rows, failure);
    }

    fn rest(&mut self, batch: &Batch, failure: &Error) {
        self.failures = self.failures.saturating_add(1);
        let rest = backoff(self.failures, RETRY_WAIT_MIN, RETRY_WAIT_MAX);
        let tasks = named(batch.rows.iter().map(|row| row.held.lease()));
        warn!(error = %Escaped(failure), rows = batch.rows.len(), %tasks, "settling failed; trying again in {rest:?}");
        self.rests_until = later(Instant::now(), rest);
    }

    /// It may have failed for one row, which another session has locked, say, or for its size. What stands with such a row goes
    /// behind all others. Where the worker stops there is no time to look for it in several steps.
    fn split_and_put_back(&mut self, batch: Batch, is_late: bool) {
        let number = match is_late {
            true if self.pipe.tokens.stop.is_cancelled() => batch.rows.len().max(1),
            true => LATE_PARTS,
            false => 2,
        };
        self.tried.extend(batch.split(number));
    }

    /// The queue has no room for all that a batch brings. What there is room for goes at once; a row for which there is none
    /// waits for it, apart from all others, and is refused where it has waited for long or many wait already.
    fn full(&mut self, batch: Batch, failure: &Error) {
        let Batch { rows, tries, full_since } = self.live(batch, failure);
        let (now, since) = (Instant::now(), full_since.unwrap_or_else(Instant::now));
        match halves(rows) {
            Halves::Two(halves) => self.put_first(halves, tries),
            Halves::One(rows) if later(since, ROOM_PERIOD) <= now || self.full.len() >= FULL_MAX => {
                self.refused(rows, failure);
            }
            Halves::One(rows) => {
                if self.full.is_empty() {
                    self.full_rounds = self.full_rounds.saturating_add(1);
                    self.full_until = later(now, backoff(self.full_rounds, RETRY_WAIT_MIN, RETRY_WAIT_MAX));
                    debug!(error = %Escaped(failure), "completions wait for room for the tasks that they bring");
                }
                self.full.push(Batch { rows, tries, full_since: Some(since) });
            }
        }
    }

    /// The same batch would fail again: it is split until what is refused stands alone, so that one bad follow-up does not
    /// sink the rest.
    fn refused(&mut self, rows: Vec<Finished>, refusal: &Error) {
        debug!(error = %Escaped(refusal), rows = rows.len(), "a settle was refused");
        match halves(rows) {
            Halves::Two(halves) => self.put_first(halves, 1),
            Halves::One(mut rows) => {
                let row = rows.pop().and_then(|row| fail(self.pipe, row, refusal));
                self.tried.extend(row.map(|row| Batch::new(vec![row], 1)));
            }
        }
    }

    fn put_first(&mut self, [first, second]: [Vec<Finished>; 2], tries: u32) {
        for rows in [second, first] {
            self.tried.push_front(Batch::new(rows, tries));
        }
    }

    /// Gives up rows whose lease has ended meanwhile: their tasks are handled again.
    fn live(&self, batch: Batch, failure: &Error) -> Batch {
        let (pipe, now) = (self.pipe, Instant::now());
        let has_ended =
            |row: &Finished| pipe.leases.has_ended(row.held.lease(), pipe.visibility_timeout, now);
        let (ended, live): (Vec<_>, Vec<_>) = batch.rows.into_iter().partition(has_ended);
        give_up(pipe, &ended, failure);
        Batch { rows: live, ..batch }
    }
}

/// A row that the store refuses for what it carries becomes a failed attempt that says so. One that is refused
/// even so is given up: its lease ends, and the task is handled again.
fn fail(pipe: &Pipe, row: Finished, refusal: &Error) -> Option<Finished> {
    if !matches!(row.outcome, Outcome::Complete { .. }) {
        give_up(pipe, &[row], refusal);
        return None;
    }
    let Finished { held, .. } = row;
    let lease = held.lease();
    let Lease { task_id: id, task_type, attempt, .. } = lease;
    warn!(%id, r#type = %task_type, attempt, error = %Escaped(refusal), "the completion was refused; the attempt is failed");
    let failed = Outcome::fail(format!("settling: {refusal}"));
    let outcome = match pipe.by_type.get(&lease.task_type) {
        Some(handler) => decide(&pipe.handlers[*handler], lease, Ok(failed)),
        None => failed,
    };
    Some(Finished { held, outcome })
}
