//! `run-now`: makes tasks ready that wait for a time.

use taskqueue_core::{Error, ErrorKind, Queue, Status, TaskId};

use crate::connect;
use crate::failure::{Code, Failure, Outcome};
use crate::output;
use crate::target::Target;

const EXAMPLES: &str = "\
Examples:
  taskqueue run-now 0198c5d0-0000-7000-8000-000000000001
  taskqueue list --all --status failed --json-lines | jq -r .id | xargs -r taskqueue run-now

A delayed task is not waited for any longer, nor is the retry of a failed one. It goes behind those of its priority that are \
ready already; its attempts stay counted. A dead letter is `redrive`'s.";

/// Makes tasks ready at once that are scheduled for later or wait for a retry.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The tasks' ids
    #[arg(required = true)]
    ids: Vec<TaskId>,
}

/// Makes them ready, and says how many.
pub(crate) async fn run(target: &Target, args: Args) -> Outcome {
    let queue = connect::existing(target).await?;
    let others = ["other task is ready", "other tasks are ready"];
    let made_ready = super::count_of(args.ids, |id| one(&queue, id), others).await?;
    queue.close().await;
    output::line(format!("run now: {}", output::count(made_ready, "task is ready", "tasks are ready")))
}

async fn one(queue: &impl Queue, id: TaskId) -> Outcome {
    match queue.run_now(&[id]).await? {
        0 => Err(why_not(queue, id).await?),
        _ => Ok(()),
    }
}

async fn why_not(queue: &impl Queue, id: TaskId) -> Outcome<Failure> {
    let task = match queue.get(id).await {
        Err(error) if error.kind() == ErrorKind::TaskNotFound => {
            return Ok(Error::task_not_found("run-now", id).into());
        }
        found => found?,
    };
    let stands = match task.status {
        Status::Pending => "ready already".to_owned(),
        status => status.to_string(),
    };
    Ok(Failure::new(Code::Conflict, format!("task {id} waits for no time: {stands}")))
}
