//! How long to wait: how waits grow after failures and while idle, and how they spread. It knows no stage.

use std::time::Duration;

use taskqueue_core::clock::DURATION_MAX;
use tokio::time::Instant;

const ERROR_WAIT_MIN: Duration = Duration::from_millis(100);
const ERROR_WAIT_MAX: Duration = Duration::from_secs(5);

/// The wait after the n-th failure in a row: doubling, at most `max`, jittered.
pub(crate) fn backoff(failures: u32, min: Duration, max: Duration) -> Duration {
    let doubled = min.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
    jittered(doubled.min(max))
}

/// The wait after the n-th call in a row that the store has failed: claims and maintenance are tried again after it.
pub(crate) fn after_errors(errors: u32) -> Duration {
    backoff(errors, ERROR_WAIT_MIN, ERROR_WAIT_MAX)
}

/// `interval`, shortened by a random part of up to a fifth, so that workers spread.
pub(crate) fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(1.0 - 0.2 * rand::random::<f64>())
}

/// `time` plus `by`, which is taken as at most [`DURATION_MAX`], so that it cannot overflow.
pub(crate) fn later(time: Instant, by: Duration) -> Instant {
    time + by.min(DURATION_MAX)
}

/// When to look at an idle queue again.
pub(crate) struct Poll {
    at: Instant,
    wait: Duration,
    longest: Duration,
}

impl Poll {
    /// After work the first wait is this part of the longest where nobody tells what other processes make ready,
    const QUICK: u32 = 64;
    /// and this one where somebody does;
    const QUICK_HEARD: u32 = 8;
    /// but no shorter than this, unless the longest is.
    const QUICK_MIN: Duration = Duration::from_millis(5);

    /// Waits that grow to `longest`, shorter at first unless others are heard.
    pub(crate) fn new(longest: Duration, hears_others: bool) -> Self {
        let wait = Self::quick(longest, hears_others);
        Self { at: later(Instant::now(), jittered(wait)), wait, longest }
    }

    /// When the next look is due.
    pub(crate) fn at(&self) -> Instant {
        self.at
    }

    /// Nothing was there and nothing roused us: the next wait is twice as long.
    pub(crate) fn slow_down(&mut self) {
        self.wait = self.wait.saturating_mul(2).min(self.longest);
        self.restart();
    }

    /// There was work: more may follow soon. A look that is due sooner stays due, or steady work of one type
    /// would put it off for ever; while there is work one at times is enough.
    pub(crate) fn quicken(&mut self, hears_others: bool) {
        self.wait = Self::quick(self.longest, hears_others);
        self.at = self.at.min(later(Instant::now(), jittered(Self::quick(self.longest, true))));
    }

    /// When the next look is due if there is nothing to do until then.
    pub(crate) fn idle_at(&self) -> Instant {
        self.at.min(later(Instant::now(), jittered(self.wait)))
    }

    fn quick(longest: Duration, hears_others: bool) -> Duration {
        let part = if hears_others { Self::QUICK_HEARD } else { Self::QUICK };
        (longest / part).max(Self::QUICK_MIN).min(longest)
    }

    /// Starts the current wait anew: there was a look just now.
    pub(crate) fn restart(&mut self) {
        self.at = later(Instant::now(), jittered(self.wait));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn waits_after_failures_double_up_to_the_longest_and_are_jittered_by_at_most_a_fifth() {
        for (failures, whole) in [(1, 1), (2, 2), (3, 4), (4, 5), (400, 5)] {
            let wait = backoff(failures, SECOND, 5 * SECOND);
            assert!(wait <= whole * SECOND && wait >= (whole * SECOND).mul_f64(0.8), "{failures}: {wait:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_poll_slows_down_to_its_interval_and_work_quickens_it() {
        let mut poll = Poll::new(64 * SECOND, false);
        let mut waits = Vec::new();
        for _ in 0..8 {
            waits.push(poll.wait.as_secs());
            assert!(poll.at() <= Instant::now() + poll.wait);
            poll.slow_down();
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 64]);
        poll.quicken(false);
        assert_eq!(poll.wait, SECOND);
        assert!(poll.idle_at() <= Instant::now() + SECOND);
        assert!(poll.at() <= Instant::now() + 8 * SECOND);
    }

    #[test]
    fn the_first_wait_after_work_is_short_but_no_spin() {
        let millis = Duration::from_millis;
        for (longest, first, heard) in [(1_000, 15, 125), (100, 5, 12), (3, 3, 3)] {
            assert_eq!(Poll::quick(millis(longest), false).as_millis(), first, "{longest} ms");
            assert_eq!(Poll::quick(millis(longest), true).as_millis(), heard, "{longest} ms");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn steady_work_does_not_put_off_a_look_that_is_due() {
        let mut poll = Poll::new(64 * SECOND, false);
        let due = poll.at();
        tokio::time::advance(SECOND / 2).await;
        poll.quicken(false);
        assert_eq!(poll.at(), due);
    }

    #[tokio::test]
    async fn no_wait_is_too_long_to_be_added() {
        assert!(later(Instant::now(), Duration::MAX) > Instant::now());
        assert!(Poll::new(Duration::MAX, false).at() > Instant::now());
    }
}
