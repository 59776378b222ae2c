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

pub(super) async fn run(kind: Kind, engine: &dyn Engine, plan: &Plan) -> Result<Vec<Figure>> {
    let bed = engine.bed("latency").await?;
    let mut figures = Vec::new();
    for (signal, name, bar) in
        [(Signal::InProcess, "woken in process", 1.5), (Signal::FromServer, "by hint", 1.6)]
    {
        let (ours, limit) = compare(&*bed, signal, plan).await?;
        let figure = |rank: f64, better| {
            let name = format!("enqueue to start, ms, {name}, p{:.0}", rank * 100.0);
            Figure::new(name, &kind.to_string(), ours.quantile(rank), limit.quantile(rank), better)
        };
        figures.extend([figure(0.5, Better::Lower(bar)), figure(0.95, Better::Told)]);
        let p99 = ours.quantile(0.99);
        figures.push(figure(0.99, Better::Told));
        let name = format!("enqueue to start, ms, {name}, p99 against {P99_MAX} ms");
        figures.push(Figure::new(name, &kind.to_string(), p99, P99_MAX, Better::Lower(1.0)));
    }
    bed.remove().await?;
    Ok(figures)
}

/// All latencies of all rounds, ours and the bare consumer's in turn.
async fn compare(bed: &dyn Bed, signal: Signal, plan: &Plan) -> Result<(Samples, Samples)> {
    let bare = bed.on_server()?.bare(2).await?;
    let worked = bed.open(Connections::Default).await?;
    let fed = match signal {
        Signal::InProcess => Arc::clone(&worked),
        Signal::FromServer => bed.open(Connections::Default).await?,
    };
    let (mut ours, mut limit) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        ours.extend(latencies(&worked, &*fed, plan.latencies).await?);
        limit.extend(bare_latencies(&*bare, signal, plan.latencies).await?);
    }
    eprintln!("  {signal:?}: {} of our tasks, {} bare ones", ours.len(), limit.len());
    worked.close().await;
    fed.close().await;
    Ok((ours.into_iter().collect(), limit.into_iter().collect()))
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
