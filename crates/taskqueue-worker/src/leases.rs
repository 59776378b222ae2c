//! The leases that this worker holds, from claim to settle. It owns who must be kept alive and who was lost; it
//! knows nothing of slots or outcomes.

use std::sync::{Mutex, MutexGuard, PoisonError};
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

/// A lease that is held, and how its handler is told to stop.
struct Held {
    lease: Lease,
    stop: Stop,
    extended_at: Instant,
}

/// Every claim enters here once and leaves here once: settled, lost, or given up.
#[derive(Default)]
pub(crate) struct Leases {
    held: Mutex<HashMap<LeaseKey, Held>>,
    emptied: Notify,
}

impl Leases {
    /// Holds the leases of a claim that was made `now`. Answers how each attempt is told to stop.
    pub(crate) fn add(&self, claims: &[Claim], now: Instant) -> Vec<Stop> {
        let mut held = self.lock();
        let mut add = |Claim { lease, .. }: &Claim| {
            let stop = Stop::default();
            let of_claim = Held { lease: lease.clone(), stop: stop.clone(), extended_at: now };
            held.insert(LeaseKey::from(lease), of_claim);
            stop
        };
        claims.iter().map(&mut add).collect()
    }

    /// Lets go of leases that were settled or given up.
    pub(crate) fn remove(&self, keys: impl IntoIterator<Item = LeaseKey>) {
        let mut held = self.lock();
        for key in keys {
            held.remove(&key);
        }
        self.tell_if_empty(&held);
    }

    /// Whether the lease is held still.
    pub(crate) fn holds(&self, lease: &Lease) -> bool {
        self.lock().contains_key(&LeaseKey::from(lease))
    }

    /// How many are held.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// The leases that were last extended at or before `time`.
    pub(crate) fn not_extended_since(&self, time: Instant) -> Vec<Lease> {
        let held = self.lock();
        held.values().filter(|held| held.extended_at <= time).map(|held| held.lease.clone()).collect()
    }

    /// Whether the lease has ended, as far as this worker knows.
    pub(crate) fn has_ended(&self, lease: &Lease, visibility_timeout: Duration, now: Instant) -> bool {
        let held = self.lock();
        held.get(&LeaseKey::from(lease)).is_none_or(|held| later(held.extended_at, visibility_timeout) <= now)
    }

    /// Takes down what a heartbeat that was sent `now` found. A lost lease is let go and its handler told.
    /// Answers how many were lost.
    pub(crate) fn record(&self, leases: &[Lease], answers: &[Heartbeat], now: Instant) -> usize {
        let mut held = self.lock();
        let mut lost = 0;
        for (lease, answer) in leases.iter().zip(answers) {
            let key = LeaseKey::from(lease);
            if *answer == Heartbeat::Extended {
                held.entry(key).and_modify(|held| held.extended_at = now);
            } else if let Some(held) = held.remove(&key) {
                held.stop.stop();
                lost += 1;
            }
        }
        self.tell_if_empty(&held);
        lost
    }

    /// Tells every handler to stop. Their leases are held on, so that what they return can be settled.
    pub(crate) fn cancel_all(&self) {
        self.lock().values().for_each(|held| held.stop.stop());
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

    fn tell_if_empty(&self, held: &HashMap<LeaseKey, Held>) {
        if held.is_empty() {
            self.emptied.notify_waiters();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<LeaseKey, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
