//! Slots: how many tasks run and wait in this worker, and from that, what may be claimed next. Pure bookkeeping
//! under one lock that is never held across an await; it knows no queue and runs nothing.
//!
//! Of a type with a limit, no more is ever held than may run at once, so whatever waits can start in any free
//! slot, and no type stands in the way of another.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::leases::Held;
use crate::prefetch::Prefetch;
use crate::settings::claimed_max;

/// A claimed task on its way to its handler.
pub(crate) struct Claimed {
    pub(crate) held: Arc<Held>,
    /// The index of its handler.
    pub(crate) handler: usize,
}

/// A claimed task that has not started.
struct Waiting {
    claimed: Claimed,
    /// When it came in.
    since: Instant,
}

/// What is to be claimed at once: at most `limit` tasks of these handlers' types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) handlers: Vec<usize>,
    pub(crate) limit: usize,
}

/// One type's share.
struct Share {
    limit: Option<usize>,
    /// Running and waiting.
    held: usize,
    /// Whether the last claim came back short, so that another one is of no use before something changes.
    dry: bool,
}

impl Share {
    fn room(&self, room: usize) -> usize {
        self.limit.map_or(room, |limit| limit.saturating_sub(self.held).min(room))
    }
}

struct State {
    running: usize,
    /// Those that came in first are first.
    waiting: VecDeque<Waiting>,
    shares: Vec<Share>,
    prefetch: Prefetch,
    /// Which ask goes first; it moves on, so that none is always served last.
    turn: usize,
    closed: bool,
}

impl State {
    /// Takes out the first `tasks` of those that wait.
    fn take_waiting(&mut self, tasks: usize) -> Vec<Claimed> {
        let taken: Vec<Claimed> = self.waiting.drain(..tasks).map(|waiting| waiting.claimed).collect();
        for claimed in &taken {
            self.shares[claimed.handler].held -= 1;
        }
        taken
    }
}

/// The slots of one worker.
pub(crate) struct Slots {
    concurrency: usize,
    state: Mutex<State>,
    freed: Notify,
    emptied: Notify,
}

impl Slots {
    /// Slots for `concurrency` running tasks and those that wait for one; one limit, or none, for each handler.
    pub(crate) fn new(concurrency: usize, prefetch: Prefetch, limits: Vec<Option<usize>>) -> Self {
        let shares = limits.into_iter().map(|limit| Share { limit, held: 0, dry: false }).collect();
        let state = State { running: 0, waiting: VecDeque::new(), shares, prefetch, turn: 0, closed: false };
        Self { concurrency, state: Mutex::new(state), freed: Notify::new(), emptied: Notify::new() }
    }

    /// What to claim now; empty when nothing fits or nothing is to be expected. Together the asks may exceed
    /// [`room`](Self::room): each is to be cut to what is left of it.
    pub(crate) fn plan(&self) -> Vec<Ask> {
        let mut state = self.lock();
        let Some(room) = self.worthwhile_room(&state) else { return Vec::new() };
        let (mut shared, mut asks) = (Vec::new(), Vec::new());
        for (handler, share) in state.shares.iter().enumerate().filter(|(_, share)| !share.dry) {
            match share.room(room) {
                0 => {}
                // It cannot go past its limit even if every claimed task is of this type.
                full if full == room => shared.push(handler),
                limit => asks.push(Ask { handlers: vec![handler], limit }),
            }
        }
        if !shared.is_empty() {
            asks.push(Ask { handlers: shared, limit: room });
        }
        if !asks.is_empty() {
            state.turn = (state.turn + 1) % asks.len();
            asks.rotate_left(state.turn);
        }
        asks
    }

    /// How many more tasks may be held.
    pub(crate) fn room(&self) -> usize {
        self.room_of(&self.lock())
    }

    /// Takes down whether a claim of these types came back short.
    pub(crate) fn mark(&self, handlers: &[usize], dry: bool) {
        let mut state = self.lock();
        for &handler in handlers {
            state.shares[handler].dry = dry;
        }
    }

    /// Something may have changed: every type is worth a claim again.
    pub(crate) fn refresh(&self) {
        self.lock().shares.iter_mut().for_each(|share| share.dry = false);
    }

    /// Whether no type is worth a claim.
    pub(crate) fn all_dry(&self) -> bool {
        self.lock().shares.iter().all(|share| share.dry)
    }

    /// Takes in the tasks of a claim that ended `now`, and answers those that start now: each takes a slot until
    /// [`finish`](Self::finish).
    ///
    /// # Errors
    /// All of them, where the slots are closed.
    pub(crate) fn admit(&self, claimed: Vec<Claimed>, now: Instant) -> Result<Vec<Claimed>, Vec<Claimed>> {
        let mut state = self.lock();
        if state.closed {
            return Err(claimed);
        }
        state.prefetch.claimed(now, self.concurrency);
        for claimed in claimed {
            state.shares[claimed.handler].held += 1;
            state.waiting.push_back(Waiting { claimed, since: now });
        }
        let starting = (self.concurrency - state.running).min(state.waiting.len());
        state.running += starting;
        Ok(state.waiting.drain(..starting).map(|waiting| waiting.claimed).collect())
    }

    /// A task of this handler is done with its slot. Answers the one that takes the slot over; without one the
    /// slot is free.
    pub(crate) fn finish(&self, handler: usize) -> Option<Claimed> {
        let mut state = self.lock();
        state.shares[handler].held -= 1;
        state.prefetch.handled();
        let next = state.waiting.pop_front().map(|waiting| waiting.claimed);
        if next.is_none() {
            state.running -= 1;
            if state.running == 0 {
                self.emptied.notify_waiters();
            }
        }
        if self.is_claim_worthwhile(&state) {
            self.freed.notify_one();
        }
        next
    }

    /// Takes nothing more in, and answers what was waiting.
    pub(crate) fn close(&self) -> Vec<Claimed> {
        let mut state = self.lock();
        state.closed = true;
        let all = state.waiting.len();
        state.take_waiting(all)
    }

    /// When the task that has waited longest has waited for too long, unless it starts before.
    pub(crate) fn overdue_at(&self) -> Option<Instant> {
        let state = self.lock();
        let (first, wait_max) = (state.waiting.front()?, self.wait_max(&state)?);
        Some(first.since + wait_max)
    }

    /// Takes out what has waited for too long `now`: what runs has turned out to be slow, and a worker elsewhere may be idle.
    /// Nothing is claimed ahead until the pace is known anew.
    pub(crate) fn take_overdue(&self, now: Instant) -> Vec<Claimed> {
        let mut state = self.lock();
        let Some(wait_max) = self.wait_max(&state) else { return Vec::new() };
        let overdue = state.waiting.partition_point(|waiting| waiting.since + wait_max <= now);
        if overdue > 0 {
            state.prefetch.stalled(now);
        }
        state.take_waiting(overdue)
    }

    /// How many tasks run.
    pub(crate) fn running(&self) -> usize {
        self.lock().running
    }

    /// Waits until a claim has become worthwhile because tasks finished.
    pub(crate) async fn freed(&self) {
        self.freed.notified().await;
    }

    /// Waits until no task runs.
    pub(crate) async fn none_running(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.running() == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// How long a task may wait, if not until it starts: one that goes back loses its place, and a worker that runs a single
    /// task at a time keeps the queue's order to the letter.
    fn wait_max(&self, state: &State) -> Option<Duration> {
        state.prefetch.wait_max().filter(|_| self.concurrency > 1)
    }

    fn room_of(&self, state: &State) -> usize {
        if state.closed {
            return 0;
        }
        // Settings without a bound add up to more than there is.
        let most = self.concurrency.saturating_add(state.prefetch.tasks());
        most.saturating_sub(state.running + state.waiting.len())
    }

    /// The room for a claim, unless it is so little that waiting makes for a better batch: slots are idle with
    /// nothing to run, or at least half the prefetch is gone, or as much of it as can be claimed at once.
    fn worthwhile_room(&self, state: &State) -> Option<usize> {
        let most = claimed_max(self.concurrency);
        let room = self.room_of(state).min(most);
        let is_idle = state.waiting.is_empty() && state.running < self.concurrency;
        (room > 0 && (is_idle || room >= (state.prefetch.tasks() / 2).min(most))).then_some(room)
    }

    fn is_claim_worthwhile(&self, state: &State) -> bool {
        self.worthwhile_room(state)
            .is_some_and(|room| state.shares.iter().any(|share| !share.dry && share.room(room) > 0))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
