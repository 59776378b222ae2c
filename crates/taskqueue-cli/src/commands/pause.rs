//! `pause`: stops claims of a task type.

use taskqueue_core::{Queue, TaskType};

use crate::connect;
use crate::failure::Outcome;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  taskqueue pause mail
  taskqueue stats          shows which types are paused
  taskqueue resume mail";

/// Stops claims of a task type, for every worker, until it is resumed. What runs goes on; enqueueing goes on.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The task type
    #[arg(value_name = "TYPE")]
    task_type: TaskType,
}

/// Pauses the type.
pub(crate) async fn run(database: &str, args: Args) -> Outcome {
    let queue = connect::existing(database).await?;
    queue.pause(&args.task_type).await?;
    queue.close().await;
    output::line(format!("paused {}: what runs goes on, nothing more is claimed", args.task_type))
}
