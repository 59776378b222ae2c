//! Runs operations: each in a transaction, again while others are in the way, and on one shard after another where it
//! takes what it finds. It owns what a queue's clones share; it knows no verb.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use taskqueue_core::{Enqueued, Result, SHARDS_MAX, Shard, Shards, WakeUp};
use tokio::time::timeout;

use crate::coalesce::Coalescer;
use crate::enqueue::Enqueue;
use crate::flush::Sink;
use crate::keyed::Keyed;
use crate::operation::Operation;
use crate::round::{Share, TURNS, Turns};
use crate::vouch::Commits;
use crate::{Access, Attempt, Dialect, shard};

/// The wait before a transaction is repeated for the first time; it doubles each time.
const BACKOFF_FIRST: Duration = Duration::from_millis(2);
/// A database that commits nothing within this time takes no tasks now.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Runner<D> {
    pub(crate) dialect: D,
    pub(crate) coalescer: Arc<Coalescer>,
    pub(crate) keyed: Keyed,
    pub(crate) wake_up: WakeUp,
    pub(crate) is_closed: AtomicBool,
    pub(crate) retries: AtomicU64,
    /// How many of them were answered to whoever records them.
    pub(crate) retries_taken: AtomicU64,
    /// Whether the last claim found nothing.
    pub(crate) was_empty: AtomicBool,
    /// Which shard the next round of each verb begins with. At random at first, so that workers that start together
    /// part.
    turns: [AtomicUsize; TURNS],
}

impl<D: Dialect> Runner<D> {
    pub(crate) fn new(dialect: D) -> Self {
        Self {
            keyed: Keyed::new(dialect.keyed_enqueues()),
            dialect,
            coalescer: Arc::default(),
            wake_up: WakeUp::new(),
            is_closed: AtomicBool::new(false),
            retries: AtomicU64::new(0),
            retries_taken: AtomicU64::new(0),
            was_empty: AtomicBool::new(false),
            turns: std::array::from_fn(|_| AtomicUsize::new(rand::random_range(0..usize::from(SHARDS_MAX)))),
        }
    }

    /// Runs an operation in a transaction, and again while others are in the way.
    pub(crate) async fn repeat<O: Operation<D>>(&self, operation: &O) -> Result<O::Answer> {
        let mut repeats = 0;
        loop {
            let failure = match self.once(operation).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let is_of_use =
                failure.is_contention() && (operation.repeats_lock_waits() || !failure.is_lock_wait());
            if !is_of_use || repeats == self.dialect.contention_retries_max() {
                return Err(failure.into_error(O::NAME));
            }
            repeats += 1;
            self.retries.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(backoff(repeats, rand::random())).await;
        }
    }

    /// Runs one shard's part of a call after another, each up to what is left of the limit. Rounds begin with another shard each
    /// time, so that none waits for ever behind one that always has enough. What was done before a failure is answered:
    /// it is committed, and a claim that nobody heard of would be held until its lease ends.
    pub(crate) async fn round<O: Operation<D, Answer: Share>>(
        &self,
        turns: Turns,
        limit: usize,
        part: impl Fn(Shard, usize) -> O,
    ) -> Result<O::Answer> {
        let shards = self.shards().await.map_err(|failure| failure.into_error(O::NAME))?;
        let turn = self.turns[turns as usize].fetch_add(1, Ordering::Relaxed);
        let mut done: Option<O::Answer> = None;
        for shard in shards.from_turn(turn) {
            let used = done.as_ref().map_or(0, Share::used);
            if used >= limit {
                break;
            }
            match (self.repeat(&part(shard, limit - used)).await, &mut done) {
                (Ok(more), Some(done)) => done.add(more),
                (Ok(first), none) => *none = Some(first),
                (Err(_), Some(done)) if done.used() > 0 => break,
                (Err(error), _) => return Err(error),
            }
        }
        Ok(done.expect("there is at least one shard, and a limit is at least 1"))
    }

    async fn once<O: Operation<D>>(&self, operation: &O) -> Attempt<O::Answer> {
        let shards = if O::ASKS_FOR_TASKS { self.shards().await? } else { Shards::ONE };
        if let Some(answer) = operation.at_once(&self.dialect, shards).await? {
            return Ok(answer);
        }
        let mut transaction = self.dialect.begin(operation.access(shards)).await?;
        match operation.run(&self.dialect, &mut transaction, shards).await {
            Ok(answer) => self.dialect.commit(transaction).await.map(|()| answer),
            Err(failure) => {
                self.dialect.rollback(transaction).await;
                operation.rescue(failure)
            }
        }
    }

    /// How many shards there are. The database is asked once, by the first call.
    async fn shards(&self) -> Attempt<Shards> {
        if let Some(shards) = shard::known(&self.dialect) {
            return Ok(shards);
        }
        let mut transaction = self.dialect.begin(Access::Read).await?;
        let learned = shard::learn(&self.dialect, &mut transaction).await;
        match learned {
            Ok(shards) => self.dialect.commit(transaction).await.map(|()| shards),
            Err(failure) => {
                self.dialect.rollback(transaction).await;
                Err(failure)
            }
        }
    }
}

impl<D: Dialect> Sink for Runner<D> {
    async fn enqueue(&self, tasks: &Enqueue) -> Result<Vec<Enqueued>> {
        self.repeat(tasks).await
    }

    async fn answers(&self) -> bool {
        timeout(ANSWER_TIME_MAX, self.repeat(&Commits)).await.is_ok_and(|answer| answer.is_ok())
    }
}

/// How long to wait before repeat number `repeat` (from 1): doubling, shortened by up to half at random, so that
/// two who met do not meet again.
fn backoff(repeat: u32, random: f64) -> Duration {
    let whole = BACKOFF_FIRST.saturating_mul(2_u32.saturating_pow(repeat.saturating_sub(1).min(8)));
    whole.mul_f64(1.0 - random.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_wait_longer_each_time_and_never_together() {
        assert_eq!(backoff(1, 0.0), BACKOFF_FIRST);
        assert_eq!(backoff(3, 0.0), BACKOFF_FIRST * 4);
        assert_eq!(backoff(3, 1.0), BACKOFF_FIRST * 2);
        assert_eq!(backoff(u32::MAX, 0.0), BACKOFF_FIRST * 256);
    }
}
