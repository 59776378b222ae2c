//! What is claimed ahead of the slots without a prefetch of one's own, and what becomes of it when handlers are slow.

mod support;

use std::sync::Arc;

use support::{Gate, Letter, Number, SECOND, count, enqueue_numbers, queue, wait_until};
use taskqueue_memory::MemoryQueue;
use taskqueue_worker::core::Status;
use taskqueue_worker::{Data, Queue, RunningWorker, Worker, WorkerBuilder};
use tokio::time::Instant;

/// Numbers take no time, letters ten minutes.
fn quick_and_slow(queue: &MemoryQueue) -> WorkerBuilder {
    async fn quick(_: Number) {}
    async fn slow(_: Letter) {
        tokio::time::sleep(600 * SECOND).await;
    }
    Worker::builder(queue.clone()).handler(quick).handler(slow)
}

/// A worker all of whose five slots run slow tasks, and which has claimed quick ones ahead: 2,000 were done, 400 are not.
async fn behind_slow_ones(queue: &MemoryQueue) -> RunningWorker {
    enqueue_numbers(queue, 2_000).await;
    for c in 'a'..='e' {
        queue.enqueue(Letter { c }).await.expect("the queue is open");
    }
    enqueue_numbers(queue, 400).await;
    let running = quick_and_slow(queue).build().expect("the settings are valid").start();
    wait_until("all that was before them is done", async || running.report().completed == 2_000).await;
    assert_eq!(running.active(), 5);
    assert!(count(queue, Status::Running).await > 100, "many are claimed ahead");
    running
}

#[tokio::test(start_paused = true)]
async fn with_nothing_configured_quick_tasks_do_not_wait_behind_slow_ones_while_another_worker_is_idle() {
    let queue = queue();
    let stuck = behind_slow_ones(&queue).await;
    let start = Instant::now();

    let idle = quick_and_slow(&queue).build().unwrap().start();
    wait_until("all quick ones are done", async || count(&queue, Status::Completed).await == 2_400).await;

    assert!(start.elapsed() <= 5 * SECOND, "{:?}", start.elapsed());
    let (stuck, idle) = (stuck.report(), idle.stop().await);
    assert_eq!((idle.completed, idle.released), (400, 0));
    assert!(stuck.released <= 400, "each was released once: {}", stuck.released);
}

#[tokio::test(start_paused = true)]
async fn what_was_handed_back_keeps_its_attempts_and_is_claimed_by_the_same_worker_when_it_has_a_slot() {
    let queue = queue();
    let running = behind_slow_ones(&queue).await;

    wait_until("they are back", async || count(&queue, Status::Pending).await == 400).await;
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!((count(&queue, Status::Running).await, running.active()), (5, 5));
    assert!(running.report().released <= 400, "each was handed back once: {:?}", running.report());
    wait_until("all are done", async || running.report().completed == 2_405).await;

    let page = queue
        .list(&taskqueue_worker::core::TaskFilter { limit: 10_000, ..Default::default() })
        .await
        .unwrap();
    assert!(page.tasks.iter().all(|task| task.attempts == 1));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_hands_back_what_waits_behind_slow_tasks_and_ends_when_all_is_done() {
    let queue = queue();
    for c in 'a'..='d' {
        queue.enqueue(Letter { c }).await.unwrap();
    }
    enqueue_numbers(&queue, 2_000).await;
    queue.enqueue(Letter { c: 'e' }).await.unwrap();
    enqueue_numbers(&queue, 100).await;

    let report = quick_and_slow(&queue).build().unwrap().drain().await;

    assert_eq!((report.completed, report.failed), (2_105, 0));
    assert!((1..=100).contains(&report.released), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_drains_steadily_hands_nothing_back() {
    async fn steady(number: Number) {
        // From 5 to 45 ms: 200 a second in five slots.
        tokio::time::sleep(SECOND * (1 + number.n % 9) / 200).await;
    }
    let queue = queue();
    enqueue_numbers(&queue, 5_000).await;

    let report = Worker::builder(queue).handler(steady).build().unwrap().drain().await;

    assert_eq!((report.completed, report.released), (5_000, 0));
}

#[tokio::test(start_paused = true)]
async fn a_prefetch_that_was_set_and_a_single_slot_keep_what_they_hold_in_its_order() {
    async fn later_ones_wait(number: Number, gate: Data<Gate>) {
        if number.n > 20 {
            gate.pass().await;
        }
    }
    for (concurrency, prefetch) in [(2, Some(10)), (1, None)] {
        let (queue, gate) = (queue(), Gate::closed());
        enqueue_numbers(&queue, 40).await;
        let builder = Worker::builder(queue.clone()).data_arc(Arc::clone(&gate)).handler(later_ones_wait);
        let builder = builder.concurrency(concurrency);
        let builder = if let Some(tasks) = prefetch { builder.prefetch(tasks) } else { builder };
        let running = builder.build().unwrap().start();
        gate.wait_for(concurrency).await;
        tokio::time::sleep(SECOND / 10).await;
        let held = count(&queue, Status::Running).await;
        assert!(held > concurrency, "some are claimed ahead");

        tokio::time::sleep(600 * SECOND).await;

        assert_eq!((count(&queue, Status::Running).await, running.report().released), (held, 0));
        gate.open_for(20);
        wait_until("all are done", async || running.report().completed == 40).await;
        running.stop().await;
    }
}
