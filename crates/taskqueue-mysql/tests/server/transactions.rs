//! What the queue does inside the caller's own transactions.

use sqlx::Connection;
use taskqueue_mysql::{Enqueued, ErrorKind, Outcome, Queue, Settled, Settlement, Status};

use crate::cases::on;
use crate::support::Server;
use crate::{claim, fresh, task};

async fn a_task_commits_or_rolls_back_with_the_callers_transaction(server: Server) {
    let (queue, database) = fresh(server).await;
    let mut connection = database.connect().await;

    let mut dropped = connection.begin().await.unwrap();
    let lost = queue.enqueue_in(&mut dropped, task()).await.unwrap();
    dropped.rollback().await.unwrap();
    let mut kept = connection.begin().await.unwrap();
    let id = queue.enqueue_in(&mut kept, task().unique_key("k")).await.unwrap();
    assert_eq!(queue.get(id).await.unwrap_err().kind(), ErrorKind::TaskNotFound, "it is not committed yet");
    let taken = queue.enqueue_in(&mut kept, task().unique_key("k")).await.unwrap_err();
    kept.commit().await.unwrap();

    assert_eq!(taken.kind(), ErrorKind::DuplicateUnique);
    assert_eq!(queue.get(lost).await.unwrap_err().kind(), ErrorKind::TaskNotFound);
    assert_eq!(queue.get(id).await.unwrap().status, Status::Pending);
}

async fn many_tasks_commit_together_and_one_whose_key_is_taken_stops_no_other(server: Server) {
    let (queue, database) = fresh(server).await;
    let mut connection = database.connect().await;
    let holder = queue.enqueue(task().unique_key("k")).await.unwrap();
    let tasks = vec![task(), task().unique_key("k"), task().unique_key("l")];
    let ids: Vec<_> = tasks.iter().map(|task| task.id).collect();

    let mut transaction = connection.begin().await.unwrap();
    let answers = queue.enqueue_many_in(&mut transaction, tasks).await.unwrap();
    assert_eq!(queue.stats().await.unwrap().pending, 1, "it is not committed yet");
    transaction.commit().await.unwrap();

    let expected = [Enqueued::Created(ids[0]), Enqueued::Duplicate(holder), Enqueued::Created(ids[2])];
    assert_eq!(answers, expected);
    assert_eq!(queue.stats().await.unwrap().pending, 3);
}

async fn a_completion_commits_or_rolls_back_with_the_callers_transaction(server: Server) {
    let (queue, database) = fresh(server).await;
    let mut connection = database.connect().await;
    let id = queue.enqueue(task()).await.unwrap();
    let lease = claim(&queue, 1).await.pop().unwrap().lease;

    let mut dropped = connection.begin().await.unwrap();
    queue.complete_in(&mut dropped, lease.clone()).await.unwrap();
    dropped.rollback().await.unwrap();
    assert_eq!(queue.get(id).await.unwrap().status, Status::Running);
    let mut kept = connection.begin().await.unwrap();
    queue.complete_in(&mut kept, lease).await.unwrap();
    kept.commit().await.unwrap();

    assert_eq!(queue.get(id).await.unwrap().status, Status::Completed);
    assert_eq!(queue.stats().await.unwrap().completed, 1);
}

async fn a_completion_and_its_follow_ups_commit_or_roll_back_with_the_callers_transaction(server: Server) {
    let (queue, database) = fresh(server).await;
    let mut connection = database.connect().await;
    let id = queue.enqueue(task()).await.unwrap();
    let lease = claim(&queue, 1).await.pop().unwrap().lease;
    let next = task();
    let done = || vec![Settlement::new(lease.clone(), Outcome::done().then(next.clone()))];

    let mut dropped = connection.begin().await.unwrap();
    assert_eq!(queue.settle_in(&mut dropped, done()).await.unwrap(), [Settled::Applied]);
    dropped.rollback().await.unwrap();
    assert_eq!(queue.get(id).await.unwrap().status, Status::Running, "it is still leased");
    assert_eq!(queue.get(next.id).await.unwrap_err().kind(), ErrorKind::TaskNotFound);
    let mut kept = connection.begin().await.unwrap();
    assert_eq!(queue.settle_in(&mut kept, done()).await.unwrap(), [Settled::Applied]);
    assert_eq!(queue.settle_in(&mut kept, done()).await.unwrap(), [Settled::Repeated]);
    kept.commit().await.unwrap();

    assert_eq!(queue.get(id).await.unwrap().status, Status::Completed);
    assert_eq!(queue.get(next.id).await.unwrap().status, Status::Pending);
    assert_eq!(queue.stats().await.unwrap().completed, 1);
}

on! {
    a_task_commits_or_rolls_back_with_the_callers_transaction
    many_tasks_commit_together_and_one_whose_key_is_taken_stops_no_other
    a_completion_commits_or_rolls_back_with_the_callers_transaction
    a_completion_and_its_follow_ups_commit_or_roll_back_with_the_callers_transaction
}
