//! A clock for tests of handlers and workers: queue time that follows tokio's, so that paused time moves both.

use taskqueue_core::{Clock, Timestamp, clock};
use tokio::time::Instant;

/// A [`Clock`] that stands at 2026-01-01T00:00:00Z when it is made, and from then on moves with tokio's time:
/// under `#[tokio::test(start_paused = true)]` leases, delays and retries pass as fast as timers do.
///
/// ```
/// use std::time::Duration;
/// use taskqueue_worker::core::Clock;
/// use taskqueue_worker::testing::TokioClock;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let clock = TokioClock::new();
/// let start = clock.now();
/// tokio::time::sleep(Duration::from_secs(3600)).await; // returns at once, as time is paused
/// assert_eq!((clock.now() - start).num_seconds(), 3600);
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct TokioClock {
    origin: Instant,
    start: Timestamp,
}

impl TokioClock {
    /// A clock that starts now. Call it within a tokio runtime.
    pub fn new() -> Self {
        Self { origin: Instant::now(), start: taskqueue_core::ManualClock::default().now() }
    }
}

impl Default for TokioClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        clock::truncate(clock::add(self.start, self.origin.elapsed()))
    }
}
