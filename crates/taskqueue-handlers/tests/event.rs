//! Event notifications on a real queue: to a webhook, and to a file.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod support;

use support::{Answer, Receiver};
use taskqueue_core::payloads::EventPayload;
use taskqueue_core::{NewTask, Queue, TaskType};
use taskqueue_handlers::event::{Durability, EventHandler, EventSink, FileSink, RecordConfig, WebhookSink};
use taskqueue_handlers::webhook::{AddressPolicy, WebhookConfig, WebhookSender};
use taskqueue_memory::MemoryQueue;
use taskqueue_worker::{Report, Worker};

fn event(key: &str) -> EventPayload {
    EventPayload {
        event_name: "s3:ObjectCreated:Put".to_owned(),
        bucket: "photos".to_owned(),
        key: key.to_owned(),
        size: 3,
        etag: "900150983cd24fb0d6963f7d28e17f72".to_owned(),
        timestamp: 1_767_225_600_000,
        sequencer: "01".to_owned(),
        ..EventPayload::default()
    }
}

async fn work(queue: MemoryQueue, sink: impl EventSink) -> Report {
    let handler = EventHandler::new(sink).record(RecordConfig::default().region("eu-north-1"));
    let task_type = TaskType::of::<EventPayload>().unwrap();
    Worker::builder(queue).handle(task_type, handler).build().unwrap().drain().await
}

#[tokio::test]
async fn an_event_task_is_posted_as_an_s3_record() {
    let receiver = Receiver::start(Answer::status("200 OK")).await;
    let queue = MemoryQueue::new();
    let task = NewTask::new(&event("a b.txt")).unwrap().region("eu-west-2");
    let id = queue.enqueue(task).await.unwrap();
    let sender = WebhookSender::new(WebhookConfig::default().addresses(AddressPolicy::Any)).unwrap();
    let report = work(queue, WebhookSink::new(sender, receiver.endpoint("/events"))).await;
    assert_eq!(report.completed, 1);
    let request = receiver.only();
    assert_eq!(request.header("webhook-id"), Some(id.to_string().as_str()));
    let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(body["Records"][0]["s3"]["object"]["key"], "a+b.txt");
    assert_eq!(body["Records"][0]["eventName"], "ObjectCreated:Put");
    assert_eq!(body["Records"][0]["awsRegion"], "eu-west-2");
}

#[tokio::test]
async fn every_event_task_is_one_line_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    let queue = MemoryQueue::new();
    let keys: Vec<String> = (0..50).map(|number| format!("key-{number:02}")).collect();
    queue.enqueue_many(keys.iter().map(|key| NewTask::new(&event(key)).unwrap()).collect()).await.unwrap();
    let report = work(queue, FileSink::open(&path, Durability::Buffered).unwrap()).await;
    assert_eq!(report.completed, 50);
    let text = std::fs::read_to_string(&path).unwrap();
    let mut delivered: Vec<String> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .inspect(|line| assert_eq!(line["Records"][0]["awsRegion"], "eu-north-1"))
        .map(|line| line["Records"][0]["s3"]["object"]["key"].as_str().unwrap().to_owned())
        .collect();
    delivered.sort();
    assert_eq!(delivered, keys);
}

#[tokio::test]
async fn a_payload_that_is_no_event_is_a_dead_letter_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let queue = MemoryQueue::new();
    queue.enqueue(NewTask::raw("event", r#"{"bucket":"photos"}"#).unwrap()).await.unwrap();
    let sink = FileSink::open(folder.path().join("events.jsonl"), Durability::Buffered).unwrap();
    assert_eq!(work(queue, sink).await.dead_lettered, 1);
}
