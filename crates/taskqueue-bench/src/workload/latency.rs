//! From an enqueue until the handler starts, on an idle queue, one task every 20 ms: woken in the process, and by the
//! server's hint from another instance; against a bare consumer that is told in the same way.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use taskqueue_core::Queue;
use taskqueue_worker::{Data, Worker};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::drain::Photo;
use super::millis;
use crate::bare::{Bare, Signal};
use crate::engine::{Bed, Connections, Engine, Kind};
use crate::plan::Plan;
use crate::report::{Better, Figure, Samples};
use crate::tasks::Workload;

const PAUSE: Duration = Duration::from_millis(20);
/// A queue that is only polled takes seconds a task: then fewer tasks must do.
const ROUND_MAX: Duration = Duration::from_secs(20);
/// What the 99th percentile is to stay below, in ms.
const P99_MAX: f64 = 3.0;

type Starts = mpsc::UnboundedSender<Instant>;

async fn note_start(_: Photo, starts: Data<Starts>) {
    // The receiver is gone when the round is over.
    starts.send(Instant::now()).ok();
}

/// How a worker learns of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Learnt {
    InProcess,
    FromServer,
    /// From nobody: it polls.
    ByPolling,
}

impl Learnt {
    fn name(self) -> &'static str {
        match self {
            Self::InProcess => "woken in process",
            Self::FromServer => "by hint",
            Self::ByPolling => "without hint",
        }
    }

    /// What the bare consumer is told by: one that polls has no floor of its own.
    fn signal(self) -> Signal {
        if self == Self::InProcess { Signal::InProcess } else { Signal::FromServer }
    }

    /// Where the median is to be, against the bare consumer's.
    fn better(self) -> Better {
        match self {
            Self::InProcess => Better::Lower(1.5),
            Self::FromServer => Better::Lower(1.6),
            Self::ByPolling => Better::Told,
        }
    }

    /// A polled task takes half a second.
    fn tasks(self, plan: &Plan) -> usize {
        if self == Self::ByPolling { plan.latencies.div_ceil(20) } else { plan.latencies }
    }
}

pub(super) async fn run(kind: Kind, engine: &dyn Engine, plan: &Plan) -> Result<Vec<Figure>> {
    let bed = engine.bed("latency").await?;
    let mut figures = Vec::new();
    for learnt in [Learnt::InProcess, Learnt::FromServer, Learnt::ByPolling] {
        let (ours, limit) = compare(&*bed, learnt, plan).await?;
        let figure = |rank: f64, better| {
            let name = format!("enqueue to start, ms, {}, p{:.0}", learnt.name(), rank * 100.0);
            Figure::of(name, &kind.to_string(), &quantiles(&ours, rank), &quantiles(&limit, rank), better)
        };
        figures.extend([
            figure(0.5, learnt.better()),
            figure(0.95, Better::Told),
            figure(0.99, Better::Told),
        ]);
        if learnt != Learnt::ByPolling {
            let name = format!("enqueue to start, ms, {}, p99 against {P99_MAX} ms", learnt.name());
            let most = [P99_MAX].into_iter().collect();
            let ours = quantiles(&ours, 0.99);
            figures.push(Figure::of(name, &kind.to_string(), &ours, &most, Better::Lower(1.0)));
        }
    }
    bed.remove().await?;
    Ok(figures)
}

/// That quantile of each round.
fn quantiles(rounds: &[Samples], rank: f64) -> Samples {
    rounds.iter().map(|round| round.quantile(rank)).collect()
}

/// The latencies of each round, ours and the bare consumer's in turn.
async fn compare(bed: &dyn Bed, learnt: Learnt, plan: &Plan) -> Result<(Vec<Samples>, Vec<Samples>)> {
    let bare = bed.bare(2).await?;
    let worked = match learnt {
        Learnt::ByPolling => bed.on_server()?.open_without_hint().await?,
        _ => bed.open(Connections::Default).await?,
    };
    let fed = match learnt {
        Learnt::InProcess => Arc::clone(&worked),
        Learnt::FromServer => bed.open(Connections::Default).await?,
        Learnt::ByPolling => bed.on_server()?.open_without_hint().await?,
    };
    let (mut ours, mut limit, tasks) = (Vec::new(), Vec::new(), learnt.tasks(plan));
    for _ in 0..plan.rounds {
        ours.push(latencies(&worked, &*fed, tasks).await?.into_iter().collect::<Samples>());
        limit.push(bare_latencies(&*bare, learnt.signal(), tasks).await?.into_iter().collect::<Samples>());
    }
    let medians = (quantiles(&ours, 0.5).median(), quantiles(&limit, 0.5).median());
    eprintln!("  {learnt:?}: {tasks} tasks a round, medians {:.2} and {:.2} ms", medians.0, medians.1);
    worked.close().await;
    fed.close().await;
    Ok((ours, limit))
}

async fn bare_latencies(bare: &dyn Bare, signal: Signal, tasks: usize) -> Result<Vec<f64>> {
    Ok(bare.latencies(signal, tasks, PAUSE).await?.into_iter().map(millis).collect())
}

async fn latencies(worked: &Arc<dyn Queue>, fed: &dyn Queue, tasks: usize) -> Result<Vec<f64>> {
    let (starts, mut started) = mpsc::unbounded_channel::<Instant>();
    let worker =
        Worker::builder(Arc::clone(worked)).data(starts).concurrency(10).handler(note_start).build()?.start();
    let (workload, round) = (Workload::new("producer")?, Instant::now());
    let mut latencies = Vec::with_capacity(tasks);
    // The first one finds a worker that is still starting.
    for task in 0..=tasks {
        let start = Instant::now();
        fed.enqueue_many(workload.tasks(1)).await?;
        let at = started.recv().await.context("the worker ended")?;
        if task > 0 {
            latencies.push(millis(at - start));
        }
        if round.elapsed() > ROUND_MAX {
            break;
        }
        tokio::time::sleep_until(start + PAUSE).await;
    }
    worker.stop().await;
    Ok(latencies)
}
