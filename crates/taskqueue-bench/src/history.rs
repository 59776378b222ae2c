//! Claim and settle beside a short and a long history: both are to take the same time.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use taskqueue_core::{Cleanup, Queue};
use tokio::time::Instant;

use crate::engine::Engine;
use crate::report::{Better, Figure, median};
use crate::workload::{Workload, completed};

/// How much longer a call may take beside the long history.
const BAR: f64 = 1.3;
const FILL_BATCH: usize = 5_000;

/// The histories, and how often and in what portions to measure.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Finished tasks of the short history.
    pub short: usize,
    /// Finished tasks of the long history.
    pub long: usize,
    /// Tasks a batch.
    pub batch: usize,
    /// Timed claims and settles of each, of which the median counts.
    pub samples: usize,
}

/// The times of one queue's claims and settles, in microseconds.
#[derive(Default)]
struct Times {
    claim: Vec<f64>,
    settle: Vec<f64>,
}

/// Measures both in turn: the figure of the claim, and that of the settle.
///
/// # Errors
/// As the queue's.
pub async fn run(engine: Engine, plan: Plan, directory: &Path) -> Result<[Figure; 2]> {
    let workload = Workload::new("history")?;
    let short = with_history(engine, directory, "short", plan.short).await?;
    let long = with_history(engine, directory, "long", plan.long).await?;
    let (mut beside_short, mut beside_long) = (Times::default(), Times::default());
    for _ in 0..plan.samples {
        sample(&*short, &workload, plan.batch, &mut beside_short).await?;
        sample(&*long, &workload, plan.batch, &mut beside_long).await?;
    }
    let figure = |verb: &str, long: Vec<f64>, short: Vec<f64>| {
        let name = format!("{verb} of {} in us, {} finished against {}", plan.batch, plan.long, plan.short);
        Figure::new(&name, &engine.to_string(), median(long), median(short), Better::Lower(BAR))
    };
    Ok([
        figure("claim", beside_long.claim, beside_short.claim),
        figure("settle", beside_long.settle, beside_short.settle),
    ])
}

async fn with_history(
    engine: Engine,
    directory: &Path,
    name: &str,
    finished: usize,
) -> Result<Arc<dyn Queue>> {
    let (queue, workload) = (engine.open(directory, name).await?, Workload::new("history")?);
    let filler = engine.open_to_fill(&queue, directory, name).await?;
    for start in (0..finished).step_by(FILL_BATCH) {
        workload.cycle(&*filler, 1, FILL_BATCH.min(finished - start)).await?;
    }
    Ok(queue)
}

async fn sample(queue: &dyn Queue, workload: &Workload, size: usize, times: &mut Times) -> Result<()> {
    queue.enqueue_many(workload.tasks(size)).await?;
    let start = Instant::now();
    let claims = queue.dequeue_many(&workload.request(size)).await?;
    times.claim.push(micros(start.elapsed()));
    ensure!(claims.len() == size, "what was enqueued is claimed");
    let settlements = completed(claims);
    let start = Instant::now();
    queue.settle_many(settlements).await?;
    times.settle.push(micros(start.elapsed()));
    // As many as have just finished, so that the history keeps its length.
    queue.cleanup(Cleanup { older_than: Duration::ZERO, limit: size }).await?;
    Ok(())
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
