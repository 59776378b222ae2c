//! `get`: shows one task.

use std::io::IsTerminal;

use taskqueue_core::{Queue, Task, TaskId};

use super::shown;
use crate::connect;
use crate::failure::Outcome;
use crate::output::{self, Align, Table};
use crate::target::Target;

const EXAMPLES: &str = "\
Examples:
  taskqueue get 0198c5d0-0000-7000-8000-000000000001
  taskqueue get 0198c5d0-0000-7000-8000-000000000001 --json | jq .status
  taskqueue get 0198c5d0-0000-7000-8000-000000000001 --payload > payload.json";

/// Shows one task: where it stands, and what it carries.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The task's id
    id: TaskId,
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
    let task = queue.get(args.id).await?;
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
