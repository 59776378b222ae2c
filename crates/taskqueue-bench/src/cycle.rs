//! Enqueue, claim and complete in batches, from one caller: what memory reaches on one core, and what part our
//! layers leave of what SQLite can do.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use taskqueue_core::{Cleanup, Queue};
use taskqueue_memory::MemoryQueue;
use taskqueue_sqlite::Durability;
use tokio::time::Instant;

use crate::bare::Bare;
use crate::engine::{Engine, open_sqlite, sqlite_path};
use crate::report::{Better, Figure, median};
use crate::workload::Workload;

/// What memory is to reach, in cycles a second.
const MEMORY_LIMIT: f64 = 1_000_000.0;
/// The part of the bare loop that SQLite behind our layers is to reach.
const SQLITE_BAR: f64 = 0.6;

const MEMORY_BATCHES: usize = 1_000;
const SQLITE_BATCHES: usize = 100;

/// How often and in what portions to measure.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Tasks a batch.
    pub batch: usize,
    /// Timed samples, of which the median counts.
    pub samples: usize,
}

/// Cycles through the engine, whose file, if it has one, is in `directory`.
///
/// # Errors
/// As the queue's.
pub async fn run(engine: Engine, plan: Plan, directory: &Path) -> Result<Figure> {
    match engine {
        Engine::Memory => memory(plan).await,
        Engine::Sqlite => sqlite(plan, directory).await,
    }
}

/// Cycles through memory on the calling thread. Building the tasks is timed too. What is finished is cleaned up
/// between the samples, as maintenance does; the first sample, which takes the memory from the system, is left out.
async fn memory(plan: Plan) -> Result<Figure> {
    let (queue, workload) = (MemoryQueue::new(), Workload::new("cycle")?);
    let mut rates = Vec::with_capacity(plan.samples);
    for sample in 0..=plan.samples {
        let rate = rate_of_queue(&queue, &workload, MEMORY_BATCHES, plan.batch).await?;
        if sample > 0 {
            rates.push(rate);
        }
        forget_finished(&queue).await?;
    }
    let name = format!("cycles/s, batches of {}, against the bar", plan.batch);
    Ok(Figure::new(&name, "memory", median(rates), MEMORY_LIMIT, Better::Higher(1.0)))
}

/// Cycles through SQLite, each commit on the disk, in turn with the bare loop on a file of its own.
async fn sqlite(plan: Plan, directory: &Path) -> Result<Figure> {
    let workload = Workload::new("cycle")?;
    let queue = open_sqlite(directory, "ours", Durability::Full).await?;
    open_sqlite(directory, "bare", Durability::Full).await?.close().await;
    let mut bare = Bare::connect(&sqlite_path(directory, "bare")?).await?;
    let (mut ours, mut limit) = (Vec::new(), Vec::new());
    for sample in 0..=plan.samples {
        let our_rate = rate_of_queue(&queue, &workload, SQLITE_BATCHES, plan.batch).await?;
        let bare_rate = rate_of_bare(&mut bare, &workload, SQLITE_BATCHES, plan.batch).await?;
        if sample > 0 {
            ours.push(our_rate);
            limit.push(bare_rate);
        }
    }
    let name = format!("durable cycles/s, batches of {}, against a bare loop", plan.batch);
    Ok(Figure::new(&name, "sqlite", median(ours), median(limit), Better::Higher(SQLITE_BAR)))
}

async fn rate_of_queue(queue: &dyn Queue, workload: &Workload, batches: usize, size: usize) -> Result<f64> {
    let start = Instant::now();
    workload.cycle(queue, batches, size).await?;
    Ok(rate(batches * size, start.elapsed()))
}

async fn rate_of_bare(bare: &mut Bare, workload: &Workload, batches: usize, size: usize) -> Result<f64> {
    let start = Instant::now();
    for _ in 0..batches {
        bare.cycle(&workload.tasks(size)).await?;
    }
    Ok(rate(batches * size, start.elapsed()))
}

async fn forget_finished(queue: &dyn Queue) -> Result<()> {
    let all = Cleanup { older_than: Duration::ZERO, limit: taskqueue_core::BATCH_MAX };
    while queue.cleanup(all).await? > 0 {}
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 52 bits")]
fn rate(tasks: usize, took: Duration) -> f64 {
    tasks as f64 / took.as_secs_f64()
}
