//! Claims and settles of one instance, one after the other while other instances claim as much as this one. It owns when that
//! is so and how long one waits; it knows no statement.
//!
//! A statement sees the rows of the moment when it began. As long as one runs that began before a claim ended, the versions of
//! the rows that the claim has replaced stay in their pages, and the completion of its tasks finds no room there: it
//! goes to another page, and writes every index. The fewer statements run at once, the sooner each is done. One instance
//! alone gains more by working on its claims while it settles.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use taskqueue_sql::Claiming;
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
    /// What a claim has found. An extra one that finds nothing was turned away, since another instance makes its own; unless
    /// there is nothing to find, as the claims that are not extra tell.
    pub(crate) fn claimed(&self, claiming: &Claiming, found: usize) {
        if claiming.is_extra && found == 0 {
            *self.lock() = Some(Instant::now());
        } else if !claiming.is_extra && found < claiming.limit {
            *self.lock() = None;
        }
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
    use taskqueue_core::{LeaseToken, TaskType, WorkerId};
    use tokio::time::advance;

    use super::*;

    fn claiming(is_extra: bool) -> Claiming {
        Claiming {
            types: vec![TaskType::new("mail").unwrap()],
            limit: 10,
            token: LeaseToken::generate(),
            worker_id: WorkerId::new("ada").unwrap(),
            visibility_timeout: Duration::from_secs(60),
            is_extra,
        }
    }

    /// Turns of an instance whose extra claim was turned away just now.
    fn crowded() -> Turns {
        let turns = Turns::default();
        turns.claimed(&claiming(true), 0);
        turns.claimed(&claiming(false), 10);
        turns
    }

    #[tokio::test(start_paused = true)]
    async fn an_instance_alone_takes_no_turns() {
        let turns = Turns::default();
        turns.claimed(&claiming(true), 10);
        turns.claimed(&claiming(false), 10);
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
        turns.claimed(&claiming(false), 9);
        let _first = turns.take().await;
        assert!(turns.take().now_or_never().is_some());
    }
}
