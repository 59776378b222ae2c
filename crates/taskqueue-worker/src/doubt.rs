//! Leases that are gone and that their handlers may have settled. It owns the judgement of what became of their tasks; who is
//! in doubt is said by `leases`.

use std::sync::Arc;

use taskqueue_core::{ErrorKind, Result, Status, Task};
use tokio::sync::Semaphore;
use tracing::warn;

use crate::escaped::Escaped;
use crate::leases::Held;
use crate::pipe::Pipe;

/// What became of a lease that a heartbeat has not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Its handler has settled it, and has all the time it wants.
    Settled,
    /// It was lost: to a cancel, to a reclaim, or to a server that took over without knowing of the claim.
    Taken,
    /// The task still runs under this claim: the look came before the settle, or went to a server that is behind.
    Held,
}

/// The most looks of a worker at once: each may hold a connection, and as many leases can be in doubt as there are handlers.
const LOOKS_MAX: usize = 2;

/// What bounds the looks of one worker.
pub(crate) struct Looks(Semaphore);

impl Default for Looks {
    fn default() -> Self {
        Self(Semaphore::new(LOOKS_MAX))
    }
}

/// Looks at one after the other, but for those whose handlers have returned meanwhile.
pub(crate) async fn look_at_all(pipe: Arc<Pipe>, in_doubt: Vec<Arc<Held>>) {
    for held in in_doubt {
        let _permit = pipe.looks.0.acquire().await;
        if pipe.tokens.end.is_cancelled() {
            return;
        }
        if pipe.leases.holds(held.lease()) {
            look_at(&pipe, &held).await;
        }
    }
}

/// Finds out whether a lease that is gone was settled by its handler or was lost.
async fn look_at(pipe: &Pipe, held: &Held) {
    let id = held.lease().task_id;
    let queue = Arc::clone(&pipe.unobserved);
    // As a call of its own: a backend that panics must not keep the lease in doubt for ever.
    let looked_up = pipe.call("get", |_| async move { queue.get(id).await }).await;
    match fate(&held.claim.task, looked_up) {
        Ok(Fate::Settled) => {}
        Ok(Fate::Held) => pipe.leases.ask_again(held),
        Ok(Fate::Taken) => {
            if pipe.leases.lose(held) {
                pipe.tell_of_lost(std::slice::from_ref(held.lease()));
            }
        }
        Err(error) => {
            let error = Escaped(&error);
            warn!(%error, %id, "a lease is gone, and its task could not be looked up; it is soon");
            pipe.leases.ask_again(held);
        }
    }
}

/// What became of a task that stood so right after its claim. One that is there no more was settled: a completion may
/// delete it.
fn fate(claimed: &Task, looked_up: Result<Task>) -> Result<Fate> {
    match looked_up {
        Ok(now) => Ok(fate_of(claimed, &now)),
        Err(error) if error.kind() == ErrorKind::TaskNotFound => Ok(Fate::Settled),
        Err(error) => Err(error),
    }
}

/// Worker and start name the last claim and stay; a settle leaves `reclaims` as it is. What says neither that the handler
/// has settled its task nor that it runs counts as taken: a handler that stops for nothing loses less than two that go on.
fn fate_of(claimed: &Task, now: &Task) -> Fate {
    let claim = |task: &Task| (task.worker_id.clone(), task.started_at, task.reclaims);
    match now.status {
        Status::Cancelled => Fate::Taken,
        _ if claim(now) != claim(claimed) => Fate::Taken,
        Status::Running => Fate::Held,
        Status::Pending if !is_retried(claimed, now) && !is_given_back(claimed, now) => Fate::Taken,
        _ => Fate::Settled,
    }
}

/// A failed attempt whose time has come.
fn is_retried(claimed: &Task, now: &Task) -> bool {
    now.attempts == claimed.attempts
}

/// A snooze or a release. A redrive begins anew with the attempts, too, but follows a dead letter and its error.
fn is_given_back(claimed: &Task, now: &Task) -> bool {
    now.attempts + 1 == claimed.attempts && now.last_error == claimed.last_error
}

#[cfg(test)]
mod tests {
    use taskqueue_core::{ClaimRequest, Error, NewTask, Queue, TaskId, WorkerId};
    use taskqueue_memory::MemoryQueue;

    use super::*;

    /// A task right after its first claim.
    async fn claimed() -> Task {
        let queue = MemoryQueue::new();
        queue.enqueue(NewTask::raw("mail", "1").expect("it is JSON")).await.expect("it is taken");
        let worker_id = WorkerId::new("one").expect("it is valid");
        let request = ClaimRequest::new(worker_id, ["mail".parse().expect("it is valid")], 1);
        queue.dequeue_many(&request).await.expect("it answers").remove(0).task
    }

    async fn fate_after(change: impl FnOnce(&mut Task)) -> Fate {
        let claimed = claimed().await;
        let mut now = claimed.clone();
        change(&mut now);
        fate(&claimed, Ok(now)).expect("it was looked up")
    }

    #[tokio::test]
    async fn what_a_handler_has_settled_itself_is_settled() {
        for status in [Status::Completed, Status::DeadLetter, Status::Failed, Status::Pending] {
            assert_eq!(fate_after(|task| task.status = status).await, Fate::Settled, "{status:?}");
        }
        let given_back = fate_after(|task| (task.status, task.attempts) = (Status::Pending, 0)).await;
        assert_eq!(given_back, Fate::Settled);
        let deleted = Err(Error::task_not_found("get", TaskId::generate()));
        assert_eq!(fate(&claimed().await, deleted).expect("it was looked up"), Fate::Settled);
    }

    #[tokio::test]
    async fn a_claim_of_which_the_server_knows_nothing_is_lost() {
        let never_claimed = fate_after(|task| {
            (task.status, task.attempts, task.worker_id, task.started_at) = (Status::Pending, 0, None, None);
        });
        assert_eq!(never_claimed.await, Fate::Taken);
        let others = WorkerId::new("two").ok();
        assert_eq!(fate_after(|task| task.worker_id = others).await, Fate::Taken);
        assert_eq!(fate_after(|task| task.started_at = None).await, Fate::Taken);
    }

    #[tokio::test]
    async fn what_somebody_else_has_ended_is_lost() {
        assert_eq!(fate_after(|task| task.status = Status::Cancelled).await, Fate::Taken);
        assert_eq!(fate_after(|task| task.reclaims = 1).await, Fate::Taken);
        let redriven = fate_after(|task| {
            (task.status, task.attempts, task.last_error) = (Status::Pending, 0, Some("ended".to_owned()));
        });
        assert_eq!(redriven.await, Fate::Taken);
    }

    #[tokio::test]
    async fn a_task_that_runs_under_the_same_claim_is_asked_for_again() {
        assert_eq!(fate_after(|_| {}).await, Fate::Held);
    }
}
