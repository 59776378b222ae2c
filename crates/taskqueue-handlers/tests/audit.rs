//! Audit records that are shipped in batches: what is written together, who is told, and what survives a failure.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod support;

use std::io::Read;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use flate2::read::GzDecoder;
use support::{Answer, Receiver, proof};
use taskqueue_core::payloads::AuditLogPayload;
use taskqueue_core::{NewTask, Queue, Status, TaskType};
use taskqueue_handlers::HandlerError;
use taskqueue_handlers::audit::{AuditBatch, AuditConfig, AuditDestination, AuditLogHandler, HttpAudit};
use taskqueue_handlers::webhook::{AddressPolicy, WebhookConfig, WebhookSender};
use taskqueue_memory::MemoryQueue;
use taskqueue_worker::Worker;
use tokio::sync::Semaphore;

/// Keeps what is written, once it is let through; refuses as often as it is told to.
#[derive(Default)]
struct Kept {
    batches: Mutex<Vec<AuditBatch>>,
    refusals: Mutex<usize>,
}

/// Writes wait for a permit of the gate.
#[derive(Clone)]
struct Gated {
    kept: Arc<Kept>,
    gate: Arc<Semaphore>,
}

impl Gated {
    fn open() -> Self {
        Self { kept: Arc::default(), gate: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)) }
    }

    fn lines(&self) -> Vec<Vec<String>> {
        self.kept.batches.lock().unwrap().iter().map(|batch| lines(&batch.gzip)).collect()
    }
}

#[async_trait]
impl AuditDestination for Gated {
    async fn write(&self, batch: &AuditBatch) -> Result<(), HandlerError> {
        let _permit = self.gate.acquire().await.unwrap();
        let mut refusals = self.kept.refusals.lock().unwrap();
        if *refusals > 0 {
            *refusals -= 1;
            return Err(HandlerError::transient("not now"));
        }
        self.kept.batches.lock().unwrap().push(batch.clone());
        Ok(())
    }
}

fn lines(gzip: &[u8]) -> Vec<String> {
    let mut text = String::new();
    GzDecoder::new(gzip).read_to_string(&mut text).unwrap();
    assert!(text.ends_with('\n'));
    text.lines().map(str::to_owned).collect()
}

fn record(number: usize) -> AuditLogPayload {
    AuditLogPayload {
        record_id: format!("record-{number:03}"),
        timestamp: 1_767_225_600_000_000_000,
        action: "s3:GetObject".to_owned(),
        ..AuditLogPayload::default()
    }
}

fn json(number: usize) -> String {
    serde_json::to_string(&record(number)).unwrap()
}

/// Nothing but a count or a size writes a batch.
fn patient() -> AuditConfig {
    AuditConfig::default().age_max(Duration::from_secs(3600))
}

fn worker(queue: &Arc<MemoryQueue>, destination: Gated, config: AuditConfig) -> Worker {
    let handler = AuditLogHandler::new(destination, config).unwrap();
    let task_type = TaskType::of::<AuditLogPayload>().unwrap();
    Worker::builder(Arc::clone(queue)).concurrency(100).handle(task_type, handler).build().unwrap()
}

async fn queue_of(records: usize) -> Arc<MemoryQueue> {
    let queue = Arc::new(MemoryQueue::new());
    let tasks = (0..records).map(|number| NewTask::new(&record(number)).unwrap()).collect();
    queue.enqueue_many(tasks).await.unwrap();
    queue
}

#[tokio::test]
async fn records_of_tasks_that_run_together_are_written_together() {
    let _proof = proof::begin(
        "audit_log",
        "records of tasks that run together are one batch",
        "the test's destination",
    );
    let destination = Gated::open();
    let queue = queue_of(100).await;
    let report = worker(&queue, destination.clone(), patient().records_max(50)).drain().await;
    assert_eq!(report.completed, 100);
    let batches = destination.lines();
    assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [50, 50]);
    let mut shipped = batches.concat();
    shipped.sort();
    assert_eq!(shipped, (0..100).map(json).collect::<Vec<_>>());
}

#[tokio::test]
async fn no_task_completes_before_the_batch_that_holds_its_record_is_written() {
    let destination = Gated { gate: Arc::new(Semaphore::new(0)), ..Gated::open() };
    let handler = AuditLogHandler::new(destination.clone(), patient().records_max(2)).unwrap();
    let mut shipping: Vec<_> = (0..2)
        .map(|number| {
            let handler = handler.clone();
            tokio::spawn(async move { handler.ship(&json(number)).await })
        })
        .collect();
    // The write is under way and cannot end: neither does anyone who waits for it.
    for handle in &mut shipping {
        let early = tokio::time::timeout(Duration::from_millis(50), handle).await;
        assert!(early.is_err(), "a record was reported shipped before it was written");
    }
    destination.gate.add_permits(1);
    for handle in shipping {
        handle.await.unwrap().unwrap();
    }
    assert_eq!(destination.lines(), [[json(0), json(1)]]);
}

#[tokio::test]
async fn a_batch_that_could_not_be_written_fails_all_its_records_and_they_are_shipped_again() {
    let _proof = proof::begin(
        "audit_log",
        "a batch that could not be written is shipped again",
        "the test's destination",
    );
    let destination = Gated::open();
    *destination.kept.refusals.lock().unwrap() = 1;
    let queue = queue_of(10).await;
    let handler = AuditLogHandler::new(destination.clone(), patient().records_max(10)).unwrap();
    let at_once = taskqueue_core::RetryPolicy::fixed(Duration::ZERO);
    let task_type = TaskType::of::<AuditLogPayload>().unwrap();
    let worker = Worker::builder(Arc::clone(&queue)).concurrency(100).retry(at_once);
    let report = worker.handle(task_type, handler).build().unwrap().drain().await;
    assert_eq!((report.completed, report.failed), (10, 10));
    assert_eq!(destination.lines().concat(), (0..10).map(json).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_written_when_its_first_record_has_waited_long_enough() {
    let destination = Gated::open();
    let handler = AuditLogHandler::new(destination.clone(), AuditConfig::default()).unwrap();
    let before = tokio::time::Instant::now();
    handler.ship(&json(0)).await.unwrap();
    assert_eq!(before.elapsed().as_secs(), 1);
    assert_eq!(destination.lines(), [[json(0)]]);
}

#[tokio::test]
async fn a_batch_is_written_when_it_has_enough_bytes() {
    let destination = Gated::open();
    let [one, two] = [json(0), json(1)];
    let config = patient().bytes_max(one.len() + 1);
    let handler = AuditLogHandler::new(destination.clone(), config).unwrap();
    let (first, second) = tokio::join!(handler.ship(&one), handler.ship(&two));
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(destination.lines(), [[json(0), json(1)]]);
}

#[tokio::test]
async fn a_handler_that_is_stopped_takes_no_others_record_with_it() {
    let destination = Gated { gate: Arc::new(Semaphore::new(0)), ..Gated::open() };
    let handler = AuditLogHandler::new(destination.clone(), patient().records_max(2)).unwrap();
    let other = handler.clone();
    let waits = tokio::spawn(async move { other.ship(&json(0)).await });
    tokio::task::yield_now().await;
    {
        // It fills the batch, so that the write is its doing; then it is stopped.
        let (second, mut stopped) = (json(1), tokio::time::interval(Duration::from_millis(50)));
        stopped.tick().await;
        tokio::select! {
            shipped = handler.ship(&second) => panic!("it was shipped: {shipped:?}"),
            _ = stopped.tick() => {}
        }
    }
    destination.gate.add_permits(1);
    waits.await.unwrap().unwrap();
    assert_eq!(destination.lines(), [[json(0), json(1)]]);
}

#[tokio::test]
async fn records_are_filed_under_the_hour_in_which_they_happened_and_the_same_ones_under_the_same_name() {
    let destination = Gated::open();
    let later = AuditLogPayload { timestamp: record(2).timestamp + 3_600_000_000_000, ..record(2) };
    let [first, second, third] = [json(0), json(1), serde_json::to_string(&later).unwrap()];
    for _ in 0..2 {
        let pair = AuditLogHandler::new(destination.clone(), patient().records_max(2)).unwrap();
        let (one, two) = tokio::join!(pair.ship(&first), pair.ship(&second));
        assert!(one.is_ok() && two.is_ok());
        let single = AuditLogHandler::new(destination.clone(), patient().age_max(Duration::ZERO)).unwrap();
        single.ship(&third).await.unwrap();
    }
    let mut names: Vec<_> = destination.kept.batches.lock().unwrap().iter().map(AuditBatch::name).collect();
    names.sort();
    assert_eq!(names[0], names[1]);
    assert_eq!(names[2], names[3]);
    assert!(names[0].starts_with("2026/01/01/00/") && names[2].starts_with("2026/01/01/01/"), "{names:?}");
    assert!(names.iter().all(|name| name.ends_with(".jsonl.gz")));
}

#[tokio::test]
async fn a_record_is_shipped_as_it_came_on_one_line() {
    let destination = Gated::open();
    let handler =
        AuditLogHandler::new(destination.clone(), AuditConfig::default().age_max(Duration::ZERO)).unwrap();
    let pretty = json(0).replacen('{', "{\r\n\"of_ours\": 1.50,\n", 1);
    handler.ship(&pretty).await.unwrap();
    assert_eq!(destination.lines(), [[json(0).replacen('{', "{  \"of_ours\": 1.50, ", 1)]]);
}

#[tokio::test]
async fn what_is_no_record_or_has_no_id_is_a_dead_letter_at_once() {
    let queue = Arc::new(MemoryQueue::new());
    let without_id = AuditLogPayload { record_id: String::new(), ..record(0) };
    let ids = [
        queue.enqueue(NewTask::raw("audit_log", r#"{"record_id":"1"}"#).unwrap()).await.unwrap(),
        queue.enqueue(NewTask::new(&without_id).unwrap()).await.unwrap(),
    ];
    worker(&queue, Gated::open(), AuditConfig::default()).drain().await;
    for id in ids {
        assert_eq!(queue.get(id).await.unwrap().status, Status::DeadLetter);
    }
}

#[tokio::test]
async fn a_batch_is_posted_as_compressed_json_lines() {
    let _proof =
        proof::begin("audit_log", "a batch is POSTed as JSON lines under gzip", "the tests' HTTP receiver");
    let receiver = Receiver::start(Answer::status("202 Accepted")).await;
    let sender = WebhookSender::new(WebhookConfig::default().addresses(AddressPolicy::Any)).unwrap();
    let destination = HttpAudit::new(sender, receiver.endpoint("/audit"));
    let handler = AuditLogHandler::new(destination, AuditConfig::default().age_max(Duration::ZERO)).unwrap();
    for _ in 0..2 {
        handler.ship(&json(7)).await.unwrap();
    }
    let [first, second] = <[_; 2]>::try_from(receiver.received()).unwrap();
    assert_eq!(first.header("content-encoding"), Some("gzip"));
    assert_eq!(first.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(lines(&first.body), [json(7)]);
    assert_eq!(first.header("webhook-id"), second.header("webhook-id"));
}

#[test]
fn a_batch_of_nothing_is_refused() {
    for config in [AuditConfig::default().records_max(0), AuditConfig::default().bytes_max(0)] {
        assert!(AuditLogHandler::new(Gated::open(), config).is_err());
    }
}
