//! What only the memory queue has: its capacity, its shared clones, its injected clock, its settings. The
//! behaviour that every backend has is the conformance suite's.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::time::Duration;

use taskqueue_conformance::assert_completed_tasks_are_deleted;
use taskqueue_memory::{
    Claim, ClaimRequest, Completed, Enqueued, Error, ErrorKind, ManualClock, MemoryConfig, MemoryQueue,
    NewTask, Outcome, Queue, Redrive, Settlement, TaskType, WorkerId,
};

fn holding(capacity: usize) -> MemoryQueue {
    MemoryQueue::with_config(MemoryConfig { capacity: Some(capacity), ..MemoryConfig::default() }).unwrap()
}

fn task() -> NewTask {
    NewTask::raw("mail", "{}").unwrap()
}

fn keyed(key: &str) -> NewTask {
    task().unique_key(key)
}

async fn claim(queue: &MemoryQueue, limit: usize) -> Vec<Claim> {
    let worker = WorkerId::new("ada").unwrap();
    queue.dequeue_many(&ClaimRequest::new(worker, [TaskType::new("mail").unwrap()], limit)).await.unwrap()
}

async fn settle_one(queue: &MemoryQueue, outcome: Outcome) -> Result<(), Error> {
    let claim = claim(queue, 1).await.pop().unwrap();
    queue.settle(claim.lease, outcome).await
}

#[tokio::test]
async fn completed_tasks_are_deleted_where_the_queue_is_set_so() {
    let config = MemoryConfig { completed: Completed::Delete, ..MemoryConfig::default() };
    assert_completed_tasks_are_deleted(&MemoryQueue::with_config(config).unwrap()).await;
}

#[tokio::test]
async fn a_batch_that_passes_the_capacity_is_refused_whole() {
    let queue = holding(3);
    queue.enqueue_many(vec![task(), task()]).await.unwrap();

    let error = queue.enqueue_many(vec![task(), task()]).await.unwrap_err();

    assert_eq!(error.kind(), ErrorKind::QueueFull);
    assert!(error.is_transient(), "workers make room");
    assert_eq!(queue.stats().await.unwrap().pending, 2);
    queue.enqueue(task()).await.unwrap();
}

#[tokio::test]
async fn only_unfinished_tasks_count_against_the_capacity() {
    let queue = holding(1);
    queue.enqueue(task()).await.unwrap();
    assert_eq!(queue.enqueue(task()).await.unwrap_err().kind(), ErrorKind::QueueFull);

    settle_one(&queue, Outcome::done()).await.unwrap();

    queue.enqueue(task()).await.unwrap();
    settle_one(&queue, Outcome::fail("no route")).await.unwrap();
    assert_eq!(queue.enqueue(task()).await.unwrap_err().kind(), ErrorKind::QueueFull);
}

/// Its id is free again by the time its follow-ups arrive.
#[tokio::test]
async fn a_deleted_task_that_follows_itself_takes_the_room_that_it_left() {
    let config = MemoryConfig { capacity: Some(2), completed: Completed::Delete, ..MemoryConfig::default() };
    let queue = MemoryQueue::with_config(config).unwrap();
    queue.enqueue_many(vec![task(), task()]).await.unwrap();
    let claimed = claim(&queue, 1).await.pop().unwrap();
    let again = task().id(claimed.task.id);

    let two = Outcome::done().then(again.clone()).then(task());
    let refused = queue.settle(claimed.lease.clone(), two).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::QueueFull);

    queue.settle(claimed.lease, Outcome::done().then(again)).await.unwrap();
    assert_eq!(queue.stats().await.unwrap().pending, 2);
}

#[tokio::test]
async fn a_full_queue_still_answers_for_tasks_that_it_holds() {
    let queue = holding(2);
    let held = keyed("a");
    queue.enqueue_many(vec![held.clone(), task()]).await.unwrap();

    let answers = queue.enqueue_many(vec![held.clone(), keyed("a"), held.clone()]).await.unwrap();

    let (repeated, duplicate) = (Enqueued::Repeated(held.id), Enqueued::Duplicate(held.id));
    assert_eq!(answers, [repeated, duplicate, repeated]);
}

#[tokio::test]
async fn tasks_that_repeat_within_a_batch_need_no_room() {
    let queue = holding(2);
    let twice = task();

    queue.enqueue_many(vec![twice.clone(), twice, keyed("a"), keyed("a")]).await.unwrap();

    assert_eq!(queue.stats().await.unwrap().pending, 2);
}

#[tokio::test]
async fn follow_ups_take_the_room_of_the_tasks_they_follow_and_no_more() {
    let queue = holding(1);
    queue.enqueue(keyed("chain")).await.unwrap();
    settle_one(&queue, Outcome::done().then(keyed("chain"))).await.unwrap();

    let next = claim(&queue, 1).await.pop().unwrap();
    let fork = Outcome::done().then(task()).then(task());
    let error = queue.settle(next.lease.clone(), fork).await.unwrap_err();

    assert_eq!(error.kind(), ErrorKind::QueueFull);
    assert_eq!(queue.stats().await.unwrap().running, 1, "the completion was refused with its follow-ups");
    queue.settle(next.lease, Outcome::done().then(task())).await.unwrap();
}

#[tokio::test]
async fn follow_ups_of_a_lost_lease_need_no_room() {
    let queue = holding(1);
    let id = queue.enqueue(task()).await.unwrap();
    let stale = claim(&queue, 1).await.pop().unwrap();
    queue.cancel(id).await.unwrap();
    queue.enqueue(task()).await.unwrap();

    let error = queue.settle(stale.lease, Outcome::done().then(task())).await.unwrap_err();

    assert_eq!(error.kind(), ErrorKind::LeaseLost);
}

#[tokio::test]
async fn redrive_takes_as_many_dead_letters_as_there_is_room_for() {
    let queue = holding(2);
    for _ in 0..2 {
        queue.enqueue(task()).await.unwrap();
        settle_one(&queue, Outcome::permanent("gone")).await.unwrap();
    }
    queue.enqueue(task()).await.unwrap();

    let redriven = queue.redrive(&Redrive::Any { task_type: None, limit: 10 }).await.unwrap();

    assert_eq!(redriven, 1);
    let stats = queue.stats().await.unwrap();
    assert_eq!((stats.pending, stats.dead_letter), (2, 1));
}

#[tokio::test]
async fn clones_share_their_tasks_and_close_together() {
    let queue = MemoryQueue::new();
    let id = queue.clone().enqueue(task()).await.unwrap();
    assert_eq!(queue.get(id).await.unwrap().id, id);

    queue.clone().close().await;

    assert_eq!(queue.get(id).await.unwrap_err().kind(), ErrorKind::QueueClosed);
}

#[tokio::test]
async fn a_reopened_queue_has_the_tasks_of_the_closed_one() {
    let queue = MemoryQueue::new();
    let id = queue.enqueue(task()).await.unwrap();
    queue.close().await;

    assert_eq!(queue.reopen().get(id).await.unwrap().id, id);
}

#[tokio::test]
async fn times_and_leases_follow_the_clock_that_was_given() {
    let clock = ManualClock::default();
    let config = MemoryConfig {
        clock: Arc::new(clock.clone()),
        visibility_timeout: Duration::from_secs(10),
        ..MemoryConfig::default()
    };
    let queue = MemoryQueue::with_config(config).unwrap();
    queue.enqueue_many(vec![task(), task().delay(Duration::from_secs(9))]).await.unwrap();
    assert_eq!(claim(&queue, 2).await.len(), 1);

    clock.advance(Duration::from_secs(9));
    let before_the_end = queue.reclaim_stale(10).await.unwrap().total();
    let promoted = queue.promote_due(10).await.unwrap();
    clock.advance(Duration::from_secs(1));
    let at_the_end = queue.reclaim_stale(10).await.unwrap().total();

    assert_eq!((before_the_end, promoted, at_the_end), (0, 1, 1));
}

#[tokio::test]
async fn one_settle_call_orders_what_it_makes_ready() {
    let queue = MemoryQueue::with_config(MemoryConfig {
        clock: Arc::new(ManualClock::default()),
        ..MemoryConfig::default()
    })
    .unwrap();
    queue.enqueue_many(vec![task(), task(), task()]).await.unwrap();
    let claims = claim(&queue, 3).await;
    let follow_up = task();
    let (first, second, third) = (claims[2].task.id, claims[0].task.id, follow_up.id);
    let mut leases = claims.into_iter().map(|claim| claim.lease).collect::<Vec<_>>();
    let settlements = vec![
        Settlement::new(leases.remove(1), Outcome::done().then(follow_up)),
        Settlement::new(leases.remove(1), Outcome::Release),
        Settlement::new(leases.remove(0), Outcome::Release),
    ];

    queue.settle_many(settlements).await.unwrap();

    let order: Vec<_> = claim(&queue, 3).await.into_iter().map(|claim| claim.task.id).collect();
    assert_eq!(order, [first, second, third]);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let kind = |config: MemoryConfig| MemoryQueue::with_config(config).unwrap_err().kind();
    let default = MemoryConfig::default;

    assert_eq!(kind(MemoryConfig { capacity: Some(0), ..default() }), ErrorKind::InvalidInput);
    assert_eq!(kind(MemoryConfig { payload_bytes_max: 0, ..default() }), ErrorKind::InvalidInput);
    assert_eq!(
        kind(MemoryConfig { visibility_timeout: Duration::ZERO, ..default() }),
        ErrorKind::InvalidInput
    );
}
