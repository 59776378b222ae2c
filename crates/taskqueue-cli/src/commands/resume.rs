//! `resume`: lets a paused task type be claimed again.

use taskqueue_core::{Queue, TaskType};

use crate::connect;
use crate::failure::Outcome;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  taskqueue resume mail";

/// Lets a paused task type be claimed again. Changes nothing when it is not paused.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The task type
    #[arg(value_name = "TYPE")]
    task_type: TaskType,
}

/// Resumes the type.
pub(crate) async fn run(database: &str, args: Args) -> Outcome {
    let queue = connect::existing(database).await?;
    queue.resume(&args.task_type).await?;
    queue.close().await;
    output::line(format!("resumed {}: workers claim it again", args.task_type))
}
