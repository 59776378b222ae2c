//! `cleanup`: removes tasks that finished some time ago.

use std::time::Duration;

use taskqueue_core::{Cleanup, Queue};

use super::MAINTENANCE_BATCH;
use crate::args;
use crate::connect;
use crate::failure::Outcome;
use crate::output;
use crate::progress::{Progress, Unit};
use crate::target::Target;

const EXAMPLES: &str = "\
Examples:
  taskqueue cleanup
  taskqueue cleanup --older-than 12h
  taskqueue cleanup --older-than 0s --limit 1000";

/// Removes completed, dead-lettered and cancelled tasks that finished longer ago than an age, oldest first.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The least age, counted from when a task finished
    #[arg(long, value_name = "AGE", value_parser = args::duration, default_value = "7d")]
    older_than: Duration,
    /// Remove at most this many
    #[arg(long)]
    limit: Option<u64>,
}

/// Removes them in short transactions, and says how many.
pub(crate) async fn run(target: &Target, args: Args) -> Outcome {
    let queue = connect::existing(target).await?;
    let mut progress = Progress::quiet("removing", Unit::Things("tasks"), args.limit.unwrap_or_default());
    let mut removed = 0;
    loop {
        let left = args.limit.map_or(u64::MAX, |limit| limit - removed);
        let limit = usize::try_from(left).unwrap_or(usize::MAX).min(MAINTENANCE_BATCH);
        if limit == 0 {
            break;
        }
        let batch = queue.cleanup(Cleanup { older_than: args.older_than, limit }).await?;
        removed += batch;
        progress.set(removed, "")?;
        if batch < limit as u64 {
            break;
        }
    }
    progress.finish();
    queue.close().await;
    let age = humantime::format_duration(args.older_than);
    output::line(format!(
        "removed {} that finished more than {age} ago",
        output::count(removed, "task", "tasks")
    ))
}
