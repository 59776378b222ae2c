//! What a queue must do that deletes the rows of completed tasks. A setting of some backends, so no part of the
//! suite: their own tests call it. It opens no queue.

use std::time::Duration;

use taskqueue_core::{
    Claim, ClaimRequest, Enqueued, ErrorKind, Lease, NewTask, Outcome, Queue, Settled, Settlement, Status,
    TaskFilter, TaskId, TaskType, WorkerId,
};

fn task() -> NewTask {
    NewTask::raw("deleted", "{}").expect("a valid task")
}

async fn claim(queue: &dyn Queue, limit: usize) -> Vec<Claim> {
    let (worker, task_type) = (WorkerId::new("ada"), TaskType::new("deleted"));
    let request = ClaimRequest::new(worker.expect("a valid id"), [task_type.expect("a valid type")], limit);
    queue.dequeue_many(&request).await.expect("the queue can be claimed from")
}

async fn enqueue(queue: &dyn Queue, tasks: Vec<NewTask>) -> Vec<Enqueued> {
    queue.enqueue_many(tasks).await.expect("the tasks are valid")
}

async fn settle(queue: &dyn Queue, outcomes: Vec<(&Lease, Outcome)>) -> Vec<Settled> {
    let settlements = outcomes.into_iter().map(|(lease, outcome)| Settlement::new(lease.clone(), outcome));
    queue.settle_many(settlements.collect()).await.expect("the batch is valid")
}

async fn is_gone(queue: &dyn Queue, id: TaskId) -> bool {
    match queue.get(id).await {
        Ok(_) => false,
        Err(error) => error.kind() == ErrorKind::TaskNotFound,
    }
}

/// On an empty queue with this setting: completed tasks are gone and counted; what is not completed stays; a stale
/// completion deletes nothing; a repeated one finds nothing and says so.
///
/// # Panics
/// Where it is otherwise.
pub async fn assert_completed_tasks_are_deleted(queue: &dyn Queue) {
    gone_and_counted_with_its_follow_up_in_place(queue).await;
    what_is_not_completed_stays(queue).await;
    a_stale_completion_deletes_nothing(queue).await;
}

async fn gone_and_counted_with_its_follow_up_in_place(queue: &dyn Queue) {
    let (first, next) = (task(), task());
    let (id, next_id) = (first.id, next.id);
    enqueue(queue, vec![first.clone()]).await;
    let lease = claim(queue, 1).await.remove(0).lease;

    assert_eq!(settle(queue, vec![(&lease, Outcome::done().then(next))]).await, [Settled::Applied]);

    assert!(is_gone(queue, id).await, "a completed task is gone");
    assert_eq!(queue.get(next_id).await.expect("the follow-up is there").status, Status::Pending);
    assert_eq!(queue.stats().await.expect("statistics").completed, 1);
    let again = settle(queue, vec![(&lease, Outcome::done().then(task()))]).await;
    assert_eq!(again, [Settled::LeaseLost], "nothing tells a repeated completion from a stale one");
    let stats = queue.stats().await.expect("statistics");
    assert_eq!((stats.completed, stats.pending), (1, 1), "a repeated completion changes nothing");
    assert_eq!(enqueue(queue, vec![first]).await, [Enqueued::Created(id)], "the id is free again");

    for claim in claim(queue, 2).await {
        assert_eq!(settle(queue, vec![(&claim.lease, Outcome::done())]).await, [Settled::Applied]);
    }
    let page = queue.list(&TaskFilter::default()).await.expect("a list");
    assert!(page.tasks.is_empty(), "all are gone");
}

async fn what_is_not_completed_stays(queue: &dyn Queue) {
    enqueue(queue, vec![task(), task(), task()]).await;
    let claims = claim(queue, 3).await;
    let [done, failed, dead] = claims.as_slice() else { panic!("three tasks are ready") };
    let outcomes = vec![
        (&failed.lease, Outcome::fail("later")),
        (&done.lease, Outcome::done()),
        (&dead.lease, Outcome::permanent("never")),
    ];

    assert_eq!(settle(queue, outcomes).await, [Settled::Applied; 3]);

    assert!(is_gone(queue, done.task.id).await);
    assert_eq!(queue.get(failed.task.id).await.expect("it is there").status, Status::Failed);
    assert_eq!(queue.get(dead.task.id).await.expect("it is there").status, Status::DeadLetter);
}

/// Also where the same batch holds the token under which the task runs now, for another task.
async fn a_stale_completion_deletes_nothing(queue: &dyn Queue) {
    enqueue(queue, vec![task(), task()]).await;
    let stale = claim(queue, 1).await.remove(0).lease;
    assert_eq!(settle(queue, vec![(&stale, Outcome::snooze(Duration::ZERO))]).await, [Settled::Applied]);
    let claims = claim(queue, 2).await;
    let lease_of = |is_stale: bool| {
        let is_it = |claim: &&Claim| (claim.task.id == stale.task_id) == is_stale;
        &claims.iter().find(is_it).expect("both are claimed").lease
    };
    let (taken, other) = (lease_of(true), lease_of(false));
    let outcomes = vec![(&stale, Outcome::done()), (other, Outcome::done())];

    assert_eq!(settle(queue, outcomes).await, [Settled::LeaseLost, Settled::Applied]);

    let task = queue.get(stale.task_id).await.expect("a stale completion deletes nothing");
    assert_eq!(task.status, Status::Running);
    assert_eq!(settle(queue, vec![(taken, Outcome::done())]).await, [Settled::Applied]);
}
