//! The leases that this worker holds, from claim to settle. It owns who must be kept alive and who was lost; it
//! knows nothing of slots or outcomes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::HashMap;
use taskqueue_core::{Claim, Heartbeat, Lease, LeaseToken, TaskId};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::stop::Stop;
use crate::timing::later;

/// What tells leases apart. Tasks of one claim may share their token; a task that was lost and claimed anew has
/// another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct LeaseKey(TaskId, LeaseToken);

impl From<&Lease> for LeaseKey {
    fn from(lease: &Lease) -> Self {
        Self(lease.task_id, lease.token)
    }
}

/// A claim that this worker has, and how its handler is told to stop. It is large and changes hands often: it is shared, from
/// the claim to the settle.
pub(crate) struct Held {
    pub(crate) claim: Claim,
    pub(crate) stop: Stop,
    /// Right before the call that claimed it.
    pub(crate) claimed_at: Instant,
    is_being_settled: AtomicBool,
    may_be_settled_by_handler: AtomicBool,
}

impl Held {
    /// What a call that began then has claimed.
    pub(crate) fn new(claim: Claim, claimed_at: Instant) -> Arc<Self> {
        let (is_being_settled, may_be_settled_by_handler) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Self {
            claim,
            stop: Stop::default(),
            claimed_at,
            is_being_settled,
            may_be_settled_by_handler,
        })
    }

    /// The right to settle it.
    pub(crate) fn lease(&self) -> &Lease {
        &self.claim.lease
    }

    /// Its handler may settle it from now on.
    pub(crate) fn give_to_handler(&self) {
        self.may_be_settled_by_handler.store(true, Ordering::Release);
    }

    fn may_be_settled_by_handler(&self) -> bool {
        self.may_be_settled_by_handler.load(Ordering::Acquire)
    }

    fn is_being_settled(&self) -> bool {
        self.is_being_settled.load(Ordering::Acquire)
    }
}

/// A lease that is kept alive.
struct Kept {
    held: Arc<Held>,
    extended_at: Instant,
    /// Whether a heartbeat found it lost while its outcome was on its way to the store, or its handler may have settled it.
    is_lost: bool,
}

/// What a heartbeat found that is no longer live.
#[derive(Default)]
pub(crate) struct Found {
    /// These were lost, and are let go.
    pub(crate) lost: Vec<Lease>,
    /// These were lost, or settled by their handlers: what became of their tasks tells.
    pub(crate) in_doubt: Vec<Arc<Held>>,
}

/// Every claim enters here once and leaves here once: settled, lost, or given up.
#[derive(Default)]
pub(crate) struct Leases {
    kept: Mutex<HashMap<LeaseKey, Kept>>,
    emptied: Notify,
    are_all_cancelled: AtomicBool,
}

impl Leases {
    /// Keeps these leases alive from now on.
    pub(crate) fn add(&self, claimed: &[Arc<Held>]) {
        let mut kept = self.lock();
        for held in claimed {
            let entry = Kept { held: Arc::clone(held), extended_at: held.claimed_at, is_lost: false };
            kept.insert(LeaseKey::from(held.lease()), entry);
        }
    }

    /// Lets go of leases that were settled or given up. Answers how many of them were held.
    pub(crate) fn remove(&self, keys: impl IntoIterator<Item = LeaseKey>) -> usize {
        let mut kept = self.lock();
        let removed = keys.into_iter().filter(|key| kept.remove(key).is_some()).count();
        self.tell_if_empty(&kept);
        removed
    }

    /// Whether the lease is held still.
    pub(crate) fn holds(&self, lease: &Lease) -> bool {
        self.lock().contains_key(&LeaseKey::from(lease))
    }

    /// Marks the lease as one whose outcome is on its way to the store, which says what became of it; unless it was lost.
    /// Answers whether it is held still. Without the lock, which all handlers would wait for: a heartbeat that finds it lost in
    /// this very moment counts it, and the settle does so again.
    pub(crate) fn settling(&self, held: &Held) -> bool {
        held.is_being_settled.store(true, Ordering::Release);
        !held.stop.is_stopped() || self.holds(held.lease())
    }

    /// How many are held.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// The leases of this task.
    pub(crate) fn of_task(&self, id: TaskId) -> Vec<Lease> {
        let kept = self.lock();
        let of_task = kept.iter().filter(|(LeaseKey(task_id, _), _)| *task_id == id);
        of_task.map(|(_, kept)| kept.held.lease().clone()).collect()
    }

    /// The leases that were last extended at or before `time`, but for those that are known to be lost.
    pub(crate) fn not_extended_since(&self, time: Instant) -> Vec<Lease> {
        let kept = self.lock();
        kept.values()
            .filter(|kept| kept.extended_at <= time && !kept.is_lost)
            .map(|kept| kept.held.lease().clone())
            .collect()
    }

    /// Whether the lease has ended, as far as this worker knows.
    pub(crate) fn has_ended(&self, lease: &Lease, visibility_timeout: Duration, now: Instant) -> bool {
        let kept = self.lock();
        kept.get(&LeaseKey::from(lease)).is_none_or(|kept| later(kept.extended_at, visibility_timeout) <= now)
    }

    /// Takes down what a heartbeat that was sent at `sent_at` found. A lost lease is let go and its handler told.
    /// One that its handler may have settled is in doubt, and not asked for again.
    pub(crate) fn record(&self, leases: &[Lease], answers: &[Heartbeat], sent_at: Instant) -> Found {
        let mut kept = self.lock();
        let mut found = Found::default();
        for (lease, answer) in leases.iter().zip(answers) {
            let key = LeaseKey::from(lease);
            match (answer, kept.get_mut(&key)) {
                (_, None) | (Heartbeat::Locked, _) => {}
                // One that was sent later may have been answered before.
                (Heartbeat::Extended, Some(kept)) => kept.extended_at = kept.extended_at.max(sent_at),
                // Its settle, which may have ended it, says what became of it.
                (Heartbeat::Lost, Some(kept)) if kept.held.is_being_settled() => kept.is_lost = true,
                (Heartbeat::Lost, Some(kept)) if kept.held.may_be_settled_by_handler() => {
                    if !std::mem::replace(&mut kept.is_lost, true) {
                        found.in_doubt.push(Arc::clone(&kept.held));
                    }
                }
                (Heartbeat::Lost, Some(_)) => {
                    kept.remove(&key).inspect(|kept| kept.held.stop.stop());
                    found.lost.push(lease.clone());
                }
            }
        }
        self.tell_if_empty(&kept);
        found
    }

    /// Lets go of a lease that was in doubt and is lost, and tells its handler. Answers whether it was held still, and its
    /// outcome is not on its way.
    pub(crate) fn lose(&self, held: &Held) -> bool {
        let mut kept = self.lock();
        if held.is_being_settled() || kept.remove(&LeaseKey::from(held.lease())).is_none() {
            return false;
        }
        held.stop.stop();
        self.tell_if_empty(&kept);
        true
    }

    /// Asks for a lease again that is in doubt still: what became of its task could not be looked up.
    pub(crate) fn ask_again(&self, held: &Held) {
        if let Some(kept) = self.lock().get_mut(&LeaseKey::from(held.lease())) {
            kept.is_lost = false;
        }
    }

    /// Tells every handler to stop. Their leases are held on, so that what they return can be settled.
    pub(crate) fn cancel_all(&self) {
        self.are_all_cancelled.store(true, Ordering::Release);
        self.lock().values().for_each(|kept| kept.held.stop.stop());
    }

    /// Lets go of all that are held at the end of the worker. Answers them, those first whose outcomes are on their way to the
    /// store, and how many these are.
    pub(crate) fn abandon(&self) -> (Vec<Lease>, usize) {
        let kept: Vec<Kept> = self.lock().drain().map(|(_, kept)| kept).collect();
        let (settling, running): (Vec<_>, Vec<_>) =
            kept.into_iter().partition(|kept| kept.held.is_being_settled());
        let lease = |kept: &Kept| kept.held.lease().clone();
        (settling.iter().chain(&running).map(lease).collect(), settling.len())
    }

    /// Whether every handler was told to stop, with the worker.
    pub(crate) fn are_all_cancelled(&self) -> bool {
        self.are_all_cancelled.load(Ordering::Acquire)
    }

    /// Waits until none is held.
    pub(crate) async fn none_held(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.len() == 0 {
                return;
            }
            emptied.await;
        }
    }

    fn tell_if_empty(&self, kept: &HashMap<LeaseKey, Kept>) {
        if kept.is_empty() {
            self.emptied.notify_waiters();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<LeaseKey, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
