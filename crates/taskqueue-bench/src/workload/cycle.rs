//! Enqueue, claim and complete in batches, from one caller: what memory reaches on one core, and what part our
//! layers leave of what SQLite can do.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use taskqueue_core::{Cleanup, Queue};
use taskqueue_memory::MemoryQueue;
use taskqueue_sqlite::Durability;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::bare::sqlite::BareSqlite;
use crate::contest::Contest;
use crate::engine::{open_sqlite, sqlite_path};
use crate::report::{Better, Figure, Samples};
use crate::tasks::Workload;
use crate::workload::rate;

/// What memory is to reach, in cycles a second.
const MEMORY_LIMIT: f64 = 1_000_000.0;
/// The part of the bare loop that SQLite behind our layers is to reach.
const SQLITE_BAR: f64 = 0.6;

const MEMORY_BATCHES: usize = 1_000;
const SQLITE_BATCHES: usize = 100;

/// Tasks a batch.
const BATCH: usize = 100;
/// More than of a server's: each is short.
const ROUNDS: usize = 7;

/// Cycles through memory on the calling thread. Building the tasks is timed too. What is finished is cleaned up
/// between the samples, as maintenance does; the first sample, which takes the memory from the system, is left out.
///
/// # Errors
/// As the queue's.
pub(crate) async fn memory() -> Result<Figure> {
    let (queue, workload) = (MemoryQueue::new(), Workload::new("cycle")?);
    let mut rates = Samples::default();
    for sample in 0..=ROUNDS {
        let rate = rate_of_queue(&queue, &workload, MEMORY_BATCHES, BATCH).await?;
        if sample > 0 {
            rates.push(rate);
        }
        forget_finished(&queue).await?;
    }
    let limit = [MEMORY_LIMIT].into_iter().collect();
    Ok(Figure::of("full cycles/s, batches of 100, one core", "memory", &rates, &limit, Better::Higher(1.0)))
}

/// Cycles through SQLite, each commit on the disk, in turn with the bare loop on a file of its own.
///
/// # Errors
/// What SQLite says.
pub(crate) async fn sqlite(directory: &Path) -> Result<Figure> {
    let workload = Workload::new("cycle")?;
    let queue = open_sqlite(&sqlite_path(directory, "ours")?, Durability::Full).await?;
    let path = sqlite_path(directory, "bare")?;
    open_sqlite(&path, Durability::Full).await?.close().await;
    let bare = Mutex::new(BareSqlite::connect(&path).await?);
    let mut contest = Contest::default();
    contest.enter("ours", || rate_of_queue(&queue, &workload, SQLITE_BATCHES, BATCH));
    contest.enter("bare", async || rate_of_bare(&mut *bare.lock().await, &workload).await);
    let [ours, limit] = contest.run(ROUNDS).await?;
    let name = "full cycles/s, batches of 100, synchronous=FULL";
    Ok(Figure::of(name, "sqlite", &ours, &limit, Better::Higher(SQLITE_BAR)))
}

async fn rate_of_queue(queue: &dyn Queue, workload: &Workload, batches: usize, size: usize) -> Result<f64> {
    let start = Instant::now();
    workload.cycle(queue, batches, size).await?;
    Ok(rate(batches * size, start.elapsed()))
}

async fn rate_of_bare(bare: &mut BareSqlite, workload: &Workload) -> Result<f64> {
    let start = Instant::now();
    for _ in 0..SQLITE_BATCHES {
        bare.cycle(&workload.tasks(BATCH)).await?;
    }
    Ok(rate(SQLITE_BATCHES * BATCH, start.elapsed()))
}

async fn forget_finished(queue: &dyn Queue) -> Result<()> {
    let all = Cleanup::new(Duration::ZERO, taskqueue_core::BATCH_MAX);
    while queue.cleanup(all).await? > 0 {}
    Ok(())
}
