//! Retry policies: how long a failed task waits. Pure; randomness comes in as an argument.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::DURATION_MAX;

/// The longest delay of the default policy.
pub const BACKOFF_CAP_DEFAULT: Duration = Duration::from_secs(5 * 60);
/// The part of a delay that jitter may take away, by default.
pub const JITTER_DEFAULT: f64 = 0.2;

type CustomFn = Arc<dyn Fn(u32) -> Duration + Send + Sync>;

/// How long a task waits after its failed attempt number n. The delay is never over the cap, where there is one, nor over
/// [`DURATION_MAX`]; without jitter it never falls from one attempt to the next (custom functions excepted). Jitter shortens a
/// delay by a random part of up to `jitter`, so that tasks that failed together do not come back together.
///
/// ```
/// use std::time::Duration;
/// use taskqueue_core::RetryPolicy;
///
/// let policy = RetryPolicy::exponential_from(Duration::from_millis(500)).cap(Duration::from_secs(30)).jitter(0.0);
/// let delays = [1, 2, 3, 10].map(|attempt| policy.delay(attempt, 0.5).as_secs());
/// assert_eq!(delays, [1, 2, 4, 30]);
/// ```
#[derive(Clone)]
#[must_use = "a policy does nothing until it is given to a queue, a worker or a handler"]
pub struct RetryPolicy {
    curve: Curve,
    cap: Option<Duration>,
    jitter: f64,
}

#[derive(Clone)]
enum Curve {
    Exponential(Duration),
    Linear(Duration),
    Fixed(Duration),
    Custom(CustomFn),
}

impl RetryPolicy {
    /// `2^attempt` seconds, at most five minutes, with a jitter of a fifth. The default.
    pub fn exponential() -> Self {
        Self::exponential_from(Duration::from_secs(1))
    }

    /// `base * 2^attempt`, at most five minutes or `base`, whichever is longer, unless [`cap`](Self::cap) says otherwise; with a
    /// jitter of a fifth.
    pub fn exponential_from(base: Duration) -> Self {
        Self::of_curve(Curve::Exponential(base), base)
    }

    /// `step * attempt`, at most five minutes or `step`, whichever is longer, unless [`cap`](Self::cap) says otherwise; with a
    /// jitter of a fifth.
    pub fn linear(step: Duration) -> Self {
        Self::of_curve(Curve::Linear(step), step)
    }

    /// Always `delay`, without jitter.
    pub fn fixed(delay: Duration) -> Self {
        Self { curve: Curve::Fixed(delay), cap: None, jitter: 0.0 }
    }

    /// What `delay(attempt)` says, without jitter and without a cap.
    pub fn custom(delay: impl Fn(u32) -> Duration + Send + Sync + 'static) -> Self {
        Self { curve: Curve::Custom(Arc::new(delay)), cap: None, jitter: 0.0 }
    }

    /// Sets the longest delay. Default: five minutes ([`BACKOFF_CAP_DEFAULT`]), or the delay that a policy begins with if that is
    /// longer; none for [`fixed`](Self::fixed) and [`custom`](Self::custom).
    pub fn cap(mut self, cap: Duration) -> Self {
        self.cap = Some(cap);
        self
    }

    /// Sets the part of a delay that jitter may take away, taken as within `0.0..=1.0`.
    pub fn jitter(mut self, part: f64) -> Self {
        self.jitter = if part.is_nan() { 0.0 } else { part.clamp(0.0, 1.0) };
        self
    }

    /// The delay after the failed attempt number `attempt` (from 1). `random` in `[0, 1)` drives the jitter.
    pub fn delay(&self, attempt: u32, random: f64) -> Duration {
        let delay = match &self.curve {
            Curve::Exponential(base) => base.saturating_mul(2_u32.saturating_pow(attempt)),
            Curve::Linear(step) => step.saturating_mul(attempt),
            Curve::Fixed(delay) => *delay,
            Curve::Custom(delay) => delay(attempt),
        };
        let whole = delay.min(self.cap.unwrap_or(DURATION_MAX)).min(DURATION_MAX);
        whole.mul_f64(1.0 - self.jitter * random.clamp(0.0, 1.0)).min(whole)
    }

    fn of_curve(curve: Curve, base: Duration) -> Self {
        Self { curve, cap: Some(BACKOFF_CAP_DEFAULT.max(base)), jitter: JITTER_DEFAULT }
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::exponential()
    }
}

impl fmt::Debug for RetryPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let curve = match &self.curve {
            Curve::Exponential(base) => format!("exponential from {base:?}"),
            Curve::Linear(step) => format!("linear by {step:?}"),
            Curve::Fixed(delay) => format!("fixed {delay:?}"),
            Curve::Custom(_) => "custom".to_owned(),
        };
        let cap = self.cap.map_or_else(|| "no cap".to_owned(), |cap| format!("cap {cap:?}"));
        write!(f, "RetryPolicy({curve}, {cap}, jitter {})", self.jitter)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policies() -> impl Strategy<Value = RetryPolicy> {
        let duration = (0_u64..u64::MAX / 4).prop_map(Duration::from_nanos);
        (0..4, duration.clone(), duration, 0.0..=1.0_f64).prop_map(|(curve, base, cap, jitter)| {
            let policy = match curve {
                0 => RetryPolicy::exponential_from(base),
                1 => RetryPolicy::linear(base),
                2 => RetryPolicy::fixed(base),
                _ => RetryPolicy::custom(move |attempt| base.saturating_mul(attempt)),
            };
            policy.cap(cap).jitter(jitter)
        })
    }

    proptest! {
        #[test]
        fn no_delay_is_over_the_cap(policy in policies(), attempt in any::<u32>(), random in 0.0..1.0_f64) {
            prop_assert!(policy.cap.is_none_or(|cap| policy.delay(attempt, random) <= cap));
        }

        #[test]
        fn without_jitter_delays_never_fall(policy in policies(), attempt in 0..u32::MAX) {
            let policy = policy.jitter(0.0);
            prop_assert!(policy.delay(attempt, 0.9) <= policy.delay(attempt + 1, 0.1));
        }

        #[test]
        fn jitter_takes_away_no_more_than_its_part(attempt in 0..64_u32, random in 0.0..1.0_f64) {
            let whole = RetryPolicy::exponential().jitter(0.0).delay(attempt, 0.0);
            let delay = RetryPolicy::exponential().delay(attempt, random);
            prop_assert!(delay <= whole && delay >= whole.mul_f64(1.0 - JITTER_DEFAULT));
        }
    }

    #[test]
    fn the_default_is_two_to_the_attempt_in_seconds_up_to_five_minutes() {
        let delays: Vec<u64> =
            (1..=10).map(|attempt| RetryPolicy::default().delay(attempt, 0.0).as_secs()).collect();
        assert_eq!(delays, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    }

    #[test]
    fn a_policy_waits_as_long_as_it_says_though_that_is_over_the_default_cap() {
        let hour = Duration::from_secs(3600);
        assert_eq!(RetryPolicy::custom(move |attempt| hour * attempt).delay(2, 0.0), 2 * hour);
        assert_eq!(RetryPolicy::linear(hour).delay(2, 0.0), hour);
        assert_eq!(RetryPolicy::exponential_from(hour).delay(1, 0.0), hour);
        assert_eq!(RetryPolicy::linear(hour).cap(3 * hour).delay(2, 0.0), 2 * hour);
        assert_eq!(
            RetryPolicy::linear(hour).cap(hour / 60).delay(2, 0.0),
            hour / 60,
            "a cap that is set is the cap"
        );
    }

    #[test]
    fn a_delay_without_end_is_cut_to_the_longest() {
        for policy in
            [RetryPolicy::fixed(Duration::MAX), RetryPolicy::linear(Duration::MAX).cap(Duration::MAX)]
        {
            assert_eq!(policy.jitter(0.0).delay(u32::MAX, 0.5), DURATION_MAX);
        }
    }

    #[test]
    fn a_jitter_that_is_no_part_is_taken_as_the_nearest_one() {
        let second = Duration::from_secs(1);
        assert_eq!(RetryPolicy::fixed(second).jitter(f64::NAN).delay(1, 0.5), second);
        assert_eq!(RetryPolicy::fixed(second).jitter(7.0).delay(1, 1.0), Duration::ZERO);
    }
}
