//! The leases that this worker holds, from claim to settle. It owns who must be kept alive and who was lost; it
//! knows nothing of slots or outcomes.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use taskqueue_core::{Heartbeat, Lease, LeaseToken};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A lease that is held, and how its handler is told to stop.
struct Held {
    lease: Lease,
    cancel: CancellationToken,
    extended_at: Instant,
}

/// Every claim enters here once and leaves here once: settled, lost, or given up.
#[derive(Default)]
pub(crate) struct Leases {
    held: Mutex<HashMap<LeaseToken, Held>>,
    emptied: Notify,
}

impl Leases {
    /// Holds a lease that was claimed `now`.
    pub(crate) fn add(&self, lease: Lease, cancel: CancellationToken, now: Instant) {
        self.lock().insert(lease.token, Held { lease, cancel, extended_at: now });
    }

    /// Lets go of leases that were settled or given up.
    pub(crate) fn remove(&self, tokens: impl IntoIterator<Item = LeaseToken>) {
        let mut held = self.lock();
        for token in tokens {
            held.remove(&token);
        }
        self.tell_if_empty(&held);
    }

    /// Whether the lease is held still.
    pub(crate) fn holds(&self, token: LeaseToken) -> bool {
        self.lock().contains_key(&token)
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
    pub(crate) fn has_ended(&self, token: LeaseToken, visibility_timeout: Duration, now: Instant) -> bool {
        self.lock().get(&token).is_none_or(|held| held.extended_at + visibility_timeout <= now)
    }

    /// Takes down what a heartbeat that was sent `now` found. A lost lease is let go and its handler told.
    pub(crate) fn record(&self, leases: &[Lease], answers: &[Heartbeat], now: Instant) {
        let mut held = self.lock();
        for (lease, answer) in leases.iter().zip(answers) {
            match answer {
                Heartbeat::Extended => {
                    if let Some(held) = held.get_mut(&lease.token) {
                        held.extended_at = now;
                    }
                }
                Heartbeat::Lost => {
                    if let Some(held) = held.remove(&lease.token) {
                        held.cancel.cancel();
                    }
                }
            }
        }
        self.tell_if_empty(&held);
    }

    /// Tells every handler to stop. Their leases are held on, so that what they return can be settled.
    pub(crate) fn cancel_all(&self) {
        self.lock().values().for_each(|held| held.cancel.cancel());
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

    fn tell_if_empty(&self, held: &HashMap<LeaseToken, Held>) {
        if held.is_empty() {
            self.emptied.notify_waiters();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<LeaseToken, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
