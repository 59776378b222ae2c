//! `cancel --all`: what is not finished, of a type and a status or of any. It owns the question before and the count
//! after; a single task's cancel is the queue's.

use std::sync::Arc;

use taskqueue_core::{Cancelled, ErrorKind, Queue, Result as QueueResult, Status, TaskFilter, TaskId};
use tokio::task::JoinSet;

use super::Args;
use crate::commands::pages::{PAGE, Pages};
use crate::failure::{Failure, Outcome};
use crate::output::{self, count, thousands};
use crate::progress::{Progress, Unit};

/// What can be cancelled, in the order in which tasks go on: one that is claimed or fails meanwhile is met again.
pub(super) const UNFINISHED: [Status; 3] = [Status::Pending, Status::Running, Status::Failed];
/// Each cancel is a transaction of its own, so that some at once share their waits for the disk.
const AT_ONCE: usize = 8;

/// What became of the tasks.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    pending: u64,
    running: u64,
    failed: u64,
    /// Finished or removed between the listing and the cancel.
    finished: u64,
}

/// Cancels them, or says how many there are.
pub(super) async fn cancel(queue: &Arc<dyn Queue>, args: &Args) -> Outcome {
    let mut tally = Tally::default();
    if !args.yes {
        return match number(queue, args).await? {
            0 => output::line(tally.text()),
            tasks => {
                let tasks = count(tasks, "task", "tasks");
                Err(Failure::usage(format!("cancel: this would cancel {tasks}; add --yes to do it")))
            }
        };
    }
    let mut progress = Progress::quiet("cancelling", Unit::Things("tasks"), 0);
    for filter in filters(args) {
        let walked = walk(queue, filter, &mut tally, &mut progress).await;
        walked.map_err(|failure| tally.explain(failure))?;
    }
    progress.finish();
    output::line(tally.text())
}

/// One listing a status: a listing of all would walk over what is finished as well.
fn filters(args: &Args) -> impl Iterator<Item = TaskFilter> {
    let statuses = UNFINISHED.into_iter().filter(|status| args.status.is_none_or(|only| only == *status));
    let (task_type, region) = (args.task_type.clone(), args.region.clone());
    statuses.map(move |status| TaskFilter {
        status: Some(status),
        task_type: task_type.clone(),
        region: region.clone(),
        ..TaskFilter::default()
    })
}

/// How many there are now: from the statistics, which know types and statuses, but not one within the other,
/// and no regions.
async fn number(queue: &Arc<dyn Queue>, args: &Args) -> Outcome<u64> {
    if args.region.is_some() {
        return counted(queue, args).await;
    }
    let stats = queue.stats().await?;
    match (&args.task_type, args.status) {
        (None, None) => Ok(stats.pending + stats.running + stats.failed),
        (None, Some(Status::Running)) => Ok(stats.running),
        (None, Some(Status::Failed)) => Ok(stats.failed),
        (None, Some(_)) => Ok(stats.pending),
        (Some(task_type), None) => Ok(stats.by_type.get(task_type).copied().unwrap_or_default()),
        (Some(_), Some(_)) => counted(queue, args).await,
    }
}

async fn counted(queue: &Arc<dyn Queue>, args: &Args) -> Outcome<u64> {
    let mut tasks = 0;
    for filter in filters(args) {
        let mut pages = Pages::of(queue, filter);
        loop {
            match pages.next(PAGE).await?.len() {
                0 => break,
                page => tasks += page as u64,
            }
        }
    }
    Ok(tasks)
}

async fn walk(
    queue: &Arc<dyn Queue>,
    filter: TaskFilter,
    tally: &mut Tally,
    progress: &mut Progress,
) -> Outcome {
    let mut pages = Pages::of(queue, filter);
    loop {
        let page = pages.next(PAGE).await?;
        if page.is_empty() {
            return Ok(());
        }
        for tasks in page.chunks(AT_ONCE) {
            let found = at_once(queue, tasks.iter().map(|task| task.id)).await;
            // Those beside one that failed may be cancelled: they are counted before the failure is told.
            let outcomes: Vec<Outcome> = found.into_iter().map(|found| tally.take(found)).collect();
            outcomes.into_iter().collect::<Outcome>()?;
        }
        progress.set(tally.cancelled(), "")?;
    }
}

async fn at_once(queue: &Arc<dyn Queue>, ids: impl Iterator<Item = TaskId>) -> Vec<QueueResult<Cancelled>> {
    let mut cancels = JoinSet::new();
    for id in ids {
        let queue = Arc::clone(queue);
        cancels.spawn(async move { queue.cancel(id).await });
    }
    cancels.join_all().await
}

impl Tally {
    fn take(&mut self, found: QueueResult<Cancelled>) -> Outcome {
        *match found {
            Ok(Cancelled::From(Status::Running)) => &mut self.running,
            Ok(Cancelled::From(Status::Failed)) => &mut self.failed,
            Ok(Cancelled::From(_)) => &mut self.pending,
            Ok(Cancelled::AlreadyFinished(_)) => &mut self.finished,
            Err(error) if error.kind() == ErrorKind::TaskNotFound => &mut self.finished,
            Err(error) => return Err(error.into()),
        } += 1;
        Ok(())
    }

    fn cancelled(&self) -> u64 {
        self.pending + self.running + self.failed
    }

    fn explain(&self, failure: Failure) -> Failure {
        match self.cancelled() {
            0 => failure,
            cancelled => {
                failure.partly().note(count(cancelled, "task was cancelled", "tasks were cancelled"))
            }
        }
    }

    fn text(&self) -> String {
        let mut text = format!("cancelled {}", count(self.cancelled(), "task", "tasks"));
        let counts =
            [(self.pending, "pending"), (self.running, "running"), (self.failed, "waiting for a retry")];
        let were = counts.iter().filter(|(tasks, _)| *tasks > 0);
        let were: Vec<_> = were.map(|(tasks, what)| format!("{} {what}", thousands(*tasks))).collect();
        if !were.is_empty() {
            text.push_str(&format!(" ({})", were.join(", ")));
        }
        if self.finished > 0 {
            text.push_str(&format!(", {} finished before that", thousands(self.finished)));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use taskqueue_core::Error;

    use super::*;

    #[test]
    fn a_task_that_finished_before_its_cancel_is_no_failure() {
        let mut tally = Tally { pending: 1199, ..Tally::default() };
        let gone = Err(Error::task_not_found("cancel", TaskId::generate()));
        for found in
            [Ok(Cancelled::From(Status::Pending)), Ok(Cancelled::AlreadyFinished(Status::Completed)), gone]
        {
            tally.take(found).expect("no failure");
        }
        assert_eq!(tally.text(), "cancelled 1,200 tasks (1,200 pending), 2 finished before that");
        assert_eq!(Tally::default().text(), "cancelled 0 tasks");
    }

    #[test]
    fn a_failure_says_how_many_were_cancelled_before_it() {
        let tally = Tally { running: 1, failed: 2, ..Tally::default() };
        let failure = tally.explain(Failure::usage("no"));
        assert_eq!(failure.message(), Some("no; 3 tasks were cancelled"));
        assert_eq!(failure.code(), crate::failure::Code::Failure, "something was changed");
    }
}
