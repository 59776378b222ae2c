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
    /// Whether one has succeeded.
    any_good: bool,
    /// When each began that is under way.
    under_way: Vec<Instant>,
    /// If the last one failed: when the first of those began that have failed in a row, and what the last one said.
    failing: Option<(Instant, String)>,
}

impl Health {
    /// Of a worker that looks at an idle queue so often.
    pub(super) fn new(poll_interval: Duration) -> Self {
        let claims = Claims { any_good: false, under_way: Vec::new(), failing: None };
        let allowed = poll_interval.saturating_mul(POLL_INTERVALS).max(ALLOWED_MIN);
        Self { allowed, claims: Mutex::new(claims) }
    }

    /// A claim begins; what is answered is for [`ended`](Self::ended).
    pub(super) fn begins(&self) -> Instant {
        let now = Instant::now();
        self.claims().under_way.push(now);
        now
    }

    /// The claim that began then has ended.
    pub(super) fn ended<T>(&self, began: Instant, answer: &QueueResult<T>) {
        let mut claims = self.claims();
        if let Some(place) = claims.under_way.iter().position(|other| *other == began) {
            claims.under_way.swap_remove(place);
        }
        match answer {
            Ok(_) => {
                claims.any_good = true;
                claims.failing = None;
            }
            Err(error) => {
                let since = claims.failing.take().map_or(began, |(since, _)| since);
                claims.failing = Some((since, error.to_string()));
            }
        }
    }

    /// Fails with the reason when claims do not succeed for too long. A worker whose slots are all taken makes none, and
    /// is as healthy as its last one found it.
    pub(super) fn judge(&self) -> Result<(), String> {
        let claims = self.claims();
        let waited = claims.under_way.iter().map(Instant::elapsed).max().unwrap_or_default();
        match &claims.failing {
            Some((since, error)) if !claims.any_good || since.elapsed() > self.allowed => {
                Err(format!("claims have failed for {} s: {error}", since.elapsed().as_secs()))
            }
            _ if waited > self.allowed => {
                Err(format!("a claim has waited for the database for {} s", waited.as_secs()))
            }
            None if !claims.any_good => Err("the worker has made no claim yet".to_owned()),
            _ => Ok(()),
        }
    }

    /// No code panics while it holds this.
    fn claims(&self) -> MutexGuard<'_, Claims> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use taskqueue_core::{Error, ErrorKind};

    use super::*;

    fn claim(health: &Health, answer: &QueueResult<()>) {
        health.ended(health.begins(), answer);
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
        let began = health.begins();
        tokio::time::advance(Duration::from_secs(5)).await;
        claim(&health, &Ok(()));
        assert_eq!(health.judge(), Ok(()));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(health.judge(), Err("a claim has waited for the database for 6 s".to_owned()));
        health.ended(began, &Ok(()));
        assert_eq!(health.judge(), Ok(()));
    }
}
