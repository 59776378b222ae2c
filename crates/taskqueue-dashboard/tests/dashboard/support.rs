//! What the tests share: requests, what they are answered, and tasks in every state.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use serde_json::Value;
use taskqueue_dashboard::{Actions, Dashboard, DashboardBuilder};
use taskqueue_memory::{
    ClaimRequest, MemoryQueue, NewTask, Outcome, Queue, Retry, TaskId, TaskType, WorkerId,
};
use tower::ServiceExt as _;

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// What a request was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("no JSON: {error}: {self:?}"))
    }

    #[track_caller]
    pub(crate) fn shows(&self, texts: &[&str]) {
        assert_eq!(self.status, 200, "{self:?}");
        for text in texts {
            assert!(self.body.contains(text), "it does not show {text:?}: {}", self.body);
        }
    }

    #[track_caller]
    pub(crate) fn shows_not(&self, text: &str) {
        assert!(self.status == 200 && !self.body.contains(text), "it shows {text:?}: {self:?}");
    }
}

pub(crate) async fn answer(app: &Router, request: Request<Body>) -> Answer {
    let response = app.clone().oneshot(request).await.expect("a router never fails");
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.expect("it is in memory").to_bytes();
    let body = String::from_utf8(bytes.to_vec()).expect("UTF-8");
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Request<Body> {
    let request = Request::builder().method(method).uri(path).header("host", "localhost:8686");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(Body::from(body.to_owned())).expect("a request")
}

pub(crate) async fn get(app: &Router, path: &str) -> Answer {
    answer(app, request("GET", path, &[], "")).await
}

/// As one of its own pages does.
pub(crate) async fn post(app: &Router, path: &str, form: &str) -> Answer {
    answer(app, request("POST", path, &[("sec-fetch-site", "same-origin")], form)).await
}

pub(crate) fn router(builder: DashboardBuilder) -> Router {
    builder.build().expect("nothing contradicts itself").router()
}

/// A dashboard that may act.
pub(crate) fn acting_on(queue: &MemoryQueue) -> Router {
    router(Dashboard::builder(queue.clone()).actions(Actions::Allowed))
}

pub(crate) fn task_type(name: &str) -> TaskType {
    TaskType::new(name).expect("a valid type")
}

pub(crate) async fn enqueue(queue: &MemoryQueue, name: &str, tasks: usize) -> Vec<TaskId> {
    enqueue_all(queue, numbered(name, tasks).collect()).await
}

/// So many tasks that are due in an hour.
pub(crate) async fn enqueue_later(queue: &MemoryQueue, name: &str, tasks: usize) -> Vec<TaskId> {
    enqueue_all(queue, numbered(name, tasks).map(|task| task.delay(HOUR)).collect()).await
}

fn numbered(name: &str, tasks: usize) -> impl Iterator<Item = NewTask> {
    (0..tasks).map(move |n| NewTask::raw(name, format!("{{\"n\":{n}}}")).expect("a valid task"))
}

async fn enqueue_all(queue: &MemoryQueue, tasks: Vec<NewTask>) -> Vec<TaskId> {
    let enqueued = queue.enqueue_many(tasks).await.expect("there is room");
    enqueued.into_iter().map(taskqueue_memory::Enqueued::id).collect()
}

/// Claims what is ready of a type, as a worker of this name.
pub(crate) async fn claim(queue: &MemoryQueue, name: &str, worker: &str) -> Vec<taskqueue_memory::Claim> {
    let worker = WorkerId::new(worker).expect("a valid id");
    queue.dequeue_many(&ClaimRequest::new(worker, [task_type(name)], 10_000)).await.expect("it is open")
}

/// So many dead letters, which died of `error`.
pub(crate) async fn dead_letters(queue: &MemoryQueue, name: &str, tasks: usize, error: &str) -> Vec<TaskId> {
    let ids = enqueue(queue, name, tasks).await;
    for claim in claim(queue, name, "killer").await {
        let outcome = Outcome::Fail { error: error.to_owned(), retry: Retry::Never };
        queue.settle(claim.lease, outcome).await.expect("the lease is live");
    }
    ids
}

/// A queue with tasks in every status: each type is named after it.
pub(crate) async fn full() -> MemoryQueue {
    let queue = MemoryQueue::new();
    dead_letters(&queue, "dead", 2, "it broke").await;
    enqueue(&queue, "waiting", 3).await;
    for name in ["running", "done", "retried", "cancelled"] {
        enqueue(&queue, name, 1).await;
    }
    claim(&queue, "running", "worker-1").await;
    let done = claim(&queue, "done", "worker-1").await.remove(0);
    queue.complete(done.lease).await.expect("the lease is live");
    let retried = claim(&queue, "retried", "worker-1").await.remove(0);
    let retry = Retry::After(HOUR);
    queue.settle(retried.lease, Outcome::Fail { error: "once more".into(), retry }).await.expect("live");
    let cancelled = claim(&queue, "cancelled", "worker-1").await.remove(0);
    queue.cancel(cancelled.task.id).await.expect("it is there");
    queue.pause(&task_type("waiting")).await.expect("it is open");
    queue
}
