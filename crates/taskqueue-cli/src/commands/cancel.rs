//! `cancel`: cancels tasks that are not finished.

use taskqueue_core::{Cancelled, Queue, Status, TaskId};

use crate::connect;
use crate::failure::{Code, Failure, Outcome};
use crate::output;
use crate::target::Target;

const EXAMPLES: &str = "\
Examples:
  taskqueue cancel 0198c5d0-0000-7000-8000-000000000001
  taskqueue list --all --type mail --json-lines | jq -r 'select(.priority < 5).id' | xargs -r taskqueue cancel

A running task's worker finds out at its next heartbeat; what it reports then changes nothing.";

/// Cancels tasks that are pending, waiting for a retry, or running.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The tasks' ids
    #[arg(required = true)]
    ids: Vec<TaskId>,
}

/// Cancels each task; one that cannot be cancelled does not stop the others, and the first such is what the
/// exit code tells. Nor does an output that nobody reads. A database that has gone does.
pub(crate) async fn run(target: &Target, args: Args) -> Outcome {
    let queue = connect::existing(target).await?;
    let mut written = Ok(());
    let cancel = async |id| judge(id, queue.cancel(id).await?);
    let tell = |text| {
        if written.is_ok() {
            written = output::line(text);
        }
    };
    let refused = super::each(args.ids, cancel, tell).await;
    queue.close().await;
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
