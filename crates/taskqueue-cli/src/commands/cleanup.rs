//! `cleanup`: removes tasks that finished some time ago.

use std::time::Duration;

use taskqueue_core::{CLEANUP_LOOK, Cleanup, FinishedStatuses, Queue, QueueStats, Status};

use super::MAINTENANCE_BATCH;
use crate::connect;
use crate::failure::Outcome;
use crate::output;
use crate::progress::{Progress, Unit};
use crate::target::Target;
use crate::values;

/// The statuses that a task ends in.
const FINISHED: [Status; 3] = [Status::Completed, Status::Cancelled, Status::DeadLetter];

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
    /// Only tasks in these statuses
    #[arg(
        long,
        value_name = "STATUSES",
        value_delimiter = ',',
        value_parser = values::status(&FINISHED),
        default_values = ["completed", "cancelled"]
    )]
    status: Vec<Status>,
    /// Remove at most this many
    #[arg(long)]
    limit: Option<u64>,
}

/// Removes them in short transactions, and says how many.
pub(crate) async fn run(target: &Target, args: Args) -> Outcome {
    let statuses = args.status.into_iter().filter_map(FinishedStatuses::of);
    let statuses = statuses.reduce(FinishedStatuses::with).unwrap_or_default();
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
        let ends = Status::ALL.into_iter().filter(|status| FinishedStatuses::of(*status).is_some());
        assert_eq!(ends.collect::<Vec<_>>().len(), FINISHED.len());
        assert!(FINISHED.iter().all(|status| FinishedStatuses::of(*status).is_some()));
    }

    #[test]
    fn one_short_call_ends_the_cleanup_of_a_small_queue_only() {
        let calls = |completed| calls_to_look_at_all(&QueueStats { completed, ..QueueStats::default() });
        assert_eq!([calls(0), calls(99_999), calls(100_000), calls(1_000_001)], [1, 1, 2, 12]);
    }
}
