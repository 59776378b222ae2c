//! Workers that claim together, one statement each: how fast, how long a claim takes, how many find nothing, how many
//! collide. Bare loops over the queue, so that nothing but the backend decides.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use taskqueue_core::Queue;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::millis;
use crate::contest::Contest;
use crate::engine::{Connections, Engine, Kind, Transactions};
use crate::plan::Plan;
use crate::report::{Better, Figure};
use crate::tasks::{Workload, completed};

/// The longest drain: one that has lost a task would not end.
const DRAIN_MAX: Duration = Duration::from_secs(300);

/// What workers did together.
#[derive(Debug, Clone, Default)]
pub struct Contended {
    /// From the start to the last settle.
    pub elapsed: Duration,
    /// How long each claim took, in milliseconds.
    pub claims: Vec<f64>,
    /// Claims that found nothing while tasks were left.
    pub empty_claims: usize,
    /// Transactions that were repeated because others were in the way.
    pub retries: u64,
}

/// Drains so many tasks with `workers` workers at once, in batches of `size`.
///
/// # Errors
/// As the queue's; when the tasks are not drained in time.
pub async fn drain_together(
    queue: &Arc<dyn Queue>,
    tasks: usize,
    workers: usize,
    size: usize,
) -> Result<Contended> {
    let (start, retries) = (Instant::now(), queue.contention_retries());
    let (left, mut running) = (Arc::new(AtomicUsize::new(tasks)), JoinSet::new());
    for number in 0..workers {
        let workload = Workload::new(&format!("worker-{number}"))?;
        running.spawn(work(Arc::clone(queue), workload, size, Arc::clone(&left)));
    }
    let mut all = Contended::default();
    let finish = async {
        while let Some(worked) = running.join_next().await {
            let (claims, empty) = worked??;
            all.claims.extend(claims);
            all.empty_claims += empty;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(DRAIN_MAX, finish).await.context("the tasks are not drained in time")??;
    all.elapsed = start.elapsed();
    all.retries = queue.contention_retries() - retries;
    Ok(all)
}

/// Claims and completes until no task is left; answers how long each claim took, and how many found nothing.
async fn work(
    queue: Arc<dyn Queue>,
    workload: Workload,
    size: usize,
    left: Arc<AtomicUsize>,
) -> Result<(Vec<f64>, usize)> {
    let (request, mut claims, mut empty) = (workload.request(size), Vec::new(), 0);
    while left.load(Ordering::Acquire) > 0 {
        let start = Instant::now();
        let claimed = queue.dequeue_many(&request).await?;
        claims.push(millis(start.elapsed()));
        if claimed.is_empty() {
            empty += usize::from(left.load(Ordering::Acquire) > 0);
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        }
        let tasks = claimed.len();
        queue.settle_many(completed(claimed)).await?;
        left.fetch_sub(tasks, Ordering::AcqRel);
    }
    Ok((claims, empty))
}

/// What collided, over all runs.
#[derive(Default)]
struct Collisions {
    deadlocks: Cell<f64>,
    retries: Cell<f64>,
}

/// The transactions that 64 workers need, against those of 4, for the same tasks one by one.
pub(super) async fn run(kind: Kind, engine: &dyn Engine, plan: &Plan) -> Result<Vec<Figure>> {
    let collisions = &Collisions::default();
    let mut contest = Contest::default();
    for workers in [64, 4] {
        contest.enter(format!("{workers} workers"), move || {
            transactions(engine, plan.contended, workers, collisions)
        });
    }
    let [many, few] = contest.run(plan.rounds).await?;
    let better = if kind == Kind::Postgres { Better::Lower(1.2) } else { Better::Told };
    let none = if kind == Kind::Postgres { Better::Lower(0.0) } else { Better::Told };
    let count = |name: &str, count: &Cell<f64>| {
        Figure::new(format!("{name}, 64 and 4 workers, batch 1"), &kind.to_string(), count.get(), 1.0, none)
    };
    Ok(vec![
        Figure::of("transactions, 64 workers against 4, batch 1", &kind.to_string(), &many, &few, better),
        count("deadlocks", &collisions.deadlocks),
        count("transactions repeated", &collisions.retries),
    ])
}

#[expect(clippy::cast_precision_loss, reason = "counts of this size are exact")]
async fn transactions(
    engine: &dyn Engine,
    tasks: usize,
    workers: u32,
    collisions: &Collisions,
) -> Result<f64> {
    let bed = engine.bed("contention").await?;
    let filler = bed.open(Connections::Default).await?;
    Workload::new("filler")?.fill(&*filler, tasks).await?;
    filler.close().await;
    let before = bed.on_server()?.transactions().await?;
    let queue = bed.open(Connections::Most(workers + 2)).await?;
    let contended = drain_together(&queue, tasks, workers as usize, 1).await?;
    ensure!(queue.stats().await?.pending == 0, "every task was claimed");
    queue.close().await;
    let Transactions { finished, deadlocks } = bed.on_server()?.transactions().await?;
    bed.remove().await?;
    collisions.deadlocks.set(collisions.deadlocks.get() + (deadlocks - before.deadlocks) as f64);
    collisions.retries.set(collisions.retries.get() + contended.retries as f64);
    Ok((finished - before.finished) as f64)
}
