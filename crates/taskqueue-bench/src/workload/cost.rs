//! What a worker uses: CPU time for each task above the bare program's, and memory above an idle worker's while it
//! drains a long queue. Memory is watched in a process of its own, which has done nothing else.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::drain::{Setting, by_bare, by_worker, worker};
use crate::bare::Finish;
use crate::contest::Contest;
use crate::engine::{Bed, Connections, Engine, Kind, connect};
use crate::plan::Plan;
use crate::report::{Better, Figure};
use crate::tasks::Workload;
use crate::usage;

const SETTING: Setting = Setting::Tuned(100);
/// CPU time for each task above the bare program's, in microseconds.
const CPU_MAX_US: f64 = 3.0;
/// Memory above an idle worker's, in MiB.
const MEMORY_MAX_MIB: f64 = 64.0;
/// Where a process of ours finds its database; not an argument, because others could see it.
pub(super) const VARIABLE: &str = "TASKQUEUE_BENCH_DATABASE_URL";
/// How long the watched process idles before its memory is taken.
const IDLE: Duration = Duration::from_secs(2);

/// What the watched process prints.
#[derive(Serialize, Deserialize)]
struct Watched {
    idle_kib: f64,
    most_kib: f64,
}

pub(super) async fn run(kind: Kind, engine: &dyn Engine, plan: &Plan) -> Result<Vec<Figure>> {
    let bed = engine.bed("cost").await?;
    let figures = vec![cpu(kind, &*bed, plan).await?, memory(kind, &*bed, plan).await?];
    bed.remove().await?;
    Ok(figures)
}

async fn cpu(kind: Kind, bed: &dyn Bed, plan: &Plan) -> Result<Figure> {
    let (bare, queue) = (&bed.bare(2).await?, &bed.open(Connections::Default).await?);
    let mut contest = Contest::default();
    contest.enter("worker, CPU us a task", move || async move {
        Ok(by_worker(queue, SETTING, plan.drain).await?.cpu_us)
    });
    contest.enter("bare, CPU us a task", move || async move {
        Ok(by_bare(bare, Finish::Keep, plan.drain).await?.cpu_us)
    });
    let [ours, limit] = contest.run(plan.rounds).await?;
    let (ours, limit) = (ours.median(), limit.median());
    let name = format!("worker CPU, us a task above the bare {limit:.1}, against {CPU_MAX_US}");
    Ok(Figure::new(name, &kind.to_string(), ours - limit, CPU_MAX_US, Better::Lower(1.0)))
}

async fn memory(kind: Kind, bed: &dyn Bed, plan: &Plan) -> Result<Figure> {
    let (queue, workload) = (bed.open(Connections::Default).await?, Workload::new("filler")?);
    // The watched worker is to idle first.
    queue.pause(&workload.task_type).await?;
    workload.fill(&*queue, plan.watched).await?;
    queue.close().await;
    let mut watched = Command::new(std::env::current_exe()?);
    watched.args(["watch-memory", &kind.to_string(), &plan.watched.to_string()]).env(VARIABLE, bed.url()?);
    let output = tokio::task::spawn_blocking(move || watched.stderr(Stdio::inherit()).output()).await??;
    ensure!(output.status.success(), "the watched process failed");
    let Watched { idle_kib, most_kib } = serde_json::from_slice(&output.stdout)?;
    let ours = (most_kib - idle_kib) / 1024.0;
    eprintln!("  memory: idle {:.1} MiB, at most {:.1} MiB", idle_kib / 1024.0, most_kib / 1024.0);
    let name = format!("worker memory, MiB above idle, {} tasks, against {MEMORY_MAX_MIB}", plan.watched);
    Ok(Figure::new(name, &kind.to_string(), ours, MEMORY_MAX_MIB, Better::Lower(1.0)))
}

/// The watched process: idles, drains so many tasks that wait in a paused queue, and prints what it used.
///
/// # Errors
/// As the queue's.
pub async fn watch_memory(kind: Kind, tasks: u64) -> Result<()> {
    let url = std::env::var(VARIABLE).with_context(|| format!("{VARIABLE} is not set"))?;
    let queue = connect(kind, &url).await?;
    let running = worker(Arc::clone(&queue), SETTING)?.start();
    tokio::time::sleep(IDLE).await;
    let (idle_kib, _) = usage::memory_kib()?;
    queue.resume(&Workload::new("watched")?.task_type).await?;
    while running.report().completed < tasks {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (_, most_kib) = usage::memory_kib()?;
    running.stop().await;
    println!("{}", serde_json::to_string(&Watched { idle_kib, most_kib })?);
    Ok(())
}
