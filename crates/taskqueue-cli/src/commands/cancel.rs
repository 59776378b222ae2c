//! `cancel`: cancels tasks that are not finished: those of some ids, the one that holds a unique key, or all of a type or status.
//! All is in `all`.

mod all;

use clap::ArgGroup;
use taskqueue_core::{Cancelled, Queue, Status, TaskId, TaskType};

use super::keyed;
use crate::connect;
use crate::failure::{Code, Failure, Outcome};
use crate::output;
use crate::target::Target;
use crate::values;

const EXAMPLES: &str = "\
Examples:
  taskqueue cancel 0198c5d0-0000-7000-8000-000000000001
  taskqueue cancel --type mail --unique-key user-7
  taskqueue cancel --all --type mail --status pending
  taskqueue cancel --all --type mail --yes
  taskqueue list --all --type mail --json-lines | jq -r 'select(.priority < 5).id' | xargs -r taskqueue cancel

A running task's worker finds out at its next heartbeat; what it reports then changes nothing.

--unique-key cancels the task of the type that holds the key now, and lets the key go; it never cancels another one.

--all cancels nothing without --yes: it says how many tasks it would cancel, with exit code 2. Each task is taken once; \
tasks that are enqueued or change their status meanwhile may be passed over. `taskqueue pause TYPE` beforehand keeps workers \
from claiming more.";

/// Cancels tasks that are pending, waiting for a retry, or running.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, group = ArgGroup::new("of_a_type").args(["all", "unique_key"]))]
pub(crate) struct Args {
    /// The tasks' ids
    #[arg(
        required_unless_present_any = ["all", "unique_key"],
        conflicts_with_all = ["of_a_type", "task_type", "status", "region", "yes"],
    )]
    ids: Vec<TaskId>,
    /// All tasks that are not finished
    #[arg(long)]
    all: bool,
    /// With --unique-key: the task's type. With --all: only of this type
    #[arg(long = "type", value_name = "TYPE", requires = "of_a_type")]
    task_type: Option<TaskType>,
    /// The task of --type that holds this unique key
    #[arg(long, value_name = "KEY", requires = "task_type", conflicts_with_all = ["status", "region", "yes"])]
    unique_key: Option<String>,
    /// With --all: only in this status
    #[arg(long, requires = "all", value_parser = values::status(&all::UNFINISHED))]
    status: Option<Status>,
    /// With --all: only of this region
    #[arg(long, requires = "all")]
    region: Option<String>,
    /// With --all: do it
    #[arg(long, requires = "all")]
    yes: bool,
}

/// Cancels those that were named, or all.
pub(crate) async fn run(target: &Target, args: Args) -> Outcome {
    let queue = connect::existing(target).await?;
    let outcome = match (&args.task_type, &args.unique_key) {
        (Some(task_type), Some(key)) => holder(&queue, task_type, key).await,
        _ if args.all => all::cancel(&queue, &args).await,
        _ => given(&queue, args.ids).await,
    };
    queue.close().await;
    outcome
}

/// Cancels the task that holds the key. If it finishes meanwhile, that is told: whoever takes the key next stays.
async fn holder(queue: &impl Queue, task_type: &TaskType, key: &str) -> Outcome {
    let id = keyed::holder(queue, task_type, key).await?.id;
    output::line(judge(id, queue.cancel(id).await?)?)
}

/// Cancels each task; one that cannot be cancelled does not stop the others, and the first such is what the
/// exit code tells. Nor does an output that nobody reads. A database that has gone does.
async fn given(queue: &impl Queue, ids: Vec<TaskId>) -> Outcome {
    let mut written = Ok(());
    let cancel = async |id| judge(id, queue.cancel(id).await?);
    let tell = |text| {
        if written.is_ok() {
            written = output::line(text);
        }
    };
    let refused = super::each(ids, cancel, tell).await;
    super::first_of(refused).map_or(written, Err)
}

fn judge(id: TaskId, found: Cancelled) -> Outcome<String> {
    match found {
        Cancelled::From(Status::Running) => {
            Ok(format!("cancelled {id} (was running; its worker loses the lease)"))
        }
        Cancelled::From(status) => Ok(format!("cancelled {id} (was {status})")),
        Cancelled::AlreadyFinished(status) => {
            Err(Failure::new(Code::Conflict, format!("task {id} is finished already: {status}")))
        }
    }
}
