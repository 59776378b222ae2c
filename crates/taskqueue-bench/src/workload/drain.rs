//! Ready tasks through the real worker, its handlers doing nothing, against the bare loop that claims and completes
//! 500 at a time on two connections.

use std::sync::Arc;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use taskqueue_core::{NewTask, Payload, Queue, RawPayload};
use taskqueue_worker::Worker;
use tokio::time::Instant;

use super::rate;
use crate::bare::{Bare, Finish};
use crate::contest::Contest;
use crate::engine::{Connections, Engine, Kind};
use crate::plan::Plan;
use crate::report::{Better, Figure};
use crate::tasks::{PAYLOAD, TYPE, Workload};
use crate::usage;

/// How a worker is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setting {
    /// Not at all.
    Untouched,
    /// Only how many tasks run at once.
    Concurrency(usize),
    /// For throughput, with so many tasks at once.
    Tuned(usize),
}

impl Setting {
    /// Where a drain with this setting is to be, as a part of the bare loop's.
    pub(super) fn better(self, kind: Kind) -> Better {
        match (kind, self) {
            (Kind::Postgres, Self::Tuned(_)) => Better::Higher(0.70),
            (Kind::Postgres, _) => Better::Higher(0.50),
            (_, Self::Tuned(_)) => Better::Higher(0.60),
            _ => Better::Told,
        }
    }
}

/// What a drain reached.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Drained {
    /// Tasks a second.
    pub(super) rate: f64,
    /// CPU time of this process for each task, in microseconds.
    pub(super) cpu_us: f64,
}

/// The payload as a handler takes it.
#[derive(Serialize, Deserialize)]
pub(super) struct Photo {
    bucket: String,
    key: String,
    size: u64,
    etag: String,
    content_type: String,
    owner: String,
    region: String,
    parts: u32,
}

impl Payload for Photo {
    const TYPE: &'static str = TYPE;
}

impl Photo {
    /// The size of the photo whose number is 0, so that numbers do not change the payload's length.
    const SIZE: u64 = 1_000_000;

    /// A task whose payload is that of every other, but for a number.
    pub(super) fn task(number: usize) -> taskqueue_core::Result<NewTask> {
        let mut photo: Self = RawPayload::parse(PAYLOAD)?.decode()?;
        photo.size = Self::SIZE + number as u64;
        NewTask::new(&photo)
    }

    /// That number.
    pub(super) fn number(&self) -> usize {
        usize::try_from(self.size.saturating_sub(Self::SIZE)).unwrap_or(usize::MAX)
    }
}

async fn nothing(_: Photo) {}

/// A worker whose handlers do nothing.
pub(super) fn worker(queue: Arc<dyn Queue>, setting: Setting) -> Result<Worker> {
    let builder = Worker::builder(queue).handler(nothing);
    let builder = match setting {
        Setting::Untouched => builder,
        Setting::Concurrency(tasks) => builder.concurrency(tasks),
        Setting::Tuned(tasks) => builder.concurrency(tasks).prefetch(4_000),
    };
    Ok(builder.build()?)
}

/// Fills the queue and lets a worker drain it; only draining is timed.
pub(super) async fn by_worker(queue: &Arc<dyn Queue>, setting: Setting, tasks: usize) -> Result<Drained> {
    Workload::new("filler")?.fill(&**queue, tasks).await?;
    let worker = worker(Arc::clone(queue), setting)?;
    measured(tasks, async { Ok(usize::try_from(worker.drain().await.completed)?) }).await
}

/// Fills the bare table and drains it with the bare program; only draining is timed.
pub(super) async fn by_bare(bare: &Arc<dyn Bare>, finish: Finish, tasks: usize) -> Result<Drained> {
    bare.fill(tasks).await?;
    measured(tasks, bare.drain(finish)).await
}

/// Times what drains so many tasks.
pub(super) async fn measured(tasks: usize, drain: impl Future<Output = Result<usize>>) -> Result<Drained> {
    let (start, cpu_before) = (Instant::now(), usage::cpu_time()?);
    let drained = drain.await?;
    let (elapsed, cpu) = (start.elapsed(), usage::cpu_time()?.saturating_sub(cpu_before));
    ensure!(drained == tasks, "{drained} of {tasks} tasks were completed");
    Ok(Drained { rate: rate(tasks, elapsed), cpu_us: 1e6 / rate(tasks, cpu) })
}

pub(super) async fn run(kind: Kind, engine: &dyn Engine, plan: &Plan) -> Result<Vec<Figure>> {
    let settings = [
        ("c10", Setting::Tuned(10)),
        ("c100", Setting::Tuned(100)),
        ("nothing configured", Setting::Untouched),
        ("c10, else nothing configured", Setting::Concurrency(10)),
        ("c100, else nothing configured", Setting::Concurrency(100)),
    ];
    let bed = engine.bed("drain").await?;
    let (bare, queue) = (&bed.bare(2).await?, &bed.open(Connections::Default).await?);
    let mut contest = Contest::default();
    contest.enter("bare", move || async move { Ok(by_bare(bare, Finish::Keep, plan.drain).await?.rate) });
    for (name, setting) in settings {
        contest.enter(name, move || async move { Ok(by_worker(queue, setting, plan.drain).await?.rate) });
    }
    let [limit, ours @ ..]: [_; 6] = contest.run(plan.rounds).await?;
    bed.remove().await?;
    let figures = settings.iter().zip(&ours).map(|((name, setting), ours)| {
        let name = format!("drain, tasks/s, {name}");
        Figure::of(name, &kind.to_string(), ours, &limit, setting.better(kind))
    });
    Ok(figures.collect())
}
