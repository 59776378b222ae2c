//! A drain beside many finished tasks, and beside many that are scheduled for later, against the same drain alone.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use taskqueue_core::Queue;

use super::drain::{Setting, by_worker, worker};
use crate::contest::Contest;
use crate::engine::{Connections, Engine, Kind};
use crate::plan::Plan;
use crate::report::{Better, Figure};
use crate::tasks::Workload;

const SETTING: Setting = Setting::Tuned(100);
const BAR: f64 = 0.9;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// So many as enqueued at once, so that a long history does not need a long queue.
const PORTION: usize = 200_000;

pub(super) async fn run(kind: Kind, engine: &dyn Engine, plan: &Plan) -> Result<Vec<Figure>> {
    let beds = [engine.bed("clean").await?, engine.bed("finished").await?, engine.bed("scheduled").await?];
    let [clean, finished, scheduled] = &beds;
    let clean = &clean.open(Connections::Default).await?;
    let beside_finished = &finished.open(Connections::Default).await?;
    let beside_scheduled = &scheduled.open(Connections::Default).await?;
    eprintln!("  adding {} finished and {} scheduled tasks", plan.finished, plan.scheduled);
    finish(beside_finished, plan.finished).await?;
    schedule(&**beside_scheduled, plan.scheduled).await?;
    for bed in &beds {
        bed.rest().await?;
    }
    let mut contest = Contest::default();
    for (name, queue) in
        [("clean", clean), ("beside finished", beside_finished), ("beside scheduled", beside_scheduled)]
    {
        contest.enter(name, move || async move { Ok(by_worker(queue, SETTING, plan.drain).await?.rate) });
    }
    let [limit, finished, scheduled] = contest.run(plan.rounds).await?;
    for bed in beds {
        bed.remove().await?;
    }
    let figure = |ours, what| {
        Figure::of(
            format!("drain, tasks/s, beside {what}"),
            &kind.to_string(),
            ours,
            &limit,
            Better::Higher(BAR),
        )
    };
    Ok(vec![
        figure(&finished, format!("{} finished tasks", plan.finished)),
        figure(&scheduled, format!("{} scheduled tasks", plan.scheduled)),
    ])
}

/// Enqueues tasks and lets a worker finish them.
pub(super) async fn finish(queue: &Arc<dyn Queue>, tasks: usize) -> Result<()> {
    for start in (0..tasks).step_by(PORTION) {
        Workload::new("filler")?.fill(&**queue, PORTION.min(tasks - start)).await?;
        worker(Arc::clone(queue), SETTING)?.drain().await;
    }
    Ok(())
}

async fn schedule(queue: &dyn Queue, tasks: usize) -> Result<()> {
    let workload = Workload::new("filler")?;
    for start in (0..tasks).step_by(5_000) {
        let tasks = workload.tasks((tasks - start).min(5_000));
        queue.enqueue_many(tasks.into_iter().map(|task| task.delay(DAY)).collect()).await?;
    }
    Ok(())
}
