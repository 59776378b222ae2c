//! `redrive`: makes dead letters pending again.

use taskqueue_core::{Queue, Redrive, TaskId, TaskType};

use super::MAINTENANCE_BATCH;
use crate::connect;
use crate::failure::{Code, Failure, Outcome};
use crate::output;
use crate::target::Target;

const EXAMPLES: &str = "\
Examples:
  taskqueue redrive 0198c5d0-0000-7000-8000-000000000001
  taskqueue redrive --all --type event
  taskqueue redrive --all --limit 100

A redriven task starts anew, with no attempts counted. One whose unique key another unfinished task holds by now \
stays a dead letter.";

/// Makes dead letters pending again, once what killed them is mended.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The dead letters' ids
    #[arg(required_unless_present = "all", conflicts_with_all = ["all", "task_type", "limit"])]
    ids: Vec<TaskId>,
    /// All dead letters
    #[arg(long)]
    all: bool,
    /// With --all: only of this type
    #[arg(long = "type", value_name = "TYPE", requires = "all")]
    task_type: Option<TaskType>,
    /// With --all: at most this many
    #[arg(long, requires = "all")]
    limit: Option<u64>,
}

/// Redrives, and says how many.
pub(crate) async fn run(target: &Target, args: Args) -> Outcome {
    let queue = connect::existing(target).await?;
    let redriven = if args.all { all(&queue, &args).await? } else { given(&queue, args.ids).await? };
    queue.close().await;
    output::line(format!(
        "redriven: {}",
        output::count(redriven, "task is pending again", "tasks are pending again")
    ))
}

/// Redrives at most as many as there are dead letters at the start: tasks that die again meanwhile are left.
async fn all(queue: &impl Queue, args: &Args) -> Outcome<u64> {
    let dead = queue.stats().await?.dead_letter;
    let mut left = args.limit.map_or(dead, |limit| limit.min(dead));
    let mut redriven = 0;
    while left > 0 {
        let limit = usize::try_from(left).unwrap_or(usize::MAX).min(MAINTENANCE_BATCH);
        let redrive = Redrive::Any { task_type: args.task_type.clone(), limit };
        let batch = queue.redrive(&redrive).await?;
        if batch == 0 {
            break;
        }
        redriven += batch;
        left = left.saturating_sub(batch);
    }
    Ok(redriven)
}

/// Redrives each; one that cannot be redriven does not stop the others, and the first such is what the exit code tells.
/// A database that has gone does.
async fn given(queue: &impl Queue, ids: Vec<TaskId>) -> Outcome<u64> {
    let mut redriven = 0;
    let refused = super::each(ids, |id| one(queue, id), |()| redriven += 1).await;
    match super::first_of(refused) {
        None => Ok(redriven),
        Some(failure) if redriven == 0 => Err(failure),
        Some(failure) => {
            let others =
                output::count(redriven, "other task is pending again", "other tasks are pending again");
            Err(failure.note(others))
        }
    }
}

async fn one(queue: &impl Queue, id: TaskId) -> Outcome {
    match queue.redrive(&Redrive::Tasks(vec![id])).await? {
        0 => Err(why_not(queue, id).await?),
        _ => Ok(()),
    }
}

async fn why_not(queue: &impl Queue, id: TaskId) -> Outcome<Failure> {
    let task = queue.get(id).await?;
    let why = match task.unique_key {
        Some(key) if task.status == taskqueue_core::Status::DeadLetter => {
            format!("task {id} stays a dead letter: another task holds its unique key {key:?}")
        }
        _ => format!("task {id} is not a dead letter: {}", task.status),
    };
    Ok(Failure::new(Code::Conflict, why))
}
