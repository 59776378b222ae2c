//! The settings of a worker, their defaults and their checks.

use std::time::Duration;

use taskqueue_core::backend::check_visibility_timeout;
use taskqueue_core::{CONCURRENCY_DEFAULT, POLL_INTERVAL_DEFAULT, RetryPolicy};

/// The most tasks of one claim: larger batches gain little more and hold locks for longer.
pub(crate) const STORE_BATCH_MAX: usize = 1_000;
/// The most outcomes of one settle, which locks only what is its own. Where several processes share a server one takes long, and
/// the next one then has more.
pub(crate) const SETTLE_BATCH_MAX: usize = 2 * STORE_BATCH_MAX;
/// The most tasks that a worker claims at once, by a claim and an extra one. A worker that runs a single task at a time keeps
/// the queue's order to the letter: it claims once at a time.
pub(crate) fn claimed_max(concurrency: usize) -> usize {
    if concurrency == 1 { STORE_BATCH_MAX } else { 2 * STORE_BATCH_MAX }
}

/// What a worker does for the queue beside handling tasks. Every worker may run it: each step is safe when many
/// do, and jittered, so that they spread.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[must_use = "it does nothing until it is given to a worker"]
pub struct MaintenanceConfig {
    /// How often due tasks (delayed ones, retries) are made ready; this bounds how late they start. `None`:
    /// never by this worker. Default: 250 ms.
    pub promote_interval: Option<Duration>,
    /// How often tasks of dead workers are taken back; a drain does so when nothing else is left. `None`: never by this
    /// worker. Default: 5 s.
    pub reclaim_interval: Option<Duration>,
    /// How long completed and cancelled tasks are kept. `None`: for ever, as only their owner can say that a history
    /// may go. Default: `None`.
    pub retention: Option<Duration>,
    /// How long dead letters are kept, counted from when they died. `None`: until somebody redrives or removes them,
    /// as each is a task that was promised and not done. Default: `None`.
    pub dead_letter_retention: Option<Duration>,
    /// How often tasks past their retention are removed. Without a retention it has no effect. Default: 1 min.
    pub cleanup_interval: Duration,
    /// How often the depth gauges are sampled; each sample costs one `stats` call, also where no recorder is installed, which
    /// nobody can tell. After a sample at least 19 times as long passes as it took. `None`: never by this worker. Default:
    /// 15 s.
    pub depth_interval: Option<Duration>,
}

impl Default for MaintenanceConfig {
    fn default() -> Self {
        Self {
            promote_interval: Some(Duration::from_millis(250)),
            reclaim_interval: Some(Duration::from_secs(5)),
            retention: None,
            dead_letter_retention: None,
            cleanup_interval: Duration::from_secs(60),
            depth_interval: Some(Duration::from_secs(15)),
        }
    }
}

impl MaintenanceConfig {
    /// No maintenance: another process must do it, or delayed tasks and retries never start.
    pub fn off() -> Self {
        Self { promote_interval: None, reclaim_interval: None, depth_interval: None, ..Self::default() }
    }

    /// Removes completed and cancelled tasks that finished longer than `age` ago; `None`: never. Dead letters stay.
    pub fn retention(mut self, age: impl Into<Option<Duration>>) -> Self {
        self.retention = age.into();
        self
    }

    /// Removes dead letters that died longer than `age` ago: nobody can redrive them then. `None`: never.
    pub fn dead_letter_retention(mut self, age: impl Into<Option<Duration>>) -> Self {
        self.dead_letter_retention = age.into();
        self
    }

    /// Sets how often due tasks are made ready; `None`: never by this worker.
    pub fn promote_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.promote_interval = interval.into();
        self
    }

    /// Sets how often tasks of dead workers are taken back; `None`: never by this worker.
    pub fn reclaim_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.reclaim_interval = interval.into();
        self
    }

    /// Sets how often the depth gauges are sampled; `None`: never by this worker.
    pub fn depth_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.depth_interval = interval.into();
        self
    }

    /// Sets how often tasks past the retention are removed.
    pub fn cleanup_interval(mut self, interval: Duration) -> Self {
        self.cleanup_interval = interval;
        self
    }

    fn validate(&self) -> Result<(), String> {
        let intervals = [
            ("promote interval", self.promote_interval),
            ("reclaim interval", self.reclaim_interval),
            ("cleanup interval", Some(self.cleanup_interval)),
            ("depth interval", self.depth_interval),
        ];
        intervals.into_iter().try_for_each(|(name, interval)| not_zero(name, interval))
    }
}

/// What becomes of a task whose payload is not the JSON form of what its handler takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum UndecodablePayload {
    /// It is a dead letter at once: the same text decodes no better at the next attempt. The default.
    #[default]
    DeadLetter,
    /// The attempt failed, and others follow by the retry policy: while a new version is rolled out, a worker of that version may
    /// take the next one.
    Retry,
}

/// What the builder collects; each field's meaning and default is told at its method there.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) concurrency: usize,
    pub(crate) prefetch: Option<usize>,
    pub(crate) poll_interval: Duration,
    pub(crate) grace_period: Duration,
    pub(crate) cancel_period: Duration,
    pub(crate) heartbeat_interval: Option<Duration>,
    pub(crate) visibility_timeout: Option<Duration>,
    pub(crate) settle_delay: Duration,
    pub(crate) retry: Option<RetryPolicy>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) undecodable: UndecodablePayload,
    pub(crate) maintenance: MaintenanceConfig,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: "worker".to_owned(),
            concurrency: CONCURRENCY_DEFAULT,
            prefetch: None,
            poll_interval: POLL_INTERVAL_DEFAULT,
            grace_period: Duration::from_secs(30),
            cancel_period: Duration::from_secs(5),
            heartbeat_interval: None,
            visibility_timeout: None,
            settle_delay: Duration::from_millis(2),
            retry: None,
            timeout: None,
            undecodable: UndecodablePayload::default(),
            maintenance: MaintenanceConfig::default(),
        }
    }
}

impl Settings {
    /// Checks what contradicts itself, given how long leases last.
    pub(crate) fn validate(&self, visibility_timeout: Duration) -> Result<(), String> {
        if self.concurrency == 0 {
            return Err("concurrency is 0: such a worker would never run a task".to_owned());
        }
        not_zero("poll interval", Some(self.poll_interval))?;
        not_zero("heartbeat interval", self.heartbeat_interval)?;
        if self.timeout == Some(Duration::ZERO) {
            return Err("timeout is zero: every handler would always fail".to_owned());
        }
        check_visibility_timeout("worker", visibility_timeout).map_err(|error| error.to_string())?;
        if let Some(interval) = self.heartbeat_interval
            && interval.saturating_mul(2) > visibility_timeout
        {
            return Err(format!(
                "heartbeat interval {interval:?} is more than half the visibility timeout of \
                 {visibility_timeout:?}: one late heartbeat would lose every lease"
            ));
        }
        self.maintenance.validate()
    }
}

fn not_zero(name: &str, interval: Option<Duration>) -> Result<(), String> {
    match interval {
        Some(Duration::ZERO) => Err(format!("{name} is zero: it would spin")),
        _ => Ok(()),
    }
}
