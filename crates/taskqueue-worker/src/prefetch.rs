//! How many tasks a worker claims ahead of its slots. Pure: it is told what was handled and what time it is, and
//! knows no queue.

use std::time::Duration;

use tokio::time::Instant;

use crate::settings::STORE_BATCH_MAX;

/// How long a task waits in a worker, roughly, at the pace so far: long enough to hide a claim's round trip many times over, short
/// enough that idle workers elsewhere do not miss it.
const HELD: Duration = Duration::from_millis(100);
/// How long a task may wait at most, whatever becomes of the pace: the measure was wrong by a factor of ten then.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// Two batches wait while two more are claimed.
const TASKS_MAX: usize = 4 * STORE_BATCH_MAX;

/// The most tasks that wait for a slot.
#[derive(Debug)]
pub(crate) enum Prefetch {
    /// As its owner says.
    Fixed(usize),
    /// As many as were handled lately in [`HELD`]: none of tasks that take minutes, and [`TASKS_MAX`] of tasks
    /// that take microseconds.
    Measured(Measured),
}

/// What is known of the worker's pace.
#[derive(Debug)]
pub(crate) struct Measured {
    tasks: usize,
    handled: usize,
    since: Option<Instant>,
}

impl Prefetch {
    /// The tasks that were asked for, or as the pace says.
    pub(crate) fn new(tasks: Option<usize>) -> Self {
        match tasks {
            Some(tasks) => Self::Fixed(tasks),
            None => Self::Measured(Measured { tasks: 0, handled: 0, since: None }),
        }
    }

    /// The most tasks that may wait now.
    pub(crate) fn tasks(&self) -> usize {
        match self {
            Self::Fixed(tasks) => *tasks,
            Self::Measured(measured) => measured.tasks,
        }
    }

    /// How long a task may wait for a slot before it goes back; `None`: until it starts.
    pub(crate) fn wait_max(&self) -> Option<Duration> {
        match self {
            Self::Fixed(_) => None,
            Self::Measured(_) => Some(WAIT_MAX),
        }
    }

    /// Tasks waited for longer than they may: the pace is measured anew, from `now`.
    pub(crate) fn stalled(&mut self, now: Instant) {
        if let Self::Measured(measured) = self {
            *measured = Measured { tasks: 0, handled: 0, since: Some(now) };
        }
    }

    /// A task was handled.
    pub(crate) fn handled(&mut self) {
        if let Self::Measured(measured) = self {
            measured.handled += 1;
        }
    }

    /// Tasks were claimed `now`, for a worker that runs `concurrency` at once. The prefetch follows the pace since
    /// the last claim; it at most doubles, so that one lucky moment does not fill the worker. Where the last claim was a
    /// moment ago and nothing was handled since, it stays.
    pub(crate) fn claimed(&mut self, now: Instant, concurrency: usize) {
        let Self::Measured(measured) = self else { return };
        if let Some(since) = measured.since {
            let elapsed = now.saturating_duration_since(since).max(Duration::from_micros(1));
            if measured.handled == 0 && elapsed < HELD {
                return;
            }
            let pace = measured.handled as f64 * (HELD.as_secs_f64() / elapsed.as_secs_f64());
            let grown = measured.tasks.saturating_mul(2).saturating_add(concurrency);
            measured.tasks = (pace as usize).min(grown).min(TASKS_MAX);
        }
        measured.since = Some(now);
        measured.handled = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The prefetch after `claims` claims, `every` apart, with `handled` tasks between two of them.
    fn after(claims: usize, every: Duration, handled: usize) -> usize {
        let (mut prefetch, start) = (Prefetch::new(None), Instant::now());
        for claim in 0..claims {
            prefetch.claimed(start + every * u32::try_from(claim).expect("a few"), 10);
            (0..handled).for_each(|_| prefetch.handled());
        }
        prefetch.tasks()
    }

    #[test]
    fn tasks_of_minutes_are_not_claimed_ahead() {
        assert_eq!(after(20, Duration::from_secs(60), 10), 0);
    }

    #[test]
    fn quick_tasks_are_claimed_ahead_for_a_tenth_of_a_second_at_most_doubling_at_each_claim() {
        let (millisecond, fast) = (Duration::from_millis(1), 4);
        assert_eq!(after(1, millisecond, fast), 0);
        assert_eq!(after(2, millisecond, fast), 10);
        assert_eq!(after(3, millisecond, fast), 30);
        assert_eq!(after(9, millisecond, fast), 400);
    }

    #[test]
    fn two_claims_with_nothing_in_between_are_no_change_of_pace() {
        let (mut prefetch, start) = (Prefetch::new(None), Instant::now());
        for claim in 0..2 {
            prefetch.claimed(start + claim * HELD, 10);
            (0..8).for_each(|_| prefetch.handled());
        }
        assert_eq!(prefetch.tasks(), 8);
        prefetch.claimed(start + 2 * HELD, 10);
        prefetch.claimed(start + 2 * HELD, 10);
        assert_eq!(prefetch.tasks(), 8);
        prefetch.claimed(start + 3 * HELD, 10);
        assert_eq!(prefetch.tasks(), 0, "for as long as tasks may wait, none was handled");
    }

    #[test]
    fn never_more_than_four_batches_are_claimed_ahead() {
        assert_eq!(after(30, Duration::from_micros(10), 1_000), TASKS_MAX);
    }

    #[test]
    fn after_a_stall_nothing_is_claimed_ahead_until_the_pace_is_known_anew() {
        let (mut prefetch, start) = (Prefetch::new(None), Instant::now());
        for claim in 0..2 {
            prefetch.claimed(start + claim * HELD, 10);
            (0..8).for_each(|_| prefetch.handled());
        }
        prefetch.stalled(start + 2 * HELD);
        assert_eq!(prefetch.tasks(), 0);
        prefetch.claimed(start + 3 * HELD, 10);
        assert_eq!(prefetch.tasks(), 0, "what was handled before does not count");
        (0..8).for_each(|_| prefetch.handled());
        prefetch.claimed(start + 4 * HELD, 10);
        assert_eq!(prefetch.tasks(), 8);
    }

    #[test]
    fn a_prefetch_that_was_set_stays() {
        let mut prefetch = Prefetch::new(Some(3));
        prefetch.stalled(Instant::now());
        prefetch.handled();
        prefetch.claimed(Instant::now(), 10);
        assert_eq!(prefetch.tasks(), 3);
    }
}
