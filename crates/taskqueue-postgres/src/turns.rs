//! Claims and settles of one instance, one after the other while other instances claim as much as this one. It owns when that
//! is so and how long one waits; it knows no statement.
//!
//! A statement sees the rows of the moment when it began. As long as one runs that began before a claim ended, the versions of
//! the rows that the claim has replaced stay in their pages, and the completion of its tasks finds no room there: it
//! goes to another page, and writes every index. The fewer statements run at once, the sooner each is done. One instance
//! alone gains more by working on its claims while it settles.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

/// So long after an extra claim was turned away others are taken to claim still. Extra claims are tried more often.
const CROWDED_FOR: Duration = Duration::from_millis(500);
/// So long a turn is waited for; then it goes on without. One that is held up, by a lock of the service's perhaps, must
/// not hold up the rest.
pub(crate) const WAIT_MAX: Duration = Duration::from_millis(200);

/// Whose turn it is.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    turn: tokio::sync::Mutex<()>,
    turned_away_at: Mutex<Option<Instant>>,
}

/// A turn, or the leave to go without one; until it is dropped.
pub(crate) type Turn<'t> = Option<tokio::sync::MutexGuard<'t, ()>>;

impl Turns {
    /// An extra claim found nothing: another instance makes its own, unless there is nothing to find.
    pub(crate) fn turned_away(&self) {
        *self.lock() = Some(Instant::now());
    }

    /// A claim that was not extra found less than it asked for: there was nothing to be turned away from.
    pub(crate) fn reached_the_end(&self) {
        *self.lock() = None;
    }

    /// Waits for a turn where others claim as well.
    pub(crate) async fn take(&self) -> Turn<'_> {
        if !self.is_crowded() {
            return None;
        }
        timeout(WAIT_MAX, self.turn.lock()).await.ok()
    }

    fn is_crowded(&self) -> bool {
        self.lock().is_some_and(|at| at.elapsed() < CROWDED_FOR)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.turned_away_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use tokio::time::advance;

    use super::*;

    /// Turns of an instance whose extra claim was turned away just now.
    fn crowded() -> Turns {
        let turns = Turns::default();
        turns.turned_away();
        turns
    }

    #[tokio::test(start_paused = true)]
    async fn an_instance_alone_takes_no_turns() {
        let turns = Turns::default();
        let _first = turns.take().await;
        assert!(turns.take().now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn while_others_claim_the_next_waits_for_the_one_before() {
        let turns = crowded();
        let first = turns.take().await;
        assert!(first.is_some());
        assert!(turns.take().now_or_never().is_none());
        drop(first);
        assert!(turns.take().now_or_never().is_some_and(|second| second.is_some()));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_held_up_keeps_the_next_waiting_for_a_while_only() {
        let turns = crowded();
        let _first = turns.take().await;
        let began = Instant::now();
        assert!(turns.take().await.is_none());
        assert!(began.elapsed() <= WAIT_MAX + Duration::from_millis(1), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn when_others_have_gone_it_takes_no_turns_any_more() {
        let turns = crowded();
        let _first = turns.take().await;
        advance(CROWDED_FOR).await;
        assert!(turns.take().now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn where_nothing_is_left_to_claim_an_extra_claim_that_finds_nothing_tells_of_nobody() {
        let turns = crowded();
        turns.reached_the_end();
        let _first = turns.take().await;
        assert!(turns.take().now_or_never().is_some());
    }
}
