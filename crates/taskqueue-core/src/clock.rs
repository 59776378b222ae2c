//! Where time comes from. It owns the only calls to the wall clock; everything else takes time as an argument.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};

/// A moment in UTC with microsecond precision, the finest that every supported engine keeps.
pub type Timestamp = DateTime<Utc>;

/// The longest duration that a delay, a timeout or an age may have: a thousand years of 365 days. A
/// longer delay of a new task is refused, all other longer ones are taken as this, so that adding them to a time cannot
/// overflow any engine's range.
pub const DURATION_MAX: Duration = Duration::from_secs(1000 * 365 * 24 * 3600);

/// So many times as long as it took rests what is looked at again and again: a twentieth of the time is the most that it takes.
pub const RESTS: u32 = 19;

/// A source of the current time, shared by all who must agree on it.
pub trait Clock: Send + Sync + std::fmt::Debug + 'static {
    /// The current time, truncated to microseconds.
    fn now(&self) -> Timestamp;
}

/// The host's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock module: the one place that reads it")]
    fn now(&self) -> Timestamp {
        truncate(Utc::now())
    }
}

/// A clock that stands still until it is told to move. Clones share the same time.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<Mutex<Timestamp>>);

impl ManualClock {
    /// A clock that stands at `start`.
    pub fn at(start: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(truncate(start))))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *now = add(*now, by);
    }
}

impl Default for ManualClock {
    /// A clock that stands at 2026-01-01T00:00:00Z.
    fn default() -> Self {
        Self::at(DateTime::from_timestamp(1_767_225_600, 0).expect("the constant is a valid time"))
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `time` without what is finer than a microsecond.
pub fn truncate(time: Timestamp) -> Timestamp {
    time.trunc_subsecs(6)
}

/// `time` plus `by`, which is taken as at most [`DURATION_MAX`].
pub fn add(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add_signed(delta(by)).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// `time` minus `by`, which is taken as at most [`DURATION_MAX`].
pub fn subtract(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_sub_signed(delta(by)).unwrap_or(DateTime::<Utc>::MIN_UTC)
}

/// `duration` in microseconds, taken as at most [`DURATION_MAX`].
pub fn micros(duration: Duration) -> i64 {
    let micros = duration.min(DURATION_MAX).as_micros();
    i64::try_from(micros).expect("DURATION_MAX is within the range of i64 microseconds")
}

/// How long to rest after what took so long: [`RESTS`] times as long.
pub fn rest(took: Duration) -> Duration {
    took.saturating_mul(RESTS)
}

fn delta(by: Duration) -> TimeDelta {
    TimeDelta::microseconds(micros(by))
}
