//! `redrive`: makes dead letters pending again.

use taskqueue_core::{Error, ErrorKind, Queue, Redrive, Status, TaskFilter, TaskId, TaskType};

use super::pages::{PAGE, Pages};
use crate::connect;
use crate::failure::{Code, Failure, Outcome};
use crate::output;
use crate::progress::{Progress, Unit};
use crate::target::Target;

const EXAMPLES: &str = "\
Examples:
  taskqueue redrive 0198c5d0-0000-7000-8000-000000000001
  taskqueue redrive --all --type event
  taskqueue redrive --all --region eu --limit 100

A redriven task starts anew, with no attempts counted. One whose unique key another unfinished task holds by now \
stays a dead letter. With --all each dead letter is taken once, the newest first: one that dies again meanwhile stays.";

/// Makes dead letters pending again, once what killed them is mended.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The dead letters' ids
    #[arg(required_unless_present = "all", conflicts_with_all = ["all", "task_type", "region", "limit"])]
    ids: Vec<TaskId>,
    /// All dead letters
    #[arg(long)]
    all: bool,
    /// With --all: only of this type
    #[arg(long = "type", value_name = "TYPE", requires = "all")]
    task_type: Option<TaskType>,
    /// With --all: only of this region
    #[arg(long, requires = "all")]
    region: Option<String>,
    /// With --all: at most this many, the newest
    #[arg(long, requires = "all")]
    limit: Option<u64>,
}

/// Redrives, and says how many.
pub(crate) async fn run(target: &Target, args: Args) -> Outcome {
    let queue = connect::existing(target).await?;
    let redriven = match args.all {
        true => all(&queue, &args).await?,
        false => {
            let others = ["other task is pending again", "other tasks are pending again"];
            super::count_of(args.ids, |id| one(&queue, id), others).await?
        }
    };
    queue.close().await;
    output::line(format!(
        "redriven: {}",
        output::count(redriven, "task is pending again", "tasks are pending again")
    ))
}

/// Redrives page by page. The cursor, and not what is dead at the moment, says what comes next: so a task that dies again
/// meanwhile is not taken twice, nor in place of another.
async fn all(queue: &impl Queue, args: &Args) -> Outcome<u64> {
    let filter = TaskFilter {
        task_type: args.task_type.clone(),
        status: Some(Status::DeadLetter),
        region: args.region.clone(),
        ..TaskFilter::default()
    };
    let mut pages = Pages::of(queue, filter);
    let mut progress = Progress::quiet("redriving", Unit::Things("tasks"), args.limit.unwrap_or_default());
    let mut redriven = 0;
    loop {
        let left = args.limit.map_or(PAGE, |limit| usize::try_from(limit - redriven).unwrap_or(PAGE));
        redriven += match page(queue, &mut pages, left).await {
            Ok(None) => return Ok(redriven),
            Ok(Some(batch)) => batch,
            Err(failure) if redriven == 0 => return Err(failure),
            Err(failure) => {
                let before = output::count(redriven, "task is pending again", "tasks are pending again");
                return Err(failure.partly().note(before));
            }
        };
        progress.set(redriven, "")?;
    }
}

/// Redrives the next page; how many, or none when there is no other page.
async fn page<Q: Queue>(queue: &Q, pages: &mut Pages<'_, Q>, limit: usize) -> Outcome<Option<u64>> {
    let ids: Vec<_> = pages.next(limit).await?.iter().map(|task| task.id).collect();
    if ids.is_empty() {
        return Ok(None);
    }
    Ok(Some(queue.redrive(&Redrive::Tasks(ids)).await?))
}

async fn one(queue: &impl Queue, id: TaskId) -> Outcome {
    match queue.redrive(&Redrive::Tasks(vec![id])).await? {
        0 => Err(why_not(queue, id).await?),
        _ => Ok(()),
    }
}

async fn why_not(queue: &impl Queue, id: TaskId) -> Outcome<Failure> {
    let task = match queue.get(id).await {
        Err(error) if error.kind() == ErrorKind::TaskNotFound => {
            return Ok(Error::task_not_found("redrive", id).into());
        }
        found => found?,
    };
    let why = match task.unique_key {
        Some(key) if task.status == taskqueue_core::Status::DeadLetter => {
            format!("task {id} stays a dead letter: another task holds its unique key {key:?}")
        }
        _ => format!("task {id} is not a dead letter: {}", task.status),
    };
    Ok(Failure::new(Code::Conflict, why))
}
