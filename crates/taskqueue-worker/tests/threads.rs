//! The worker on several threads and in real time: races that paused time cannot show.

mod support;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use support::{Gate, Number, at_gate, enqueue_numbers, queue};
use taskqueue_memory::MemoryQueue;
use taskqueue_worker::core::Status;
use taskqueue_worker::{Configure, Data, Outcome, Queue, Worker};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_task_and_every_follow_up_is_handled_and_a_drain_sees_them_all() {
    async fn halve(number: Number, handled: Data<AtomicU32>) -> Outcome {
        handled.fetch_add(1, Ordering::SeqCst);
        if number.n == 0 { Outcome::done() } else { Outcome::done().then(Number { n: number.n / 2 }) }
    }
    let queue = MemoryQueue::new();
    let handled = Arc::new(AtomicU32::new(0));
    enqueue_numbers(&queue, 1000).await;
    let expected: u32 = (1..=1000_u32).map(|n| n.ilog2() + 2).sum();
    let builder =
        Worker::builder(queue.clone()).data_arc(Arc::clone(&handled)).handler(halve.concurrency(16));

    let report = builder.concurrency(32).build().unwrap().drain().await;

    assert_eq!((report.completed, handled.load(Ordering::SeqCst)), (u64::from(expected), expected));
    assert_eq!(support::count(&queue, Status::Completed).await, expected as usize);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn workers_that_share_a_queue_handle_each_task_once() {
    let queue = queue();
    let gate = Gate::closed();
    gate.open_for(2000);
    enqueue_numbers(&queue, 2000).await;
    let start = || {
        let builder = Worker::builder(queue.clone()).data_arc(Arc::clone(&gate)).handler(at_gate);
        builder.concurrency(8).build().unwrap().start()
    };

    let workers = [start(), start(), start()];
    gate.wait_for(2000).await;
    let mut completed = 0;
    for worker in workers {
        completed += worker.stop().await.completed;
    }

    assert_eq!((completed, gate.arrived()), (2000, 2000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_blocks_its_thread_does_not_keep_the_worker_from_stopping() {
    struct Valve {
        entered: Sender<()>,
        opened: Mutex<Receiver<()>>,
    }
    async fn block(_: Number, valve: Data<Valve>) {
        valve.entered.send(()).expect("the test listens");
        let _ = valve.opened.lock().expect("nobody panics").recv();
    }
    let (entered, has_entered) = channel();
    let (open, opened) = channel();
    let queue = MemoryQueue::new();
    let id = queue.enqueue(Number { n: 1 }).await.unwrap();
    let builder = Worker::builder(queue.clone()).data(Valve { entered, opened: Mutex::new(opened) });
    let running = builder.handler(block).grace_period(Duration::ZERO).cancel_period(Duration::ZERO);
    let running = running.build().unwrap().start();
    tokio::task::spawn_blocking(move || has_entered.recv()).await.unwrap().unwrap();

    let report = running.stop().await;

    assert_eq!((report.completed, report.released), (0, 0));
    assert_eq!(queue.get(id).await.unwrap().status, Status::Running, "it returns when its lease ends");
    open.send(()).unwrap();
}
