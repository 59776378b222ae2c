//! `cleanup`: removes tasks that finished some time ago.

use std::time::Duration;

use taskqueue_core::{CLEANUP_LOOK, Cleanup, FinishedStatuses, Queue, QueueStats};

use super::MAINTENANCE_BATCH;
use crate::connect;
use crate::failure::Outcome;
use crate::output;
use crate::progress::{Progress, Unit};
use crate::target::Target;
use crate::values;

const EXAMPLES: &str = "\
Examples:
  taskqueue cleanup
  taskqueue cleanup --older-than 12h
  taskqueue cleanup --older-than 90d --status dead_letter
  taskqueue cleanup --older-than 0s --limit 1000";

/// Removes tasks that finished longer ago than an age: completed and cancelled ones. Dead letters stay unless you ask.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The least age, counted from when a task finished
    #[arg(long, value_name = "AGE", value_parser = values::duration, default_value = "7d")]
    older_than: Duration,
    /// Only tasks in these statuses: completed, cancelled, dead_letter
    #[arg(
        long,
        value_name = "STATUSES",
        value_delimiter = ',',
        value_parser = finished,
        default_values = ["completed", "cancelled"]
    )]
    status: Vec<FinishedStatuses>,
    /// Remove at most this many
    #[arg(long)]
    limit: Option<u64>,
}

/// Removes them in short transactions, and says how many.
pub(crate) async fn run(target: &Target, args: Args) -> Outcome {
    let statuses = args.status.into_iter().reduce(FinishedStatuses::with).unwrap_or_default();
    let queue = connect::existing(target).await?;
    let mut progress = Progress::quiet("removing", Unit::Things("tasks"), args.limit.unwrap_or_default());
    let mut removed = 0;
    // Calls that may find nothing in a row before it is certain that nothing is left.
    let empty_max = calls_to_look_at_all(&queue.stats().await?);
    let mut empty = 0;
    while empty < empty_max {
        let left = args.limit.map_or(u64::MAX, |limit| limit - removed);
        let limit = usize::try_from(left).unwrap_or(usize::MAX).min(MAINTENANCE_BATCH);
        if limit == 0 {
            break;
        }
        let batch = queue.cleanup(Cleanup::new(args.older_than, limit).only(statuses)).await?;
        removed += batch;
        progress.set(removed, "")?;
        empty = if batch < limit as u64 { empty + 1 } else { 0 };
    }
    progress.finish();
    queue.close().await;
    let age = humantime::format_duration(args.older_than);
    output::line(format!(
        "removed {} that finished more than {age} ago",
        output::count(removed, "task", "tasks")
    ))
}

/// A status that a task ends in.
fn finished(name: &str) -> Result<FinishedStatuses, String> {
    let status = name.parse().ok().and_then(FinishedStatuses::of);
    status.ok_or_else(|| "not completed, cancelled or dead_letter".to_owned())
}

/// How many calls look at every task of a queue: one in a small queue. One more where a call can end within the
/// tasks, since others come meanwhile.
fn calls_to_look_at_all(stats: &QueueStats) -> u64 {
    let QueueStats { pending, running, completed, failed, dead_letter, cancelled, .. } = stats;
    let tasks = pending + running + completed + failed + dead_letter + cancelled;
    let look = CLEANUP_LOOK as u64;
    if tasks < look { 1 } else { tasks.div_ceil(look) + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_statuses_that_tasks_end_in_are_cleaned_up() {
        assert_eq!(finished("dead_letter"), Ok(FinishedStatuses::DEAD_LETTER));
        assert!(finished("running").is_err() && finished("").is_err());
    }

    #[test]
    fn one_short_call_ends_the_cleanup_of_a_small_queue_only() {
        let calls = |completed| calls_to_look_at_all(&QueueStats { completed, ..QueueStats::default() });
        assert_eq!([calls(0), calls(99_999), calls(100_000), calls(1_000_001)], [1, 1, 2, 12]);
    }
}
