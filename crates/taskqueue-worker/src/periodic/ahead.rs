//! Enqueues the next fire of each periodic task ahead of its time, by the queue's clock. It owns when to look and what to do
//! while the database fails; it knows nothing of how fires are handled.

use std::sync::Arc;
use std::time::Duration;

use taskqueue_core::{Enqueued, Error, ErrorKind, Result, Timestamp};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::{Periodic, text};
use crate::pipe::Pipe;
use crate::timing::{backoff, jittered};

/// How long to wait after a failure, or while a unique key is held, at first and at most.
const WAIT_MIN: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(5);
/// The longest wait: timers stand still while a host is suspended, and a clock may be set.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// All workers wait for one time. They spread over so much after it, and no more than a tenth of the time to the next fire.
const SPREAD_MAX: Duration = Duration::from_secs(2);

/// Starts a loop for each periodic task, so that none waits for another's failures. They end when the worker is stopped.
pub(crate) fn start(pipe: &Arc<Pipe>) {
    if pipe.periodic.is_empty() {
        return;
    }
    pipe.tracker.spawn(announce(Arc::clone(pipe)));
    for index in 0..pipe.periodic.len() {
        pipe.tracker.spawn(run(Arc::clone(pipe), index));
    }
}

/// Says once what will be enqueued.
async fn announce(pipe: Arc<Pipe>) {
    let now = now(&pipe).await.ok();
    let next = pipe.periodic.iter().map(|periodic| {
        let fire = now.and_then(|now| periodic.next_after(now));
        format!("{} at {}", periodic.name, fire.map_or("a time not known yet".to_owned(), text))
    });
    info!(next = next.collect::<Vec<_>>().join(", "), "periodic tasks");
}

async fn now(pipe: &Pipe) -> Result<Timestamp> {
    let queue = Arc::clone(&pipe.queue);
    pipe.call("now", async move { queue.now().await }).await
}

async fn run(pipe: Arc<Pipe>, index: usize) {
    let mut ahead =
        Ahead { pipe: &pipe, periodic: &pipe.periodic[index], last: None, held: None, tries: 0, failures: 0 };
    while let Some(wait) = ahead.look().await {
        tokio::select! {
            () = pipe.tokens.stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// One periodic task of this worker.
struct Ahead<'a> {
    pipe: &'a Arc<Pipe>,
    periodic: &'a Periodic,
    /// The last fire that is in the queue, as far as this worker knows. None before it is ever enqueued by this one, wherever
    /// the clock is set to.
    last: Option<Timestamp>,
    /// The fire that waits for its unique key.
    held: Option<Timestamp>,
    /// How often in a row it was enqueued in vain.
    tries: u32,
    failures: u32,
}

impl Ahead<'_> {
    /// Sees to it that the next fire is in the queue. Answers how long to wait before the next look; None: there is none.
    async fn look(&mut self) -> Option<Duration> {
        let looked_at = Instant::now();
        match self.enqueue_next().await {
            Ok(wait) => {
                if self.failures > 0 {
                    info!(periodic = self.periodic.name, "the next fire is enqueued again");
                    self.failures = 0;
                }
                wait.map(|wait| wait.saturating_sub(looked_at.elapsed()))
            }
            Err(error) if error.kind() == ErrorKind::QueueClosed => None,
            Err(error) => Some(self.back_off(&error)),
        }
    }

    async fn enqueue_next(&mut self) -> Result<Option<Duration>> {
        let now = now(self.pipe).await?;
        let Some(fire) = self.periodic.next_after(now) else {
            warn!(periodic = self.periodic.name, "it fires no more");
            return Ok(None);
        };
        if self.last.is_some_and(|last| last >= fire) {
            return Ok(Some(self.wait(now, fire)));
        }
        if let Some(held) = self.held.take_if(|held| *held < fire) {
            info!(
                periodic = self.periodic.name,
                fire = text(held),
                "left out: the one before was not finished"
            );
            self.tries = 0;
        }
        let (queue, task) = (Arc::clone(&self.pipe.queue), self.periodic.task_at(fire));
        let answers = self.pipe.call("enqueue", async move { queue.enqueue_many(vec![task]).await }).await?;
        if let Some(Enqueued::Duplicate(_)) = answers.first() {
            self.held = Some(fire);
            self.tries = self.tries.saturating_add(1);
            return Ok(Some(backoff(self.tries, WAIT_MIN, WAIT_MAX)));
        }
        (self.last, self.held, self.tries) = (Some(fire), None, 0);
        Ok(Some(self.wait(now, fire)))
    }

    /// How long to wait for the end of a fire that is in the queue.
    fn wait(&self, now: Timestamp, fire: Timestamp) -> Duration {
        let until = |from: Timestamp, to: Timestamp| (to - from).to_std().unwrap_or_default();
        let gap = self.periodic.next_after(fire).map_or(Duration::ZERO, |following| until(fire, following));
        let spread = (gap / 10).min(SPREAD_MAX).mul_f64(rand::random());
        (until(now, fire) + spread).min(jittered(LOOK_INTERVAL))
    }

    /// Warns of the first failure in a row.
    fn back_off(&mut self, error: &Error) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let wait = backoff(self.failures, WAIT_MIN, WAIT_MAX);
        let (name, attempt) = (&self.periodic.name, self.failures);
        if attempt == 1 {
            warn!(%error, periodic = name, "the next fire could not be enqueued; it is tried again until it is");
        } else {
            debug!(%error, periodic = name, attempt, "the next fire could not be enqueued; trying again in {wait:?}");
        }
        wait
    }
}
