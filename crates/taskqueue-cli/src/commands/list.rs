//! `list`: shows a page of tasks.

use taskqueue_core::{LIST_LIMIT_DEFAULT, Queue, Status, Task, TaskFilter, TaskId, TaskPage, TaskType};

use super::shown;
use crate::args;
use crate::connect;
use crate::failure::{Failure, Outcome};
use crate::output::{self, Align, Table};
use crate::target::Target;

const ERROR_CHARS_MAX: usize = 60;

const EXAMPLES: &str = "\
Examples:
  taskqueue list
  taskqueue list --status dead_letter --type event
  taskqueue list --limit 20 --after 0198c5d0-0000-7000-8000-000000000001
  taskqueue list --json | jq -r '.tasks[].id'
  taskqueue list --json-lines --status dead_letter > dead.jsonl

A full page names the id that `--after` takes to show the next one.";

/// Lists tasks, newest first, a page at a time.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only tasks of this type
    #[arg(long = "type", value_name = "TYPE")]
    task_type: Option<TaskType>,
    /// Only tasks in this status: pending, running, completed, failed, dead_letter or cancelled
    #[arg(long)]
    status: Option<Status>,
    /// Only tasks of this region
    #[arg(long)]
    region: Option<String>,
    /// The most tasks to show
    #[arg(long, value_parser = args::limit, default_value_t = LIST_LIMIT_DEFAULT)]
    limit: usize,
    /// Go on after this task: what the page before named as the next
    #[arg(long, value_name = "ID")]
    after: Option<TaskId>,
    /// Pass over this many tasks first (slow when large: prefer --after)
    #[arg(long, default_value_t = 0)]
    offset: usize,
    /// Print the page as one JSON object: {"tasks": […], "next": …}
    #[arg(long, conflicts_with = "json_lines")]
    json: bool,
    /// Print one JSON object a task and line
    #[arg(long)]
    json_lines: bool,
}

/// Prints the page.
pub(crate) async fn run(target: &Target, args: Args) -> Outcome {
    let queue = connect::existing(target).await?;
    let page = queue.list(&args.filter()).await?;
    queue.close().await;
    if args.json {
        return output::json(&page);
    }
    output::write(&if args.json_lines { lines(&page)? } else { table(&page) })?;
    match page.next {
        Some(next) => {
            output::note(format!("there may be more: go on with --after {next}"));
            Ok(())
        }
        None if page.tasks.is_empty() && !args.json_lines => output::line("no tasks"),
        None => Ok(()),
    }
}

impl Args {
    fn filter(&self) -> TaskFilter {
        TaskFilter {
            task_type: self.task_type.clone(),
            status: self.status,
            region: self.region.clone(),
            limit: self.limit,
            offset: self.offset,
            after: self.after,
        }
    }
}

fn lines(page: &TaskPage) -> Outcome<String> {
    let mut text = String::new();
    for task in &page.tasks {
        let line = serde_json::to_string(task);
        text.push_str(&line.map_err(|error| Failure::failed(format!("task {}: {error}", task.id)))?);
        text.push('\n');
    }
    Ok(text)
}

fn table(page: &TaskPage) -> String {
    if page.tasks.is_empty() {
        return String::new();
    }
    let columns = [
        ("ID", Align::Left),
        ("TYPE", Align::Left),
        ("STATUS", Align::Left),
        ("PRIORITY", Align::Right),
        ("ATTEMPTS", Align::Right),
        ("WHEN", Align::Left),
        ("LAST ERROR", Align::Left),
    ];
    let mut table = Table::new(&columns);
    for task in &page.tasks {
        table.row([
            task.id.to_string(),
            task.task_type.to_string(),
            task.status.to_string(),
            task.priority.to_string(),
            format!("{}/{}", task.attempts, task.max_retries),
            when(task),
            output::cut(task.last_error.as_deref().unwrap_or_default(), ERROR_CHARS_MAX),
        ]);
    }
    table.render(0)
}

/// The time that matters most in the task's status.
fn when(task: &Task) -> String {
    match task.status {
        Status::Pending => format!("due {}", shown(task.scheduled_at)),
        Status::Failed => format!("due {}", shown(task.retry_after.unwrap_or(task.updated_at))),
        Status::Running => format!("since {}", shown(task.started_at.unwrap_or(task.updated_at))),
        _ => format!("at {}", shown(task.completed_at.unwrap_or(task.updated_at))),
    }
}
