//! Drains: what they work, what they wait for, and what ends them.

mod support;

use std::sync::Arc;

use support::spy::{Call, Spy};
use support::{Gate, Letter, Number, SECOND, at_gate, count, enqueue_numbers, number_type, queue};
use taskqueue_worker::core::{ClaimRequest, Status, TaskFilter};
use taskqueue_worker::{MaintenanceConfig, NewTask, Queue, TaskContext, Worker, WorkerId};

#[tokio::test(start_paused = true)]
async fn a_drain_ends_also_where_a_claim_takes_longer_than_the_poll_interval() {
    let spy = Spy::slow(queue(), 20 * SECOND);
    let gate = Gate::closed();
    gate.open_for(1);
    spy.enqueue(Number { n: 1 }).await.unwrap();
    let builder = Worker::builder(spy.clone()).data_arc(gate).handler(at_gate);

    let report = tokio::time::timeout(600 * SECOND, builder.build().unwrap().drain()).await;

    assert_eq!(report.expect("it ends").completed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_the_database_ends_says_why() {
    let spy = Spy::on(queue());
    enqueue_numbers(&spy, 3).await;
    spy.refuse(Call::Dequeue, 1);
    let builder = Worker::builder(spy.clone()).data_arc(Gate::closed()).handler(at_gate);

    let failure = builder.build().unwrap().start_draining().ended().await.unwrap_err();

    assert_eq!(failure.to_string(), "spy: the database refuses");
    assert_eq!(count(&spy, Status::Pending).await, 3);
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_is_stopped_gives_handlers_their_grace_period_and_hands_their_tasks_back() {
    let (queue, gate) = (queue(), Gate::closed());
    enqueue_numbers(&queue, 2).await;
    let builder = Worker::builder(queue.clone()).data_arc(Arc::clone(&gate)).handler(at_gate);
    let running = builder.concurrency(4).grace_period(SECOND).build().unwrap().start_draining();
    gate.wait_for(2).await;

    gate.open_for(1);
    let report = running.stop().await;

    assert_eq!((report.completed, report.released), (1, 1));
    assert_eq!(count(&queue, Status::Pending).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_drain_works_what_is_due_and_leaves_what_is_not() {
    let queue = queue();
    let gate = Gate::closed();
    gate.open_for(2);
    queue.enqueue(NewTask::new(&Number { n: 1 }).unwrap().delay(60 * SECOND)).await.unwrap();
    let later = queue.enqueue(NewTask::new(&Number { n: 2 }).unwrap().delay(61 * SECOND)).await.unwrap();
    tokio::time::sleep(60 * SECOND).await;
    let builder = Worker::builder(queue.clone()).data_arc(gate).handler(at_gate);

    let report = builder.build().unwrap().drain().await;

    assert_eq!(report.completed, 1);
    assert_eq!(queue.get(later).await.unwrap().status, Status::Pending);
}

#[tokio::test(start_paused = true)]
async fn a_drain_handles_what_a_killed_one_left_once_its_lease_has_ended() {
    async fn quick(_: Number) {}
    let queue = queue();
    enqueue_numbers(&queue, 1_500).await;
    let killed = ClaimRequest::new(WorkerId::new("killed").unwrap(), [number_type()], 1_500);
    assert_eq!(queue.dequeue_many(&killed).await.unwrap().len(), 1_500);
    let drain = || Worker::builder(queue.clone()).handler(quick);

    let early = drain().build().unwrap().drain().await;
    tokio::time::sleep(queue.visibility_timeout()).await;
    let off = drain().maintenance(MaintenanceConfig::off()).build().unwrap().drain().await;
    let late = drain().build().unwrap().drain().await;

    assert_eq!((early.completed, off.completed, late.completed), (0, 0, 1_500));
    let page = queue.list(&TaskFilter { limit: 10_000, ..TaskFilter::default() }).await.unwrap();
    assert!(page.tasks.iter().all(|task| (task.attempts, task.reclaims) == (2, 1)));
}

#[tokio::test(start_paused = true)]
async fn a_drain_claims_what_a_running_handler_enqueues_and_ends_after_that() {
    async fn number(_: Number, cx: TaskContext) {
        let id = cx.queue().enqueue(Letter { c: 'a' }).await.unwrap();
        while cx.queue().get(id).await.unwrap().status != Status::Completed {
            tokio::time::sleep(SECOND / 10).await;
        }
    }
    async fn letter(_: Letter) {}
    // The deaf one learns of the letter by its poll.
    for spy in [Spy::on(queue()), Spy::deaf(queue())] {
        spy.enqueue(Number { n: 1 }).await.unwrap();
        let worker = Worker::builder(spy).handler(number).handler(letter).build().unwrap();

        let report = tokio::time::timeout(600 * SECOND, worker.drain()).await;

        assert_eq!(report.expect("the letter is claimed").completed, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_does_not_end_while_a_task_runs_that_may_bring_others() {
    async fn number(number: Number, cx: TaskContext) {
        tokio::time::sleep(60 * SECOND).await;
        if number.n > 0 {
            cx.queue().enqueue(Number { n: number.n - 1 }).await.unwrap();
        }
    }
    let spy = Spy::deaf(queue());
    spy.enqueue(Number { n: 3 }).await.unwrap();

    let report = Worker::builder(spy).handler(number).build().unwrap().drain().await;

    assert_eq!(report.completed, 4);
}
