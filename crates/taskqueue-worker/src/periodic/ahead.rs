//! Enqueues the next fire of each periodic task ahead of its time, by the queue's clock. It owns when to look and what to do
//! while the database fails; it knows nothing of how fires are handled.

use std::sync::Arc;
use std::time::Duration;

use taskqueue_core::{Enqueued, Error, ErrorKind, Result, Timestamp, clock};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::{Periodic, text};
use crate::escaped::Escaped;
use crate::pipe::Pipe;
use crate::timing::{backoff, jittered};

/// Where a clock is set back by no more than this, no fire that was enqueued is enqueued again. One that is set back by more
/// was far ahead.
const FAR_AHEAD: Duration = Duration::from_secs(24 * 3600);
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
    pipe.call("now", |queue| async move { queue.now().await }).await
}

async fn run(pipe: Arc<Pipe>, index: usize) {
    let mut ahead = Ahead::new(&pipe, &pipe.periodic[index]);
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
    /// The queue's time as it was last told, and right before it was asked for.
    told: Option<(Instant, Timestamp)>,
    /// The last fire that is in the queue, as far as this worker knows. None before it is ever enqueued by this one, wherever
    /// the clock is set to.
    last: Option<Timestamp>,
    /// The fire that waits for its unique key.
    held: Option<Timestamp>,
    /// How often in a row it was enqueued in vain.
    tries: u32,
    failures: u32,
}

impl<'a> Ahead<'a> {
    fn new(pipe: &'a Arc<Pipe>, periodic: &'a Periodic) -> Self {
        Self { pipe, periodic, told: None, last: None, held: None, tries: 0, failures: 0 }
    }

    /// Sees to it that the next fire is in the queue. Answers how long to wait before the next look; None: there is none.
    async fn look(&mut self) -> Option<Duration> {
        match self.enqueue_next().await {
            Ok(wait) => {
                if self.failures > 0 {
                    info!(periodic = self.periodic.name, "the next fire is enqueued again");
                    self.failures = 0;
                }
                wait
            }
            Err(error) if error.kind() == ErrorKind::QueueClosed => None,
            Err(error) => Some(self.back_off(&error)),
        }
    }

    async fn enqueue_next(&mut self) -> Result<Option<Duration>> {
        let asked_at = Instant::now();
        let now = now(self.pipe).await?;
        self.told = Some((asked_at, now));
        let Some(fire) = self.periodic.next_after(now) else {
            warn!(periodic = self.periodic.name, "it fires no more");
            return Ok(None);
        };
        self.forget_what_is_far_ahead_of(fire);
        if self.last.is_some_and(|last| last >= fire) {
            return Ok(Some(self.wait(fire)));
        }
        if let Some(held) = self.held.filter(|held| *held < fire) {
            self.let_go(held).await?;
        }
        let tasks = vec![self.periodic.task_at(fire)];
        let answers =
            self.pipe.call("enqueue", |queue| async move { queue.enqueue_many(tasks).await }).await?;
        if let Some(Enqueued::Duplicate(_)) = answers.first() {
            self.held = Some(fire);
            self.tries = self.tries.saturating_add(1);
            return Ok(Some(self.wait_to_try(self.tries)));
        }
        (self.last, self.held, self.tries) = (Some(fire), None, 0);
        Ok(Some(self.wait(fire)))
    }

    /// Where the last fire is so long after the next one, the clock that led to it was far ahead. Until then nothing would fire.
    fn forget_what_is_far_ahead_of(&mut self, fire: Timestamp) {
        let far = self.periodic.next_after(fire).map(|following| following.max(clock::add(fire, FAR_AHEAD)));
        let Some(last) = self.last.take_if(|last| far.is_some_and(|far| *last > far)) else { return };
        let (periodic, id) = (&self.periodic.name, self.periodic.task_at(last).id);
        warn!(
            periodic, last = text(last), %id, next = text(fire),
            "the queue's clock went back by more than a day: fires are enqueued by its new time; the last one is in the \
             queue and waits for its own time, unless it is cancelled"
        );
    }

    /// The time of a fire has passed whose key was held at each look. It is left out, unless another worker has enqueued it since
    /// the last of them; where finished tasks are removed, it may even be gone by now.
    async fn let_go(&mut self, held: Timestamp) -> Result<()> {
        let id = self.periodic.task_at(held).id;
        match self.pipe.call("get", |queue| async move { queue.get(id).await }).await {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::TaskNotFound => {
                let (periodic, fire) = (&self.periodic.name, text(held));
                info!(periodic, fire, "left out: the one before was not finished");
            }
            Err(error) => return Err(error),
        }
        (self.held, self.tries) = (None, 0);
        Ok(())
    }

    /// How long to wait for the end of a fire that is in the queue.
    fn wait(&self, fire: Timestamp) -> Duration {
        let gap = self.periodic.next_after(fire).map_or(Duration::ZERO, |following| until(fire, following));
        let spread = (gap / 10).min(SPREAD_MAX).mul_f64(rand::random());
        let left = self.now().map_or(Duration::ZERO, |now| until(now, fire));
        (left + spread).min(jittered(LOOK_INTERVAL))
    }

    /// How long to wait after the n-th try in a row. No more than half of what is left until the next fire: at its time it is too
    /// late for it, and what stands in the way may end before.
    fn wait_to_try(&self, tries: u32) -> Duration {
        let next = self.now().and_then(|now| Some(until(now, self.periodic.next_after(now)?)));
        let half = next.map_or(WAIT_MAX, |left| left / 2);
        backoff(tries, WAIT_MIN, half.clamp(WAIT_MIN, WAIT_MAX))
    }

    /// The queue's time, as it was last told and has gone on since.
    fn now(&self) -> Option<Timestamp> {
        self.told.map(|(at, told)| clock::add(told, at.elapsed()))
    }

    /// Warns of the first failure in a row.
    fn back_off(&mut self, error: &Error) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let wait = self.wait_to_try(self.failures);
        let (name, attempt, error) = (&self.periodic.name, self.failures, Escaped(error));
        if attempt == 1 {
            warn!(%error, periodic = name, "the next fire could not be enqueued; it is tried again until it is");
        } else {
            debug!(%error, periodic = name, attempt, "the next fire could not be enqueued; trying again in {wait:?}");
        }
        wait
    }
}

fn until(from: Timestamp, to: Timestamp) -> Duration {
    (to - from).to_std().unwrap_or_default()
}
