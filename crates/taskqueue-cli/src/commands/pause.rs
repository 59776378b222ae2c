//! `pause` and `resume`: stop claims of a task type, and let it be claimed again.

use taskqueue_core::{Queue, TaskType};

use crate::connect;
use crate::failure::Outcome;
use crate::output;
use crate::target::Target;

pub(crate) const PAUSE_HELP: &str = "\
Examples:
  taskqueue pause mail
  taskqueue stats          shows which types are paused
  taskqueue resume mail

What runs goes on, and enqueueing goes on.";

pub(crate) const RESUME_HELP: &str = "\
Examples:
  taskqueue resume mail

Changes nothing when the type is not paused.";

/// The task type of either.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The task type
    #[arg(value_name = "TYPE")]
    task_type: TaskType,
}

/// Pauses the type.
pub(crate) async fn pause(target: &Target, Args { task_type }: Args) -> Outcome {
    let queue = connect::existing(target).await?;
    queue.pause(&task_type).await?;
    queue.close().await;
    output::line(format!("paused {task_type}: what runs goes on, nothing more is claimed"))
}

/// Resumes the type.
pub(crate) async fn resume(target: &Target, Args { task_type }: Args) -> Outcome {
    let queue = connect::existing(target).await?;
    queue.resume(&task_type).await?;
    queue.close().await;
    output::line(format!("resumed {task_type}: workers claim it again"))
}
