//! Claim and settle beside a short and a long history: both are to take the same time.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use taskqueue_core::{Cleanup, Queue};
use tokio::time::Instant;

use crate::engine::{Bed, Connections, Engine, Kind};
use crate::report::{Better, Figure, Samples};
use crate::tasks::{Workload, completed};

/// How much longer a call may take beside the long history.
const BAR: f64 = 1.3;
const FILL_BATCH: usize = 5_000;

/// Finished tasks of the short history.
const SHORT: usize = 1_000;
/// Tasks a batch.
const BATCH: usize = 100;
/// Medians of each.
const MEDIANS: usize = 9;
/// Timed claims and settles of which each is the median: a single one may wait for the disk, or for the scheduler.
const SAMPLES: usize = 25;

/// The times of one queue's claims and settles, in microseconds.
#[derive(Default)]
struct Times {
    claim: Samples,
    settle: Samples,
}

impl Times {
    /// Adds the medians of these.
    fn push_median(&mut self, times: &Self) {
        self.claim.push(times.claim.median());
        self.settle.push(times.settle.median());
    }
}

/// Measures both in turn: the figure of the claim, and that of the settle.
///
/// # Errors
/// As the queue's.
pub(crate) async fn run(kind: Kind, engine: &dyn Engine, finished: usize) -> Result<Vec<Figure>> {
    let workload = Workload::new("history")?;
    let (short_bed, long_bed) = (engine.bed("short").await?, engine.bed("long").await?);
    let short = with_history(&*short_bed, SHORT).await?;
    let long = with_history(&*long_bed, finished).await?;
    let (mut beside_short, mut beside_long) = (Times::default(), Times::default());
    // What runs for the first time is not counted.
    for median in 0..=MEDIANS {
        let (mut with_short, mut with_long) = (Times::default(), Times::default());
        for _ in 0..SAMPLES {
            sample(&*short, &workload, BATCH, &mut with_short).await?;
            sample(&*long, &workload, BATCH, &mut with_long).await?;
        }
        if median > 0 {
            beside_short.push_median(&with_short);
            beside_long.push_median(&with_long);
        }
    }
    let figure = |verb: &str, long: &Samples, short: &Samples| {
        let name = format!("{verb} of {BATCH}, us, {finished} finished tasks against {SHORT}");
        Figure::of(name, &kind.to_string(), long, short, Better::Lower(BAR))
    };
    short_bed.remove().await?;
    long_bed.remove().await?;
    Ok(vec![
        figure("claim", &beside_long.claim, &beside_short.claim),
        figure("settle", &beside_long.settle, &beside_short.settle),
    ])
}

async fn with_history(bed: &dyn Bed, finished: usize) -> Result<Arc<dyn Queue>> {
    let (queue, workload) = (bed.open(Connections::Default).await?, Workload::new("history")?);
    let filler = bed.open_to_fill(&queue).await?;
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
    queue.cleanup(Cleanup::new(Duration::ZERO, size)).await?;
    Ok(())
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
