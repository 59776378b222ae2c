//! Events that are told to whoever the bucket's notification configuration names, on a real queue.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use support::proof;
use taskqueue_core::payloads::EventPayload;
use taskqueue_core::{NewTask, Priority, Queue, Redrive, RetryPolicy, Task, TaskFilter, TaskType};
use taskqueue_handlers::HandlerError;
use taskqueue_handlers::event::{
    Destinations, EventNotification, EventRouter, EventSink, NotificationConfiguration,
};
use taskqueue_memory::MemoryQueue;
use taskqueue_worker::{Report, Worker};

/// Keeps what it is told, but for the first refusals.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<(usize, Vec<EventNotification>)>>);

impl Sink {
    fn refusing(times: usize) -> Self {
        Self(Arc::new(Mutex::new((times, Vec::new()))))
    }

    fn told(&self) -> Vec<EventNotification> {
        self.0.lock().unwrap().1.clone()
    }

    /// `configurationId` and key of each.
    fn records(&self) -> Vec<(String, String)> {
        let read = |notification: &EventNotification| {
            let json: serde_json::Value = serde_json::from_str(&notification.json).unwrap();
            let s3 = &json["Records"][0]["s3"];
            let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
            (text(&s3["configurationId"]), text(&s3["object"]["key"]))
        };
        self.told().iter().map(read).collect()
    }
}

#[async_trait]
impl EventSink for Sink {
    async fn deliver(&self, notification: &EventNotification) -> Result<(), HandlerError> {
        let (refusals, told) = &mut *self.0.lock().unwrap();
        if *refusals > 0 {
            *refusals -= 1;
            return Err(HandlerError::transient("not now"));
        }
        told.push(notification.clone());
        Ok(())
    }
}

type Configurations = BTreeMap<String, Arc<NotificationConfiguration>>;

/// Everything that is created is told to the log and, under `in/`, to the pictures and to nobody's queue.
fn configurations() -> Configurations {
    let json = r#"{"TopicConfigurations":[{"Id":"in","TopicArn":"arn:aws:sns:::pictures","Events":["s3:ObjectCreated:*"],
            "Filter":{"Key":{"FilterRules":[{"Name":"prefix","Value":"in/"}]}}}],
        "QueueConfigurations":[{"Id":"all","QueueArn":"log","Events":["s3:ObjectCreated:*"]}]}"#;
    [("photos".to_owned(), Arc::new(serde_json::from_str(json).unwrap()))].into()
}

fn event(bucket: &str, key: &str) -> NewTask {
    let event = EventPayload {
        event_name: "s3:ObjectCreated:Put".to_owned(),
        bucket: bucket.to_owned(),
        key: key.to_owned(),
        etag: "e".to_owned(),
        ..EventPayload::default()
    };
    NewTask::new(&event).unwrap()
}

fn worker(queue: &Arc<MemoryQueue>, destinations: Destinations) -> Worker {
    let handler = EventRouter::new(configurations(), destinations);
    let task_type = TaskType::of::<EventPayload>().unwrap();
    let builder = Worker::builder(Arc::clone(queue)).retry(RetryPolicy::fixed(Duration::ZERO));
    builder.handle(task_type, handler).build().unwrap()
}

async fn work(queue: &Arc<MemoryQueue>, pictures: &Sink, log: &Sink) -> Report {
    let destinations = Destinations::new().with("pictures", pictures.clone()).with("log", log.clone());
    worker(queue, destinations).drain().await
}

#[tokio::test]
async fn an_event_is_told_to_every_destination_whose_rule_matches() {
    let _proof = proof::begin("event", "every destination that a rule names is told", "the test's sinks");
    let (queue, pictures, log) = (Arc::new(MemoryQueue::new()), Sink::default(), Sink::default());
    queue.enqueue(event("photos", "in/a b.jpg")).await.unwrap();
    queue.enqueue(event("photos", "out/c.jpg")).await.unwrap();
    work(&queue, &pictures, &log).await;
    let pair = |id: &str, key: &str| (id.to_owned(), key.to_owned());
    assert_eq!(pictures.records(), [pair("in", "in/a+b.jpg")]);
    let mut logged = log.records();
    logged.sort();
    assert_eq!(logged, [pair("all", "in/a+b.jpg"), pair("all", "out/c.jpg")]);
    assert_eq!(log.told().iter().filter(|told| told.subject == "photos/out/c.jpg").count(), 1);
}

#[tokio::test]
async fn a_retry_goes_only_to_the_destination_that_has_not_confirmed() {
    let _proof = proof::begin("event", "a retry goes only to who has not confirmed", "the test's sinks");
    let (queue, pictures, log) = (Arc::new(MemoryQueue::new()), Sink::refusing(2), Sink::default());
    queue.enqueue(event("photos", "in/a.jpg")).await.unwrap();
    let report = work(&queue, &pictures, &log).await;
    assert_eq!((report.completed, report.failed), (3, 2));
    assert_eq!((pictures.told().len(), log.told().len()), (1, 1));
}

#[tokio::test]
async fn a_destination_that_never_confirms_is_a_dead_letter_and_no_other_ones_matter() {
    let (queue, pictures, log) = (Arc::new(MemoryQueue::new()), Sink::refusing(usize::MAX), Sink::default());
    queue.enqueue(event("photos", "in/a.jpg").max_retries(2)).await.unwrap();
    let report = work(&queue, &pictures, &log).await;
    assert_eq!((report.completed, report.failed, report.dead_lettered), (2, 1, 1));
    assert_eq!(log.told().len(), 1);
}

#[tokio::test]
async fn an_event_that_nobody_is_to_be_told_of_is_done() {
    let (queue, pictures, log) = (Arc::new(MemoryQueue::new()), Sink::default(), Sink::default());
    queue.enqueue(event("documents", "in/a.jpg")).await.unwrap();
    let report = work(&queue, &pictures, &log).await;
    assert_eq!((report.completed, report.dead_lettered), (1, 0));
    assert!(pictures.told().is_empty() && log.told().is_empty());
}

#[tokio::test]
async fn a_single_delivery_is_made_by_the_events_own_task() {
    let (queue, pictures, log) = (Arc::new(MemoryQueue::new()), Sink::default(), Sink::default());
    let id = queue.enqueue(event("photos", "out/a.jpg")).await.unwrap();
    assert_eq!(work(&queue, &pictures, &log).await.completed, 1);
    assert_eq!(log.told().iter().map(|told| told.id).collect::<Vec<_>>(), [id]);
}

async fn all(queue: &MemoryQueue) -> Vec<Task> {
    queue.list(&TaskFilter::default()).await.unwrap().tasks
}

/// A worker that dies between fanning out and settling leaves the event to the next one: what follows has the same ids,
/// and a queue passes over ids that it has.
#[tokio::test]
async fn fanning_out_twice_is_the_same_tasks_each_as_urgent_as_the_event() {
    let task =
        event("photos", "in/a.jpg").priority(Priority::HIGH).region("eu-north-1").metadata("trace", "7");
    let mut runs = Vec::new();
    for _ in 0..2 {
        let queue = Arc::new(MemoryQueue::new());
        queue.enqueue(task.clone()).await.unwrap();
        work(&queue, &Sink::default(), &Sink::default()).await;
        let tasks = all(&queue).await;
        for task in &tasks {
            assert_eq!((task.priority, task.region.as_deref()), (Priority::HIGH, Some("eu-north-1")));
            assert_eq!(task.metadata.get("trace").map(String::as_str), Some("7"));
        }
        runs.push(tasks.into_iter().map(|task| task.id).collect::<Vec<_>>());
    }
    assert_eq!(runs[0].len(), 3);
    assert_eq!(runs[0], runs[1]);
}

#[tokio::test]
async fn a_destination_that_this_worker_has_not_got_waits_for_one_that_has() {
    let (queue, log) = (Arc::new(MemoryQueue::new()), Sink::default());
    queue.enqueue(event("photos", "out/a.jpg")).await.unwrap();
    let report = worker(&queue, Destinations::new()).drain().await;
    assert_eq!((report.failed, report.dead_lettered), (2, 1));
    let error = all(&queue).await[0].last_error.clone();
    assert_eq!(error.as_deref(), Some("this worker has no destination \"log\""));
    let id = all(&queue).await[0].id;
    queue.redrive(&Redrive::Tasks(vec![id])).await.unwrap();
    assert_eq!(worker(&queue, Destinations::new().with("log", log.clone())).drain().await.completed, 1);
    assert_eq!(log.told().len(), 1);
}
