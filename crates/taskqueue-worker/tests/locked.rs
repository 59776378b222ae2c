//! What becomes of outcomes whose tasks, or the keys of what they bring, another session has locked: nothing else waits for them.

mod support;

use std::sync::Arc;

use support::spy::{Call, Spy};
use support::{Gate, Number, SECOND, at_gate, count, enqueue_numbers, queue, wait_until};
use taskqueue_worker::core::Status;
use taskqueue_worker::{Data, MaintenanceConfig, NewTask, Outcome, Queue, Worker};
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn a_settle_that_waits_for_a_lock_holds_up_no_other_for_longer_than_a_second() {
    let spy = Spy::with_lock_waits(queue(), 50 * SECOND);
    let ids = enqueue_numbers(&spy, 32).await;
    spy.lock(Some(ids[7]));
    let builder = Worker::builder(spy.clone()).handler(async |_: Number| {}).concurrency(32);
    let running = builder.build().unwrap().start();
    wait_until("the settle is under way", async || spy.calls(Call::Settle) == [32]).await;
    let start = Instant::now();

    enqueue_numbers(&spy, 100).await;
    wait_until("later ones are settled", async || running.report().completed == 100).await;
    assert!(start.elapsed() < 2 * SECOND, "{:?}", start.elapsed());
    wait_until("so are those beside it", async || running.report().completed == 131).await;

    // In parts, of which only one waits again, until it stands alone.
    assert!(start.elapsed() < 3 * 50 * SECOND, "{:?}", start.elapsed());
    assert_eq!(spy.calls(Call::Settle).iter().filter(|rows| **rows == 2).count(), 16);
    drop(running);
}

#[tokio::test(start_paused = true)]
async fn follow_ups_that_wait_for_a_lock_hold_up_no_others_for_longer_than_a_second() {
    async fn goes_on(_: Number) -> Outcome {
        Outcome::done().then(NewTask::raw("next", "1").expect("the constant is JSON"))
    }
    let spy = Spy::with_lock_waits(queue(), 50 * SECOND);
    let ids = enqueue_numbers(&spy, 32).await;
    spy.lock(Some(ids[7]));
    let running = Worker::builder(spy.clone()).handler(goes_on).concurrency(32).build().unwrap().start();
    wait_until("the settle is under way", async || spy.calls(Call::Settle) == [32]).await;
    let start = Instant::now();

    enqueue_numbers(&spy, 100).await;
    wait_until("later ones are settled", async || running.report().completed == 100).await;

    assert!(start.elapsed() < 2 * SECOND, "{:?}", start.elapsed());
    drop(running);
}

#[tokio::test(start_paused = true)]
async fn what_stood_beside_a_locked_task_is_settled_though_its_lease_could_not_be_extended() {
    let spy = Spy::with_lock_waits(queue(), 60 * SECOND);
    let ids = enqueue_numbers(&spy, 32).await;
    spy.lock([ids[7]]);
    let builder = Worker::builder(spy.clone()).handler(async |_: Number| {}).concurrency(32);
    let running = builder
        .visibility_timeout(30 * SECOND)
        .maintenance(MaintenanceConfig::off())
        .build()
        .unwrap()
        .start();
    wait_until("the settle is under way", async || spy.calls(Call::Settle) == [32]).await;

    wait_until("so are those beside it", async || running.report().completed >= 30).await;

    assert_eq!(running.report().leases_lost, 0);
    drop(running);
}

#[tokio::test(start_paused = true)]
async fn two_large_settles_that_wait_for_locks_hold_up_no_other() {
    async fn later_ones_go_on(number: Number, gate: Data<Gate>) -> Outcome {
        if number.n > 4_000 {
            return Outcome::done().then(NewTask::raw("next", "1").expect("the constant is JSON"));
        }
        gate.pass().await;
        Outcome::done()
    }
    let spy = Spy::with_lock_waits(queue(), 60 * SECOND);
    let (gate, ids) = (Gate::closed(), enqueue_numbers(&spy, 4_000).await);
    spy.lock([ids[10], ids[3_990]]);
    let builder = Worker::builder(spy.clone()).data_arc(Arc::clone(&gate)).handler(later_ones_go_on);
    let running = builder.concurrency(5_000).settle_delay(SECOND / 10).build().unwrap().start();
    gate.wait_for(4_000).await;
    gate.open_for(4_000);
    wait_until("both are under way", async || spy.calls(Call::Settle) == [2_000, 2_000]).await;
    let start = Instant::now();

    let later: Vec<NewTask> = (4_001..=4_100).map(|n| NewTask::new(&Number { n }).unwrap()).collect();
    spy.enqueue_many(later).await.unwrap();
    wait_until("later ones are settled", async || running.report().completed == 100).await;

    assert!(start.elapsed() < 3 * SECOND, "{:?}", start.elapsed());
    drop(running);
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_a_settle_waits_for_a_lock_loses_no_other_outcome() {
    let spy = Spy::with_lock_waits(queue(), 5 * SECOND);
    let gate = Gate::closed();
    let ids = enqueue_numbers(&spy, 100).await;
    spy.lock([ids[3], ids[41], ids[42], ids[43], ids[97]]);
    let builder = Worker::builder(spy.clone()).data_arc(Arc::clone(&gate)).handler(at_gate);
    let running = builder.concurrency(100).build().unwrap().start();
    gate.wait_for(100).await;
    gate.open_for(100);
    wait_until("the settle is under way", async || spy.calls(Call::Settle) == [100]).await;
    let start = Instant::now();

    let report = running.stop().await;

    assert_eq!(report.completed, 95);
    assert_eq!(
        count(&spy, Status::Running).await,
        5,
        "the locked ones are handled again when their leases end"
    );
    assert!(start.elapsed() < 11 * SECOND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_waits_behind_locks_is_tried_when_the_worker_stops() {
    let spy = Spy::with_lock_waits(queue(), 60 * SECOND);
    let ids = enqueue_numbers(&spy, 32).await;
    spy.lock([ids[3], ids[11]]);
    let builder = Worker::builder(spy.clone()).handler(async |_: Number| {}).concurrency(32);
    let running = builder.build().unwrap().start();
    let tried = async || spy.calls(Call::Settle).iter().sum::<usize>();
    wait_until("the parts with a locked one are tried", async || tried().await == 32 + 12).await;
    let start = Instant::now();
    wait_until("both are late", async || start.elapsed() > 2 * SECOND).await;
    assert_eq!(tried().await, 32 + 12, "no other may be late beside them");

    let report = running.stop().await;

    assert_eq!(report.completed, 28, "all but those two parts");
}

#[tokio::test(start_paused = true)]
async fn a_slow_failure_at_a_stop_loses_no_outcome() {
    let spy = Spy::with_slow_settles(queue(), SECOND / 100);
    let gate = Gate::closed();
    enqueue_numbers(&spy, 2_000).await;
    let builder = Worker::builder(spy.clone()).data_arc(Arc::clone(&gate)).handler(at_gate);
    let running = builder.concurrency(2_000).build().unwrap().start();
    gate.wait_for(2_000).await;
    spy.fail_a_settle_slowly();
    gate.open_for(2_000);
    wait_until("the settle is under way", async || !spy.calls(Call::Settle).is_empty()).await;

    let report = running.stop().await;

    assert_eq!(report.completed, 2_000);
}
