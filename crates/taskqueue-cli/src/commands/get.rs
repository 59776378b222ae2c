//! `get`: shows one task, which its id names or the unique key that it holds.

use std::io::IsTerminal;

use taskqueue_core::{Queue, Task, TaskId, TaskType};

use super::{keyed, shown};
use crate::connect;
use crate::failure::{Failure, Outcome};
use crate::output::{self, Align, Table};
use crate::target::Target;

const EXAMPLES: &str = "\
Examples:
  taskqueue get 0198c5d0-0000-7000-8000-000000000001
  taskqueue get 0198c5d0-0000-7000-8000-000000000001 --json | jq .status
  taskqueue get 0198c5d0-0000-7000-8000-000000000001 --payload > payload.json
  taskqueue get --type mail --unique-key user-7

A unique key is held while its task is not finished: with --type and --unique-key the task is shown that holds it now.";

/// Shows one task: where it stands, and what it carries.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The task's id
    #[arg(required_unless_present = "unique_key", conflicts_with_all = ["task_type", "unique_key"])]
    id: Option<TaskId>,
    /// With --unique-key: the task's type
    #[arg(long = "type", value_name = "TYPE", requires = "unique_key")]
    task_type: Option<TaskType>,
    /// In the place of an id: the unique key that the task holds
    #[arg(long, value_name = "KEY", requires = "task_type")]
    unique_key: Option<String>,
    /// Print the task as JSON
    #[arg(long, conflicts_with = "payload")]
    json: bool,
    /// Print only the payload, byte for byte (on a terminal a line end comes after it)
    #[arg(long)]
    payload: bool,
}

/// Prints the task.
pub(crate) async fn run(target: &Target, args: Args) -> Outcome {
    let queue = connect::existing(target).await?;
    let task = match (args.id, &args.task_type, &args.unique_key) {
        (Some(id), ..) => queue.get(id).await?,
        (None, Some(task_type), Some(key)) => keyed::holder(&queue, task_type, key).await?,
        (None, ..) => return Err(Failure::usage("name a task by its id, or by --type and --unique-key")),
    };
    queue.close().await;
    if args.json {
        output::json(&task)
    } else if args.payload {
        payload(task.payload.as_str())
    } else {
        output::write(&text(&task))
    }
}

/// As it was enqueued, so that a file or a program gets that and no more; a prompt stands better on a line of its own.
fn payload(text: &str) -> Outcome {
    if std::io::stdout().is_terminal() { output::line(text) } else { output::write(text) }
}

fn text(task: &Task) -> String {
    let mut table = Table::plain([Align::Left, Align::Left]);
    let mut field = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            table.row([name.to_owned(), value]);
        }
    };
    field("id", Some(task.id.to_string()));
    field("type", Some(task.task_type.to_string()));
    field("status", Some(task.status.to_string()));
    field("priority", Some(task.priority.to_string()));
    field("attempts", Some(format!("{} of {}", task.attempts, task.max_retries)));
    field(
        "reclaims",
        Some(task.reclaims).filter(|reclaims| *reclaims > 0).map(|reclaims| reclaims.to_string()),
    );
    field("unique key", task.unique_key.clone());
    field("region", task.region.clone());
    field("scheduled", Some(shown(task.scheduled_at)));
    field("started", task.started_at.map(shown));
    field("retry after", task.retry_after.map(shown));
    field("finished", task.completed_at.map(shown));
    field("worker", task.worker_id.as_ref().map(ToString::to_string));
    field("last error", task.last_error.clone());
    field("created", Some(shown(task.created_at)));
    field("updated", Some(shown(task.updated_at)));
    for (key, value) in &task.metadata {
        field(&format!("metadata {key}"), Some(value.clone()));
    }
    field("payload", Some(task.payload.as_str().to_owned()));
    table.render(0)
}
