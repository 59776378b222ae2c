//! What is measured: each workload compares what we reach with what it is held against, and answers figures. This
//! file owns which workload runs on which engine.

mod backlog;
pub mod contention;
mod cost;
mod cycle;
mod deleted;
mod drain;
mod enqueue;
mod history;
mod horizon;
mod latency;
mod mixed;
mod processes;
mod shards;
mod steady;

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;

use crate::engine::{Engine, Kind};
use crate::plan::Plan;
use crate::report::Figure;
pub use cost::watch_memory;
pub use processes::drain_when_told;

/// Which workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// Enqueue, claim and complete in batches, from one caller.
    Cycle,
    /// Claim and settle beside a short and a long history.
    History,
    /// A worker with handlers that do nothing, against a bare loop of claims and completions.
    Drain,
    /// The same with the tasks spread over shards.
    Shards,
    /// The same with rows deleted on completion.
    Deleted,
    /// The same by four processes at once.
    Processes,
    /// A drain of 50 types with skew, in four priorities.
    Mixed,
    /// 5,000 tasks a second for some time.
    Steady,
    /// Enqueues, single and in batches, against bare inserts.
    Enqueue,
    /// From an enqueue to the start of the handler, on an idle queue.
    Latency,
    /// Many workers that claim one task each.
    Contention,
    /// A drain beside many finished tasks, and beside many scheduled ones.
    Backlog,
    /// A drain while an old transaction holds back the horizon.
    Horizon,
    /// CPU time and memory of a worker.
    Cost,
}

impl Workload {
    /// What is measured on an engine.
    pub fn of(kind: Kind) -> &'static [Self] {
        match kind {
            Kind::Memory | Kind::Sqlite => &[Self::Cycle, Self::History],
            Kind::Mysql | Kind::Mariadb => &[
                Self::Drain,
                Self::Deleted,
                Self::Processes,
                Self::Mixed,
                Self::Shards,
                Self::Enqueue,
                Self::Steady,
                Self::Contention,
                Self::Horizon,
            ],
            Kind::Postgres => &[
                Self::Drain,
                Self::Deleted,
                Self::Processes,
                Self::Mixed,
                Self::Shards,
                Self::Enqueue,
                Self::Latency,
                Self::Steady,
                Self::Contention,
                Self::Cost,
                Self::Horizon,
                Self::Backlog,
            ],
        }
    }

    /// Measures it.
    ///
    /// # Errors
    /// As the queue's, and what the server says.
    pub async fn run(
        self,
        kind: Kind,
        engine: &dyn Engine,
        plan: &Plan,
        directory: &Path,
    ) -> Result<Vec<Figure>> {
        match self {
            Self::Cycle if kind == Kind::Memory => Ok(vec![cycle::memory().await?]),
            Self::Cycle => Ok(vec![cycle::sqlite(directory).await?]),
            Self::History => history::run(kind, engine, plan.history).await,
            Self::Drain => drain::run(kind, engine, plan).await,
            Self::Shards => shards::run(kind, engine, plan).await,
            Self::Deleted => deleted::run(kind, engine, plan).await,
            Self::Processes => processes::run(kind, engine, plan).await,
            Self::Mixed => mixed::run(kind, engine, plan).await,
            Self::Steady => steady::run(kind, engine, plan).await,
            Self::Enqueue => enqueue::run(kind, engine, plan).await,
            Self::Latency => latency::run(kind, engine, plan).await,
            Self::Contention => contention::run(kind, engine, plan).await,
            Self::Backlog => backlog::run(kind, engine, plan).await,
            Self::Horizon => horizon::run(kind, engine, plan).await,
            Self::Cost => cost::run(kind, engine, plan).await,
        }
    }
}

fn rate(tasks: usize, took: Duration) -> f64 {
    number(tasks) / took.as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "counts of this size are exact")]
fn number(count: usize) -> f64 {
    count as f64
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
