//! Whether a worker's claims succeed: what `/healthz` answers. It owns the judgement; who claims, and who asks, is
//! elsewhere.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use taskqueue_core::Result as QueueResult;
use tokio::time::Instant;

/// How many poll intervals claims may fail, or one may take, before it is told.
const POLL_INTERVALS: u32 = 5;
/// Short intervals are no reason to call a database dead that hands over to another.
const ALLOWED_MIN: Duration = Duration::from_secs(5);

/// What is known of a worker's claims.
#[derive(Debug)]
pub(super) struct Health {
    allowed: Duration,
    claims: Mutex<Claims>,
}

#[derive(Debug)]
struct Claims {
    /// When the last one ended that succeeded.
    good_at: Option<Instant>,
    /// When each began that is under way.
    under_way: Vec<Instant>,
    /// If the last one failed: when the first of those began that have failed in a row, and what the last one said.
    failing: Option<(Instant, String)>,
}

impl Health {
    /// Of a worker that looks at an idle queue so often.
    pub(super) fn new(poll_interval: Duration) -> Self {
        let claims = Claims { good_at: None, under_way: Vec::new(), failing: None };
        let allowed = poll_interval.saturating_mul(POLL_INTERVALS).max(ALLOWED_MIN);
        Self { allowed, claims: Mutex::new(claims) }
    }

    /// A claim begins.
    pub(super) fn begins(&self) -> UnderWay<'_> {
        let began = Instant::now();
        self.claims().under_way.push(began);
        UnderWay { health: self, began, answer: Err("the claim panicked".to_owned()) }
    }

    /// Fails with the reason when claims do not succeed for too long. A worker whose slots are all taken makes none, and
    /// is as healthy as its last one found it.
    pub(super) fn judge(&self) -> Result<(), String> {
        let claims = self.claims();
        let waited = claims.under_way.iter().map(Instant::elapsed).max().unwrap_or_default();
        match &claims.failing {
            Some((since, error)) if claims.good_at.is_none() || since.elapsed() > self.allowed => {
                Err(format!("claims have failed for {} s: {error}", since.elapsed().as_secs()))
            }
            _ if waited > self.allowed => {
                Err(format!("a claim has waited for the database for {} s", waited.as_secs()))
            }
            None if claims.good_at.is_none() => Err("the worker has made no claim yet".to_owned()),
            _ => Ok(()),
        }
    }

    /// No code panics while it holds this.
    fn claims(&self) -> MutexGuard<'_, Claims> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A claim that has not ended. One that panics gets no answer, and ends where this is dropped.
#[must_use]
pub(super) struct UnderWay<'h> {
    health: &'h Health,
    began: Instant,
    answer: Result<(), String>,
}

impl UnderWay<'_> {
    /// The claim has ended so.
    pub(super) fn ended<T>(mut self, answer: &QueueResult<T>) {
        self.answer = answer.as_ref().map(drop).map_err(ToString::to_string);
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut claims = self.health.claims();
        if let Some(place) = claims.under_way.iter().position(|other| *other == self.began) {
            claims.under_way.swap_remove(place);
        }
        match std::mem::replace(&mut self.answer, Ok(())) {
            Ok(()) => {
                claims.good_at = Some(Instant::now());
                claims.failing = None;
            }
            // A worker makes two claims at once, and no other where one of them fills its slots.
            Err(_) if claims.good_at.is_some_and(|good_at| good_at > self.began) => {}
            Err(error) => {
                let since = claims.failing.take().map_or(self.began, |(since, _)| since);
                claims.failing = Some((since, error));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use taskqueue_core::{Error, ErrorKind};

    use super::*;

    fn claim(health: &Health, answer: &QueueResult<()>) {
        health.begins().ended(answer);
    }

    fn down() -> QueueResult<()> {
        Err(Error::new(ErrorKind::Unavailable, "dequeue", "no server answers"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_is_healthy_from_its_first_claim_on_and_a_short_outage_is_none() {
        let health = Health::new(Duration::from_secs(2));
        assert_eq!(health.judge(), Err("the worker has made no claim yet".to_owned()));
        claim(&health, &Ok(()));
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(health.judge(), Ok(()), "nothing was claimed in the hour, and nothing failed");
        claim(&health, &down());
        tokio::time::advance(Duration::from_secs(10)).await;
        claim(&health, &down());
        assert_eq!(health.judge(), Ok(()));
        tokio::time::advance(Duration::from_secs(1)).await;
        let reason = health.judge().expect_err("five intervals are over");
        assert!(
            reason.starts_with("claims have failed for 11 s: ") && reason.contains("no server answers"),
            "{reason}"
        );
        claim(&health, &Ok(()));
        assert_eq!(health.judge(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_that_is_never_answered_is_told() {
        let health = Health::new(Duration::from_millis(100));
        claim(&health, &Ok(()));
        let claim_under_way = health.begins();
        tokio::time::advance(Duration::from_secs(5)).await;
        claim(&health, &Ok(()));
        assert_eq!(health.judge(), Ok(()));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(health.judge(), Err("a claim has waited for the database for 6 s".to_owned()));
        claim_under_way.ended(&QueueResult::Ok(()));
        assert_eq!(health.judge(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_that_fails_beside_one_that_succeeds_is_no_outage() {
        for good_ends_first in [true, false] {
            let health = Health::new(Duration::from_secs(1));
            let (good, bad) = (health.begins(), health.begins());
            tokio::time::advance(Duration::from_millis(10)).await;
            if good_ends_first {
                good.ended(&QueueResult::Ok(()));
                bad.ended(&down());
            } else {
                bad.ended(&down());
                good.ended(&QueueResult::Ok(()));
            }
            tokio::time::advance(Duration::from_secs(3600)).await;
            assert_eq!(health.judge(), Ok(()), "all slots were taken in the hour");
            claim(&health, &down());
            tokio::time::advance(Duration::from_secs(6)).await;
            assert!(health.judge().is_err(), "one that begins later is");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_that_panics_has_failed_and_is_forgotten_after_one_that_succeeds() {
        let health = Health::new(Duration::from_secs(1));
        claim(&health, &Ok(()));
        tokio::time::advance(Duration::from_secs(1)).await;
        drop(health.begins());
        tokio::time::advance(Duration::from_secs(6)).await;
        assert_eq!(health.judge(), Err("claims have failed for 6 s: the claim panicked".to_owned()));
        claim(&health, &Ok(()));
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(health.judge(), Ok(()));
    }
}
