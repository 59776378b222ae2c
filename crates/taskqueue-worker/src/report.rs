//! What a worker did, counted as the store confirmed it.

use std::sync::atomic::{AtomicU64, Ordering};

use taskqueue_core::{Lease, Outcome, Retry, Settled};

/// What a worker did until it stopped. Each count but the last is of settles that the queue confirmed; a completion of a
/// handler's own ([`Outcome::settled`]) is counted as its handler says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[non_exhaustive]
pub struct Report {
    /// Tasks finished.
    pub completed: u64,
    /// Attempts that failed and will be followed by another.
    pub failed: u64,
    /// Tasks that failed permanently.
    pub dead_lettered: u64,
    /// Tasks put off by their handlers.
    pub snoozed: u64,
    /// Tasks handed back unfinished, as the worker stopped, or unstarted, as others before them took long.
    pub released: u64,
    /// Tasks whose lease was lost: cancelled, or taken back by another worker. What their handlers returned
    /// was dropped.
    pub leases_lost: u64,
    /// Tasks whose outcome the queue did not confirm before the worker gave up or ended, or that had none as their handlers
    /// blocked their threads. Some may be settled all the same; the others are handled again when their leases end.
    pub unconfirmed: u64,
}

/// Which count a settle goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Completed,
    Failed,
    DeadLettered,
    Snoozed,
    Released,
}

impl Kind {
    /// Where this outcome counts if it is applied.
    pub(crate) fn of(lease: &Lease, outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Fail { retry: Retry::Never, .. } => Self::DeadLettered,
            Outcome::Fail { .. } if lease.attempt >= lease.max_retries => Self::DeadLettered,
            Outcome::Fail { .. } => Self::Failed,
            Outcome::Snooze { .. } => Self::Snoozed,
            Outcome::Release => Self::Released,
            _ => Self::Completed,
        }
    }
}

/// The running counts.
#[derive(Default)]
pub(crate) struct Tally {
    completed: AtomicU64,
    failed: AtomicU64,
    dead_lettered: AtomicU64,
    snoozed: AtomicU64,
    released: AtomicU64,
    leases_lost: AtomicU64,
    unconfirmed: AtomicU64,
}

impl Tally {
    /// Counts one answer.
    pub(crate) fn settled(&self, kind: Kind, answer: Settled) {
        let count = match (answer, kind) {
            (Settled::LeaseLost, _) => &self.leases_lost,
            (_, Kind::Completed) => &self.completed,
            (_, Kind::Failed) => &self.failed,
            (_, Kind::DeadLettered) => &self.dead_lettered,
            (_, Kind::Snoozed) => &self.snoozed,
            (_, Kind::Released) => &self.released,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts leases that a heartbeat found lost.
    pub(crate) fn leases_lost(&self, leases: u64) {
        self.leases_lost.fetch_add(leases, Ordering::Relaxed);
    }

    /// Counts tasks whose outcome the queue did not confirm.
    pub(crate) fn unconfirmed(&self, tasks: u64) {
        self.unconfirmed.fetch_add(tasks, Ordering::Relaxed);
    }

    /// The counts so far.
    pub(crate) fn report(&self) -> Report {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Report {
            completed: get(&self.completed),
            failed: get(&self.failed),
            dead_lettered: get(&self.dead_lettered),
            snoozed: get(&self.snoozed),
            released: get(&self.released),
            leases_lost: get(&self.leases_lost),
            unconfirmed: get(&self.unconfirmed),
        }
    }
}
