//! Event tasks for the tests of sinks, and a worker that delivers them while a test breaks the network under it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use taskqueue_core::payloads::EventPayload;
use taskqueue_core::{NewTask, Queue, RetryPolicy, TaskId, TaskType};
use taskqueue_handlers::event::{EventHandler, EventNotification, EventSink};
use taskqueue_memory::MemoryQueue;
use taskqueue_worker::Worker;

/// How long a delivery of many may take.
const DELIVER_MAX: Duration = Duration::from_secs(120);
/// How long is waited for anything else.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// A name that no other test has.
pub(crate) fn unique(what: &str) -> String {
    format!("{what}-{}", TaskId::generate())
}

pub(crate) fn notification(key: &str) -> EventNotification {
    EventNotification::new(TaskId::generate(), format!("{{\"key\":{key:?}}}"))
        .subject(format!("photos/{key}"))
}

fn event(number: usize) -> NewTask {
    let payload = EventPayload {
        event_name: "s3:ObjectCreated:Put".to_owned(),
        bucket: "photos".to_owned(),
        key: format!("{number:03}"),
        etag: "e".to_owned(),
        ..EventPayload::default()
    };
    // As many attempts as it takes: what is tested is that none of the failures is taken for a final one.
    NewTask::new(&payload).unwrap().max_retries(1000)
}

/// The keys that [`deliver`] tells of.
pub(crate) fn keys(count: usize) -> BTreeSet<String> {
    (0..count).map(|number| format!("{number:03}")).collect()
}

/// Delivers so many events, and returns how many attempts failed once all are delivered.
pub(crate) async fn deliver(count: usize, sink: impl EventSink) -> u64 {
    let queue = Arc::new(MemoryQueue::new());
    queue.enqueue_many((0..count).map(event).collect()).await.unwrap();
    let task_type = TaskType::of::<EventPayload>().unwrap();
    let retry = RetryPolicy::fixed(Duration::from_millis(20));
    let (sink, mut completed, mut failed) = (Arc::new(sink), 0, 0);
    let limit = tokio::time::Instant::now() + DELIVER_MAX;
    let mut again = tokio::time::interval(Duration::from_millis(20));
    // A drain ends when all that is left waits for its next attempt.
    while completed < count as u64 {
        again.tick().await;
        let worker = Worker::builder(Arc::clone(&queue)).concurrency(8).retry(retry.clone());
        let handler = EventHandler::new(Arc::clone(&sink));
        let report = worker.handle(task_type.clone(), handler).build().unwrap().drain().await;
        assert_eq!(report.dead_lettered, 0, "a failure was taken for a final one");
        assert!(tokio::time::Instant::now() < limit, "not everything was delivered within {DELIVER_MAX:?}");
        completed += report.completed;
        failed += report.failed;
    }
    failed
}

/// The key of a delivered record.
pub(crate) fn key(json: &[u8]) -> String {
    let json: serde_json::Value = serde_json::from_slice(json).unwrap();
    json["Records"][0]["s3"]["object"]["key"].as_str().unwrap().to_owned()
}

/// Waits until it holds, at most [`WAIT_MAX`].
pub(crate) async fn wait_until(mut holds: impl AsyncFnMut() -> bool) {
    let limit = tokio::time::Instant::now() + WAIT_MAX;
    while !holds().await {
        assert!(tokio::time::Instant::now() < limit, "it did not come to hold within {WAIT_MAX:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
