//! A steady flow: so many tasks a second, in bursts, through an enqueue, a worker and a settle. How long each task takes
//! from when it was due to be enqueued until its handler starts, what the server writes for it, and what CPU time the
//! whole machine spends on it; against the bare program under the same flow.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use taskqueue_core::{Outcome, Queue};
use taskqueue_worker::{Handler, TaskContext, TaskError, Worker};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::drain::Photo;
use super::{millis, number};
use crate::bare::{Bare, CYCLE_BATCH};
use crate::engine::{Bed, Connections, Engine, Kind};
use crate::plan::Plan;
use crate::report::{Better, Figure, Samples};
use crate::tasks::{TYPE, Workload};
use crate::usage;

const RATE: usize = 5_000;
const PAUSE: Duration = Duration::from_millis(10);
/// Tasks of a burst.
const BURST: usize = RATE / 100;
/// What is still waiting when the last task is enqueued may take this long.
const REST_MAX: Duration = Duration::from_secs(120);

/// What a flow took.
struct Flowed {
    /// From due to handled, in milliseconds.
    latencies: Samples,
    /// For each task.
    log_bytes: f64,
    /// For each task.
    cpu_us: f64,
}

pub(super) async fn run(kind: Kind, engine: &dyn Engine, plan: &Plan) -> Result<Vec<Figure>> {
    let bed = engine.bed("steady").await?;
    let tasks = RATE * plan.steady_seconds;
    let bare = bed.bare(2).await?;
    let limit = measured(&*bed, tasks, || flow_through_bare(Arc::clone(&bare), tasks)).await?;
    let queue = bed.open(Connections::Default).await?;
    let ours = measured(&*bed, tasks, || flow_through_queue(&queue, tasks)).await?;
    queue.close().await;
    bed.remove().await?;
    let figure = |what: &str, ours, limit| {
        let name = format!("{RATE} tasks/s for {} s, {what}", plan.steady_seconds);
        Figure::new(name, &kind.to_string(), ours, limit, Better::Told)
    };
    let latency = |rank: f64| {
        let name = format!("ms from due to start, p{:.0}", rank * 100.0);
        figure(&name, ours.latencies.quantile(rank), limit.latencies.quantile(rank))
    };
    Ok(vec![
        latency(0.5),
        latency(0.99),
        figure("bytes of log a task", ours.log_bytes, limit.log_bytes),
        figure("CPU us a task, server and all", ours.cpu_us, limit.cpu_us),
    ])
}

async fn measured<F>(bed: &dyn Bed, tasks: usize, flow: impl FnOnce() -> F) -> Result<Flowed>
where
    F: Future<Output = Result<Vec<f64>>>,
{
    bed.rest().await?;
    let server = bed.on_server()?;
    let (bytes_before, cpu_before) = (server.log_bytes().await?, usage::machine_cpu_time()?);
    let latencies = flow().await?;
    let (bytes, cpu) = (server.log_bytes().await? - bytes_before, usage::machine_cpu_time()? - cpu_before);
    ensure!(latencies.len() == tasks, "{} of {tasks} tasks were handled", latencies.len());
    let flowed = Flowed {
        latencies: latencies.into_iter().collect(),
        log_bytes: bytes / number(tasks),
        cpu_us: cpu.as_secs_f64() * 1e6 / number(tasks),
    };
    eprintln!("  p99 {:.1} ms, {:.0} bytes", flowed.latencies.quantile(0.99), flowed.log_bytes);
    Ok(flowed)
}

/// When the task of this number is due to be enqueued: late enqueues count as latency.
fn due(start: Instant, number: usize) -> Instant {
    start + PAUSE * u32::try_from(number / BURST).unwrap_or(u32::MAX)
}

/// Notes how long after it was due a task is handled.
struct Note {
    start: Instant,
    latencies: mpsc::UnboundedSender<f64>,
}

#[async_trait]
impl Handler for Note {
    async fn handle(&self, cx: TaskContext) -> Result<Outcome, TaskError> {
        let photo: Photo = serde_json::from_str(cx.payload().as_str()).map_err(TaskError::permanent)?;
        // The receiver is gone when the flow was given up.
        self.latencies.send(millis(Instant::now() - due(self.start, photo.number()))).ok();
        Ok(Outcome::done())
    }
}

async fn flow_through_queue(queue: &Arc<dyn Queue>, tasks: usize) -> Result<Vec<f64>> {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let (workload, start) = (Workload::new("producer")?, Instant::now());
    let note = Note { start, latencies: sender };
    let builder = Worker::builder(Arc::clone(queue)).concurrency(100).settle_delay(Duration::from_millis(5));
    let worker = builder.handle(workload.task_type.clone(), note).build()?.start();
    for first in (0..tasks).step_by(BURST) {
        tokio::time::sleep_until(due(start, first)).await;
        let burst: taskqueue_core::Result<_> = (first..first + BURST).map(Photo::task).collect();
        queue.enqueue_many(burst?).await?;
    }
    let rest = async {
        let mut latencies = Vec::with_capacity(tasks);
        while latencies.len() < tasks {
            latencies.push(receiver.recv().await.context("the worker ended")?);
        }
        anyhow::Ok(latencies)
    };
    let latencies = tokio::time::timeout(REST_MAX, rest).await;
    worker.stop().await;
    latencies.with_context(|| format!("tasks of the type {TYPE} were left after {REST_MAX:?}"))?
}

/// One client inserts, one claims and completes what is there, woken by the first. Both go by the order of inserts.
async fn flow_through_bare(bare: Arc<dyn Bare>, tasks: usize) -> Result<Vec<f64>> {
    let (start, inserted) = (Instant::now(), Arc::new(Notify::new()));
    let consumer = tokio::spawn(consume(Arc::clone(&bare), Arc::clone(&inserted), start, tasks));
    for first in (0..tasks).step_by(BURST) {
        tokio::time::sleep_until(due(start, first)).await;
        bare.insert_many(0, BURST).await?;
        inserted.notify_one();
    }
    tokio::time::timeout(REST_MAX, consumer).await.context("the bare program is too slow")??
}

async fn consume(
    bare: Arc<dyn Bare>,
    inserted: Arc<Notify>,
    start: Instant,
    tasks: usize,
) -> Result<Vec<f64>> {
    let mut latencies = Vec::with_capacity(tasks);
    while latencies.len() < tasks {
        let keys = bare.claim(1, CYCLE_BATCH).await?;
        if keys.is_empty() {
            inserted.notified().await;
            continue;
        }
        let now = Instant::now();
        latencies
            .extend((latencies.len()..latencies.len() + keys.len()).map(|at| millis(now - due(start, at))));
        bare.complete(1, &keys).await?;
    }
    Ok(latencies)
}
