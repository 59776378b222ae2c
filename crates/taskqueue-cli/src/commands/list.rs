//! `list`: shows a page of tasks, or all of them page by page.

use std::sync::Arc;

use taskqueue_core::{LIST_LIMIT_DEFAULT, Queue, Status, Task, TaskFilter, TaskId, TaskType};

use super::pages::{PAGE, Pages};
use super::shown;
use crate::connect;
use crate::failure::{Failure, Outcome};
use crate::output::{self, Align, Table};
use crate::target::Target;
use crate::values;

const ERROR_CHARS_MAX: usize = 60;

const EXAMPLES: &str = "\
Examples:
  taskqueue list
  taskqueue list --status dead_letter --type event
  taskqueue list --limit 20 --after 0198c5d0-0000-7000-8000-000000000001
  taskqueue list --all --json-lines --status dead_letter > dead.jsonl
  taskqueue list --all --json-lines --type mail | jq -r .id

A full page names, on standard error, the id that `--after` takes to show the next one; in the JSON it is `next`.";

/// Lists tasks, newest first: a page of them, or all.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only tasks of this type
    #[arg(long = "type", value_name = "TYPE")]
    task_type: Option<TaskType>,
    /// Only tasks in this status
    #[arg(long, value_parser = values::status(&Status::ALL))]
    status: Option<Status>,
    /// Only tasks of this region
    #[arg(long)]
    region: Option<String>,
    /// The most tasks to show
    #[arg(long, value_parser = values::limit, default_value_t = LIST_LIMIT_DEFAULT)]
    limit: usize,
    /// Show all: what comes is printed page by page, however many there are
    #[arg(long, conflicts_with_all = ["limit", "offset"])]
    all: bool,
    /// Go on after this task: what the page before named as the next
    #[arg(long, value_name = "ID")]
    after: Option<TaskId>,
    /// Pass over this many tasks first (slow when large: prefer --after)
    #[arg(long, default_value_t = 0)]
    offset: usize,
    /// Print one JSON object: {"tasks": […], "next": …}
    #[arg(long, conflicts_with = "json_lines")]
    json: bool,
    /// Print one JSON object a task and line
    #[arg(long)]
    json_lines: bool,
}

/// Prints the page, or all pages.
pub(crate) async fn run(target: &Target, args: Args) -> Outcome {
    let queue = connect::existing(target).await?;
    let outcome = if args.all { all(&queue, &args).await } else { page(&queue, &args).await };
    queue.close().await;
    outcome
}

async fn page(queue: &Arc<dyn Queue>, args: &Args) -> Outcome {
    let page = queue.list(&args.filter()).await?;
    let mut print = Print::of(args);
    if args.json {
        output::json(&page)?;
    } else {
        print.tasks(&page.tasks)?;
        if page.next.is_none() {
            print.end()?;
        }
    }
    if let Some(next) = page.next {
        output::note(format!("there may be more: go on with --after {next}"));
    }
    Ok(())
}

/// No more than a page is in memory at once.
async fn all(queue: &Arc<dyn Queue>, args: &Args) -> Outcome {
    let mut pages = Pages::of(queue, args.filter());
    let mut print = Print::of(args);
    loop {
        let tasks = pages.next(PAGE).await.map_err(|failure| print.explain(failure))?;
        if tasks.is_empty() {
            return print.end();
        }
        print.tasks(&tasks)?;
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

/// Tasks on their way to standard output.
struct Print {
    form: Form,
    printed: u64,
}

enum Form {
    Table(Table),
    JsonLines,
    /// One object that is written in pieces, a task a line.
    Json,
}

impl Print {
    fn of(args: &Args) -> Self {
        let form = match (args.json, args.json_lines) {
            (true, _) => Form::Json,
            (_, true) => Form::JsonLines,
            _ => Form::Table(table()),
        };
        Self { form, printed: 0 }
    }

    /// Prints some tasks, if there are any.
    fn tasks(&mut self, tasks: &[Task]) -> Outcome {
        if tasks.is_empty() {
            return Ok(());
        }
        let text = match &mut self.form {
            Form::Table(table) => {
                tasks.iter().for_each(|task| table.row(cells(task)));
                table.render_part()
            }
            Form::JsonLines => joined(tasks, "\n")? + "\n",
            Form::Json => {
                let before = if self.printed == 0 { "{\"tasks\": [\n" } else { ",\n" };
                before.to_owned() + &joined(tasks, ",\n")?
            }
        };
        self.printed += tasks.len() as u64;
        output::write(&text)
    }

    /// Ends what was printed, after the last task.
    fn end(&self) -> Outcome {
        match (&self.form, self.printed) {
            (Form::Json, 0) => output::line("{\"tasks\": [], \"next\": null}"),
            (Form::Json, _) => output::line("\n], \"next\": null}"),
            (Form::Table(_), 0) => output::line("no tasks"),
            _ => Ok(()),
        }
    }

    fn explain(&self, failure: Failure) -> Failure {
        match self.printed {
            0 => failure,
            printed => failure.partly().note(output::count(printed, "task was shown", "tasks were shown")),
        }
    }
}

/// One a line: a payload may have line ends between its tokens, which say no more than a blank.
fn joined(tasks: &[Task], between: &str) -> Outcome<String> {
    let line = |task: &Task| match serde_json::to_string(task) {
        Ok(text) => Ok(text.replace(['\n', '\r'], " ")),
        Err(error) => Err(Failure::failed(format!("task {}: {error}", task.id))),
    };
    Ok(tasks.iter().map(line).collect::<Outcome<Vec<_>>>()?.join(between))
}

fn table() -> Table {
    Table::new(&[
        ("ID", Align::Left),
        ("TYPE", Align::Left),
        ("STATUS", Align::Left),
        ("PRIORITY", Align::Right),
        ("ATTEMPTS", Align::Right),
        ("WHEN", Align::Left),
        ("LAST ERROR", Align::Left),
    ])
}

fn cells(task: &Task) -> [String; 7] {
    [
        task.id.to_string(),
        task.task_type.to_string(),
        task.status.to_string(),
        task.priority.to_string(),
        format!("{}/{}", task.attempts, task.max_retries),
        when(task),
        output::cut(task.last_error.as_deref().unwrap_or_default(), ERROR_CHARS_MAX),
    ]
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
