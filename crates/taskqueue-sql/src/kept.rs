//! What the queue keeps at hand between two calls instead of giving it back to where it is from. It owns how many, for
//! how long, and that nobody waits for what is kept; it knows no connection.
//!
//! The driver's pool asks the server about each connection that comes back to it: a round trip for every call, on both
//! sides' processors, beside the one that the call is about.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What was taken from its source longer ago is given back, and looked at there.
const KEPT_FOR: Duration = Duration::from_secs(5);

/// Something with the time at which it was taken from its source.
#[derive(Debug)]
pub(crate) struct Keeping<T> {
    pub(crate) value: T,
    pub(crate) since: Instant,
}

/// What is at hand.
#[derive(Debug)]
pub(crate) struct Kept<T>(Mutex<State<T>>);

#[derive(Debug)]
struct State<T> {
    idle: Vec<Keeping<T>>,
    most: usize,
    /// How many wait for the source.
    waiting: usize,
}

/// What was asked for is not at hand; until this is dropped nothing is kept that the source could give.
pub(crate) struct Waiting<'k, T>(&'k Kept<T>);

impl<T> Kept<T> {
    /// Keeps at most so many.
    pub(crate) fn new(most: usize) -> Self {
        Self(Mutex::new(State { idle: Vec::new(), most, waiting: 0 }))
    }

    /// What was put back last; else a wait for the source.
    pub(crate) fn take(&self) -> Result<Keeping<T>, Waiting<'_, T>> {
        let mut state = self.lock();
        state.idle.pop().ok_or_else(|| {
            // Under the same lock as the look, so that nothing is kept in between.
            state.waiting += 1;
            Waiting(self)
        })
    }

    /// Keeps it, or gives it back to be given back.
    pub(crate) fn put(&self, keeping: Keeping<T>, now: Instant) -> Option<T> {
        let mut state = self.lock();
        if state.waiting > 0 || state.idle.len() >= state.most || keeping.is_old(now) {
            return Some(keeping.value);
        }
        state.idle.push(keeping);
        None
    }

    /// How many more may be at hand.
    pub(crate) fn room(&self) -> usize {
        let state = self.lock();
        state.most.saturating_sub(state.idle.len())
    }

    /// How many are at hand.
    pub(crate) fn len(&self) -> usize {
        self.lock().idle.len()
    }

    /// Keeps nothing from now on; gives back what is kept.
    pub(crate) fn stop(&self) -> Vec<T> {
        let mut state = self.lock();
        state.most = 0;
        state.idle.drain(..).map(|keeping| keeping.value).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Keeping<T> {
    /// Whether its source should look at it again.
    pub(crate) fn is_old(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= KEPT_FOR
    }
}

impl<T> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        self.0.lock().waiting -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeping(value: u8, since: Instant) -> Keeping<u8> {
        Keeping { value, since }
    }

    #[test]
    fn what_was_put_back_last_is_taken_first_and_no_more_is_kept_than_may_be() {
        let (kept, now) = (Kept::new(2), Instant::now());
        assert_eq!(kept.put(keeping(1, now), now), None);
        assert_eq!(kept.put(keeping(2, now), now), None);
        assert_eq!(kept.put(keeping(3, now), now), Some(3));
        assert_eq!(kept.take().map(|kept| kept.value).ok(), Some(2));
        assert_eq!(kept.take().map(|kept| kept.value).ok(), Some(1));
        assert!(kept.take().is_err());
    }

    #[test]
    fn nothing_is_kept_while_somebody_waits_for_the_source() {
        let (kept, now) = (Kept::new(2), Instant::now());
        let waiting = kept.take();
        assert!(waiting.is_err());
        assert_eq!(kept.put(keeping(1, now), now), Some(1));
        drop(waiting);
        assert_eq!(kept.put(keeping(1, now), now), None);
    }

    #[test]
    fn what_was_taken_long_ago_goes_back_to_its_source() {
        let (kept, now) = (Kept::new(2), Instant::now());
        assert_eq!(kept.put(keeping(1, now), now + KEPT_FOR), Some(1));
    }

    #[test]
    fn once_stopped_nothing_is_kept() {
        let (kept, now) = (Kept::new(2), Instant::now());
        assert_eq!(kept.put(keeping(1, now), now), None);
        assert_eq!(kept.stop(), [1]);
        assert_eq!(kept.put(keeping(2, now), now), Some(2));
    }
}
