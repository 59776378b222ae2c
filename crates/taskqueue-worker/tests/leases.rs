//! Leases while handlers run: kept alive, lost, cancelled.

mod support;

use std::sync::Arc;

use support::spy::{Call, Spy};
use support::{Gate, Number, SECOND, at_gate, enqueue_numbers, number_type, queue, wait_until};
use taskqueue_worker::core::{Cancelled, ErrorKind, Status};
use taskqueue_worker::{Configure, Data, Queue, RetryPolicy, TaskContext, Worker, WorkerId};
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn heartbeats_keep_the_lease_of_a_handler_that_takes_many_visibility_timeouts() {
    async fn long(_: Number) {
        tokio::time::sleep(900 * SECOND).await;
    }
    let queue = queue();
    let id = queue.enqueue(Number { n: 1 }).await.unwrap();
    let worker = Worker::builder(queue.clone()).handler(long).visibility_timeout(30 * SECOND);
    // This one takes back whatever it finds stale.
    let other = Worker::builder(queue.clone()).handler(long).build().unwrap();

    let running = worker.build().unwrap().start();
    wait_until("it runs", async || running.active() == 1).await;
    let other = other.start();
    let task = support::wait_for_status(&queue, id, Status::Completed).await;

    assert_eq!((task.attempts, task.reclaims, task.worker_id.as_ref()), (1, 0, Some(running.id())));
    assert_eq!((running.stop().await.completed, other.stop().await.completed), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn heartbeats_keep_the_leases_of_tasks_that_wait_behind_a_long_one() {
    async fn long(_: Number) {
        tokio::time::sleep(600 * SECOND).await;
    }
    let queue = queue();
    let ids = enqueue_numbers(&queue, 4).await;
    let worker = Worker::builder(queue.clone()).handler(long).concurrency(1).prefetch(3);

    let running = worker.visibility_timeout(30 * SECOND).build().unwrap().start();
    let last = support::wait_for_status(&queue, ids[3], Status::Completed).await;

    assert_eq!((last.attempts, last.reclaims), (1, 0));
    assert_eq!(last.started_at, queue.get(ids[0]).await.unwrap().started_at, "it was claimed with the first");
    assert_eq!(running.stop().await.completed, 4);
}

#[tokio::test(start_paused = true)]
async fn all_leases_are_extended_in_one_call_and_those_of_short_tasks_in_none() {
    let spy = Spy::on(queue());
    let gate = Gate::closed();
    enqueue_numbers(&spy, 6).await;
    let builder = Worker::builder(spy.clone()).data_arc(Arc::clone(&gate)).handler(at_gate).concurrency(6);
    let running =
        builder.visibility_timeout(30 * SECOND).heartbeat_interval(10 * SECOND).build().unwrap().start();
    gate.wait_for(6).await;

    tokio::time::sleep(35 * SECOND).await;
    gate.open_for(6);
    wait_until("all are done", async || running.report().completed == 6).await;
    tokio::time::sleep(35 * SECOND).await;

    assert_eq!(spy.calls(Call::Heartbeat), [6, 6, 6]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn cancelling_a_running_task_cancels_its_token_and_drops_what_its_handler_returns() {
    async fn obedient(_: Number, cx: TaskContext, gate: Data<Gate>) {
        gate.open_for(1);
        gate.pass().await;
        cx.cancelled().cancelled().await;
    }
    let spy = Spy::on(queue());
    let gate = Gate::closed();
    let id = spy.enqueue(Number { n: 1 }).await.unwrap();
    let builder = Worker::builder(spy.clone()).data_arc(Arc::clone(&gate)).handler(obedient);
    let running = builder.build().unwrap().start();
    gate.wait_for(1).await;

    assert_eq!(spy.cancel(id).await.unwrap(), Cancelled::From(Status::Running));
    wait_until("the handler returns", async || running.active() == 0).await;
    let report = running.stop().await;

    assert_eq!((report.completed, report.leases_lost), (0, 1));
    assert_eq!(spy.get(id).await.unwrap().status, Status::Cancelled);
    assert_eq!(spy.calls(Call::Settle), [0_usize; 0], "nothing was left to settle");
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_ignores_that_its_task_was_cancelled_is_dropped_and_its_slot_takes_the_next_task() {
    // Deaf: the cancel comes from another process, so that only a heartbeat finds it.
    let spy = Spy::deaf(queue());
    let gate = Gate::closed();
    let ids = enqueue_numbers(&spy, 2).await;
    let builder = Worker::builder(spy.clone()).data_arc(Arc::clone(&gate)).handler(at_gate);
    let builder = builder.concurrency(1).prefetch(0).cancel_period(7 * SECOND);
    let builder = builder.visibility_timeout(30 * SECOND).heartbeat_interval(10 * SECOND);
    let running = builder.build().unwrap().start();
    gate.wait_for(1).await;
    tokio::time::sleep(47 * SECOND).await;
    let start = Instant::now();

    spy.cancel(ids[0]).await.unwrap();
    gate.wait_for(2).await;

    assert!(start.elapsed() >= 7 * SECOND && start.elapsed() <= (15 + 7) * SECOND, "{:?}", start.elapsed());
    gate.open_for(1);
    wait_until("the second is done", async || running.report().completed == 1).await;
    let report = running.stop().await;
    assert_eq!((report.completed, report.failed, report.released, report.leases_lost), (1, 0, 0, 1));
    assert_eq!(spy.get(ids[0]).await.unwrap().status, Status::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_in_this_process_is_told_to_the_handler_at_once() {
    async fn obedient(_: Number, cx: TaskContext, gate: Data<Gate>) {
        gate.open_for(1);
        gate.pass().await;
        cx.cancelled().cancelled().await;
    }
    let (spy, gate) = (Spy::on(queue()), Gate::closed());
    let ids = enqueue_numbers(&spy, 2).await;
    let builder = Worker::builder(spy.clone()).data_arc(Arc::clone(&gate)).handler(obedient);
    let running = builder.build().unwrap().start();
    gate.wait_for(2).await;
    let start = Instant::now();

    spy.cancel(ids[0]).await.unwrap();
    wait_until("its handler returns", async || running.active() == 1).await;

    assert!(start.elapsed() < SECOND / 10, "{:?}", start.elapsed());
    assert_eq!(spy.calls(Call::Heartbeat), [1], "only the lease of that task was looked at");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_when_it_is_dropped_for_a_lost_lease_costs_no_slot() {
    async fn panics(number: Number, gate: Data<Gate>) {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("dropped");
            }
        }
        let _bomb = (number.n == 1).then(|| Bomb);
        gate.pass().await;
    }
    let (spy, gate) = (Spy::on(queue()), Gate::closed());
    let ids = enqueue_numbers(&spy, 2).await;
    let builder = Worker::builder(spy.clone()).data_arc(Arc::clone(&gate)).handler(panics).concurrency(1);
    let running = builder.prefetch(0).build().unwrap().start();
    gate.wait_for(1).await;

    spy.cancel(ids[0]).await.unwrap();
    gate.wait_for(2).await;
    gate.open_for(1);
    wait_until("the second is done", async || running.report().completed == 1).await;

    let report = running.stop().await;
    assert_eq!((report.completed, report.failed, report.leases_lost), (1, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_stale_worker_cannot_settle_a_task_that_another_has_taken_over() {
    let spy = Spy::on(queue());
    let gate = Gate::closed();
    let id = spy.enqueue(Number { n: 1 }).await.unwrap();
    // This worker cannot reach the database for its heartbeats: its lease ends while the handler runs.
    spy.fail(Call::Heartbeat, usize::MAX);
    let builder = Worker::builder(spy.clone()).data_arc(Arc::clone(&gate)).handler(at_gate);
    let builder = builder.concurrency(1).prefetch(0);
    let stale = builder.visibility_timeout(30 * SECOND).build().unwrap().start();
    gate.wait_for(1).await;
    wait_until("it is taken back", async || spy.get(id).await.unwrap().reclaims == 1).await;
    let other = WorkerId::new("other").unwrap();
    let claim = spy.queue.dequeue(&other, &[number_type()]).await.unwrap().expect("it is ready again");

    gate.open_for(1);
    let report = stale.stop().await;

    assert_eq!((report.completed, report.leases_lost), (0, 1));
    assert_eq!(spy.get(id).await.unwrap().worker_id, Some(other));
    spy.complete(claim.lease).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_handler_can_extend_its_lease_itself_and_learns_at_once_that_it_is_lost() {
    async fn handle(_: Number, cx: TaskContext) -> anyhow::Result<()> {
        cx.heartbeat().await?;
        cx.queue().cancel(cx.id()).await?;
        let error = cx.heartbeat().await.expect_err("the task is no longer ours");
        assert_eq!((error.kind(), error.task_id()), (ErrorKind::LeaseLost, Some(cx.id())));
        assert!(cx.cancelled().is_cancelled());
        Ok(())
    }
    let queue = queue();
    let id = queue.enqueue(Number { n: 1 }).await.unwrap();
    let once = handle.retry(RetryPolicy::fixed(SECOND));

    let report = Worker::builder(queue.clone()).handler(once).build().unwrap().drain().await;

    assert_eq!((report.leases_lost, report.completed, report.failed), (1, 0, 0));
    assert_eq!(queue.get(id).await.unwrap().status, Status::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_another_session_has_locked_is_not_lost_and_costs_no_other_its_lease() {
    let spy = Spy::on(queue());
    let gate = Gate::closed();
    let ids = enqueue_numbers(&spy, 2).await;
    let builder = Worker::builder(spy.clone()).data_arc(Arc::clone(&gate)).handler(at_gate).concurrency(2);
    let running = builder.visibility_timeout(30 * SECOND).build().unwrap().start();
    gate.wait_for(2).await;
    spy.lock(Some(ids[0]));

    tokio::time::sleep(25 * SECOND).await;
    spy.lock(None);
    tokio::time::sleep(60 * SECOND).await;
    gate.open_for(2);

    wait_until("both are settled", async || running.report().completed == 2).await;
    for id in ids {
        assert_eq!(spy.get(id).await.unwrap().attempts, 1);
    }
    assert_eq!(running.stop().await.leases_lost, 0);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_lost_while_its_settle_is_on_its_way_is_counted_once() {
    let spy = Spy::on(queue());
    let gate = Gate::closed();
    let ids = enqueue_numbers(&spy, 1).await;
    spy.hold_settles(true);
    let builder = Worker::builder(spy.clone()).data_arc(Arc::clone(&gate)).handler(at_gate);
    let running = builder.visibility_timeout(30 * SECOND).build().unwrap().start();
    gate.open_for(1);
    wait_until("its settle is on its way", async || spy.calls(Call::Settle) == [1]).await;
    spy.cancel(ids[0]).await.unwrap();
    let beats = spy.calls(Call::Heartbeat).len();
    wait_until("heartbeats find it lost", async || spy.calls(Call::Heartbeat).len() > beats).await;

    spy.hold_settles(false);
    wait_until("the settle finds it lost", async || running.report().leases_lost > 0).await;

    assert_eq!(running.stop().await.leases_lost, 1);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_cancelled_while_it_waits_behind_a_long_one_is_counted_as_lost_once() {
    let (spy, gate) = (Spy::on(queue()), Gate::closed());
    let ids = enqueue_numbers(&spy, 2).await;
    let builder = Worker::builder(spy.clone()).data_arc(Arc::clone(&gate)).handler(at_gate);
    let running = builder.concurrency(1).prefetch(1).build().unwrap().start();
    gate.wait_for(1).await;
    wait_until("both are claimed", async || support::count(&spy, Status::Running).await == 2).await;
    spy.cancel(ids[1]).await.unwrap();
    wait_until("it is told", async || running.report().leases_lost == 1).await;

    // It is handed back while the first one still runs.
    let (report, ()) = tokio::join!(running.stop(), async {
        tokio::time::sleep(SECOND).await;
        gate.open_for(1);
    });

    assert_eq!((report.completed, report.released, report.leases_lost), (1, 0, 1));
    assert_eq!(spy.calls(Call::Settle), [1], "only the first was left to settle");
}

async fn ninety_seconds(_: Number) {
    tokio::time::sleep(90 * SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_has_gone_silent_costs_no_lease() {
    // One try of a beat, and all but its last.
    for silent in [1, 3] {
        let spy = Spy::on(queue());
        let id = spy.enqueue(Number { n: 1 }).await.unwrap();
        let builder = Worker::builder(spy.clone()).handler(ninety_seconds);
        let running = builder.visibility_timeout(30 * SECOND).build().unwrap().start();
        spy.silence_heartbeats(silent);

        let task = support::wait_for_status(&spy, id, Status::Completed).await;

        assert_eq!((task.attempts, task.reclaims), (1, 0), "{silent} silent");
        assert_eq!(running.stop().await.leases_lost, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_without_an_answer_holds_up_those_of_no_other_leases() {
    let spy = Spy::on(queue());
    let ids = enqueue_numbers(&spy, 1_500).await;
    let builder = Worker::builder(spy.clone()).handler(ninety_seconds).concurrency(1_500);
    let running = builder.visibility_timeout(30 * SECOND).build().unwrap().start();
    wait_until("all run", async || running.active() == 1_500).await;
    spy.silence_heartbeats(1);
    let start = Instant::now();

    wait_until("a beat", async || spy.calls(Call::Heartbeat).len() >= 2).await;
    assert!(start.elapsed() < 11 * SECOND, "{:?}", start.elapsed());
    assert_eq!(spy.calls(Call::Heartbeat), [1_000, 500], "the second did not wait for the first");

    wait_until("all are done", async || running.report().completed == 1_500).await;
    for id in ids {
        assert_eq!(spy.get(id).await.unwrap().attempts, 1);
    }
    assert_eq!(running.stop().await.leases_lost, 0);
}

#[tokio::test(start_paused = true)]
async fn no_more_than_four_heartbeats_are_under_way_where_none_is_answered() {
    let (spy, gate) = (Spy::on(queue()), Gate::closed());
    spy.silence_heartbeats(usize::MAX);
    spy.enqueue(Number { n: 1 }).await.unwrap();
    let builder = Worker::builder(spy.clone()).data_arc(Arc::clone(&gate)).handler(at_gate);
    let running = builder.visibility_timeout(30 * SECOND).concurrency(1).build().unwrap().start();
    gate.wait_for(1).await;

    tokio::time::sleep(600 * SECOND).await;

    assert_eq!(spy.calls(Call::Heartbeat), [1; 4]);
    drop(running);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_is_told_soon_and_no_beat_waits_for_it_where_a_connection_has_gone_silent() {
    async fn obedient(_: Number, cx: TaskContext, gate: Data<Gate>) {
        gate.open_for(1);
        gate.pass().await;
        cx.cancelled().cancelled().await;
    }
    let (spy, gate) = (Spy::on(queue()), Gate::closed());
    let ids = enqueue_numbers(&spy, 2).await;
    let builder = Worker::builder(spy.clone()).data_arc(Arc::clone(&gate)).handler(obedient);
    let running = builder.visibility_timeout(30 * SECOND).build().unwrap().start();
    gate.wait_for(2).await;
    tokio::time::sleep(9 * SECOND).await;
    let start = Instant::now();

    spy.silence_heartbeats(1);
    spy.cancel(ids[0]).await.unwrap();
    wait_until("a beat", async || spy.calls(Call::Heartbeat).len() >= 2).await;
    assert!(start.elapsed() < 2 * SECOND, "{:?}", start.elapsed());
    wait_until("its handler returns", async || running.active() == 1).await;

    assert!(start.elapsed() < 4 * SECOND, "{:?}", start.elapsed());
    drop(running);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_lost_while_its_outcome_waits_for_the_settler_is_counted_once() {
    let (spy, gate) = (Spy::on(queue()), Gate::closed());
    let ids = enqueue_numbers(&spy, 4).await;
    spy.hold_settles(true);
    let builder = Worker::builder(spy.clone()).data_arc(Arc::clone(&gate)).handler(at_gate).concurrency(4);
    let running = builder.visibility_timeout(30 * SECOND).build().unwrap().start();
    gate.wait_for(4).await;
    // As many settles as may be under way at once are late.
    for calls in 1..=3 {
        gate.open_for(1);
        wait_until("a settle is on its way", async || spy.calls(Call::Settle).len() == calls).await;
    }
    gate.open_for(1);
    wait_until("the last has returned", async || running.active() == 0).await;
    let settling = spy.calls(Call::Settle);
    for id in ids {
        spy.cancel(id).await.unwrap();
    }
    let beats = spy.calls(Call::Heartbeat).len();
    wait_until("a heartbeat finds them lost", async || spy.calls(Call::Heartbeat).len() > beats + 1).await;
    assert_eq!(spy.calls(Call::Settle), settling, "its outcome waits still");

    spy.hold_settles(false);
    wait_until("the settles find them lost", async || running.report().leases_lost >= 4).await;

    assert_eq!(running.stop().await.leases_lost, 4);
}
