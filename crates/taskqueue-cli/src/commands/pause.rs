//! `pause` and `resume`: stop claims of a task type, and let it be claimed again.

use std::time::Duration;

use taskqueue_core::{Queue, QueueStats, TaskType};
use tokio::time::timeout;

use crate::connect;
use crate::failure::Outcome;
use crate::output;
use crate::target::Target;

pub(crate) const PAUSE_HELP: &str = "\
Examples:
  taskqueue pause mail
  taskqueue stats          shows which types are paused
  taskqueue resume mail

What runs goes on, and enqueueing goes on. A type that no task has now is paused as well, with a word on standard error.";

pub(crate) const RESUME_HELP: &str = "\
Examples:
  taskqueue resume mail

Changes nothing when the type is not paused.";

/// How long statistics are waited for: those of a large queue may take long.
const HINT_PERIOD: Duration = Duration::from_secs(1);

/// The task type of either.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The task type
    #[arg(value_name = "TYPE")]
    task_type: TaskType,
}

/// Pauses the type. It may be one whose tasks are still to come, or a slip of the pen: who typed it is told.
pub(crate) async fn pause(target: &Target, Args { task_type }: Args) -> Outcome {
    let queue = connect::existing(target).await?;
    queue.pause(&task_type).await?;
    output::line(format!("paused {task_type}: what runs goes on, nothing more is claimed"))?;
    // What it is good for is done: statistics that are not to be had now, or not soon, take nothing away from that.
    let stats = timeout(HINT_PERIOD, queue.stats()).await;
    if stats.is_ok_and(|stats| stats.is_ok_and(|stats| !is_known(&stats, &task_type))) {
        output::note(format!(
            "taskqueue: no unfinished task and no dead letter is of type {task_type} now: is it the type that you mean?"
        ));
    }
    queue.close().await;
    Ok(())
}

/// Resumes the type.
pub(crate) async fn resume(target: &Target, Args { task_type }: Args) -> Outcome {
    let queue = connect::existing(target).await?;
    // Asked for a hint only: what it cannot answer keeps nobody from resuming.
    let was_paused = queue.paused().await.map_or(true, |paused| paused.contains(&task_type));
    queue.resume(&task_type).await?;
    queue.close().await;
    if !was_paused {
        output::note(format!("taskqueue: {task_type} was not paused: is it the type that you mean?"));
    }
    output::line(format!("resumed {task_type}: workers claim it again"))
}

fn is_known(stats: &QueueStats, task_type: &TaskType) -> bool {
    stats.by_type.contains_key(task_type) || stats.dead_letter_by_type.contains_key(task_type)
}
