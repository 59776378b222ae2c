//! Traces through the queue and the worker, as an exporter of OpenTelemetry gets them.

#![allow(clippy::unwrap_used, reason = "these are tests, though some of it is outside a test function")]

mod support;

use std::sync::{Arc, Mutex};

use opentelemetry::trace::{SpanKind, Status, TracerProvider};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use support::{Letter, Number, SECOND, queue};
use taskqueue_worker::core::{Enqueued, Observed};
use taskqueue_worker::{Configure, NewTask, Outcome, Queue, RetryPolicy, TaskContext, TaskError, Worker};
use tracing::{Instrument, info_span};
use tracing_subscriber::layer::SubscriberExt;

/// Keeps what it is given.
#[derive(Debug, Clone, Default)]
struct Exported(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Exported {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

/// The spans of a test.
struct Spans(Vec<SpanData>);

impl Spans {
    fn all(&self, name: &str) -> Vec<&SpanData> {
        self.0.iter().filter(|span| span.name == name).collect()
    }

    fn one(&self, name: &str) -> &SpanData {
        match *self.all(name) {
            [span] => span,
            _ => {
                panic!("not one span {name}: {:?}", self.0.iter().map(|span| &span.name).collect::<Vec<_>>())
            }
        }
    }
}

/// Runs it in paused time, and answers the spans that have ended.
fn traced<F: Future<Output = ()>>(test: impl FnOnce() -> F) -> Spans {
    let exported = Exported::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exported.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, || runtime.block_on(test()));
    Spans(std::mem::take(&mut *exported.0.lock().unwrap()))
}

fn assert_is_child(child: &SpanData, parent: &SpanData) {
    assert_eq!(
        child.span_context.trace_id(),
        parent.span_context.trace_id(),
        "{} {}",
        child.name,
        parent.name
    );
    assert_eq!(child.parent_span_id, parent.span_context.span_id(), "{} {}", child.name, parent.name);
}

fn attribute(span: &SpanData, name: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == name);
    found.map(|attribute| attribute.value.to_string())
}

#[test]
fn a_task_is_handled_in_a_span_that_continues_the_trace_of_its_enqueue() {
    async fn handle(_: Number) {
        info_span!("inside").in_scope(|| {});
    }
    let spans = traced(|| async {
        let queue = queue();
        queue.enqueue(Number { n: 1 }).instrument(info_span!("request")).await.unwrap();
        Worker::builder(queue).handler(handle).build().unwrap().drain().await;
    });

    let (request, process) = (spans.one("request"), spans.one("process number"));
    assert_is_child(process, request);
    assert_is_child(spans.one("inside"), process);
    assert!(process.parent_span_is_remote);
    assert_eq!(process.span_kind, SpanKind::Consumer);
    let links: Vec<_> = process.links.iter().map(|link| link.span_context.span_id()).collect();
    assert_eq!(links, [request.span_context.span_id()], "who looks for links finds it as well");
    for (name, value) in
        [("system", "taskqueue"), ("operation.type", "process"), ("destination.name", "number")]
    {
        assert_eq!(attribute(process, &format!("messaging.{name}")).as_deref(), Some(value));
    }
}

#[test]
fn a_follow_up_and_what_a_handler_enqueues_continue_the_trace_of_the_handler() {
    async fn handle(number: Number, cx: TaskContext) -> Result<Outcome, TaskError> {
        if number.n > 1 {
            return Ok(Outcome::done().then(Number { n: number.n - 1 }));
        }
        cx.queue().enqueue(Letter { c: 'a' }).await?;
        Ok(Outcome::done())
    }
    async fn read(_: Letter) {}
    let spans = traced(|| async {
        let queue = queue();
        queue.enqueue(Number { n: 2 }).instrument(info_span!("request")).await.unwrap();
        Worker::builder(queue).handler(handle).handler(read).build().unwrap().drain().await;
    });

    let request = spans.one("request");
    let numbers = spans.all("process number");
    let [first, follow_up] = *numbers else { panic!("two numbers: {numbers:?}") };
    assert_is_child(first, request);
    assert_is_child(follow_up, first);
    assert_is_child(spans.one("enqueue"), follow_up);
    assert_is_child(spans.one("process letter"), spans.one("enqueue"));
}

#[test]
fn each_attempt_has_a_span_of_its_own_and_one_that_fails_says_so() {
    async fn second_time(_: Number, cx: TaskContext) -> Result<(), TaskError> {
        if cx.attempt() == 1 { Err("not yet".into()) } else { Ok(()) }
    }
    let spans = traced(|| async {
        let queue = queue();
        let id = queue.enqueue(Number { n: 1 }).instrument(info_span!("request")).await.unwrap();
        let handler = second_time.retry(RetryPolicy::fixed(SECOND));
        let running = Worker::builder(queue.clone()).handler(handler).build().unwrap().start();
        support::wait_for_status(&queue, id, taskqueue_worker::core::Status::Completed).await;
        running.stop().await;
    });

    let attempts = spans.all("process number");
    let statuses: Vec<_> = attempts.iter().map(|span| span.status.clone()).collect();
    assert_eq!(statuses, [Status::error("not yet"), Status::Unset]);
    attempts.iter().for_each(|attempt| assert_is_child(attempt, spans.one("request")));
}

#[test]
fn a_task_that_brings_its_own_context_keeps_it_and_one_of_no_trace_begins_one() {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    async fn handle(_: Number) {}
    let spans = traced(|| async {
        let (queue, own) = (queue(), NewTask::new(&Number { n: 1 }).unwrap());
        let own = own.metadata("traceparent", format!("00-{TRACE}-b7ad6b7169203331-01"));
        queue.enqueue(own).instrument(info_span!("request")).await.unwrap();
        queue.enqueue(Number { n: 2 }).await.unwrap();
        let malformed = NewTask::new(&Number { n: 3 }).unwrap().metadata("traceparent", "malformed");
        queue.enqueue(malformed).await.unwrap();
        Worker::builder(queue).concurrency(1).handler(handle).build().unwrap().drain().await;
    });

    let processed = spans.all("process number");
    let [own, none, malformed] = *processed else { panic!("three tasks: {processed:?}") };
    assert_eq!(own.span_context.trace_id().to_string(), TRACE);
    for root in [none, malformed] {
        assert_eq!((root.parent_span_id.to_string(), root.links.iter().count()), ("0".repeat(16), 0));
    }
}

#[test]
fn the_calls_of_an_observed_queue_have_spans_that_say_what_and_how_many() {
    let spans = traced(|| async {
        let queue = Observed::new(queue());
        let tasks = (1..=3).map(|n| NewTask::new(&Number { n }).unwrap()).collect();
        let created = queue.enqueue_many(tasks).instrument(info_span!("request")).await.unwrap();
        let stored = created.into_iter().map(Enqueued::id);
        let mut contexts = Vec::new();
        for id in stored {
            contexts.push(queue.inner().get(id).await.unwrap().metadata);
        }
        assert!(
            contexts[0].contains_key("traceparent") && contexts.windows(2).all(|pair| pair[0] == pair[1])
        );
        let request = taskqueue_worker::core::ClaimRequest::new(
            taskqueue_worker::WorkerId::new("w").unwrap(),
            [support::number_type()],
            2,
        );
        let claim = queue.dequeue_many(&request).await.unwrap().remove(0);
        queue.complete(claim.lease.clone()).await.unwrap();
        queue.cancel(taskqueue_worker::TaskId::generate()).await.unwrap_err();
    });

    assert_is_child(spans.one("enqueue"), spans.one("request"));
    let said = |name: &str| {
        let span = spans.one(name);
        let said = ["messaging.operation.name", "messaging.operation.type", "messaging.batch.message_count"];
        (span.span_kind.clone(), said.map(|name| attribute(span, name).unwrap_or_default()))
    };
    let texts = |name: &str, of_type: &str, tasks: &str| [name, of_type, tasks].map(str::to_owned);
    assert_eq!(said("enqueue"), (SpanKind::Producer, texts("enqueue", "send", "3")));
    assert_eq!(said("dequeue"), (SpanKind::Client, texts("dequeue", "receive", "2")));
    assert_eq!(said("settle"), (SpanKind::Client, texts("settle", "settle", "1")));
    assert_eq!(said("cancel"), (SpanKind::Client, texts("cancel", "", "")));
    assert_eq!(attribute(spans.one("cancel"), "error.type").as_deref(), Some("TaskNotFound"));
    assert!(matches!(spans.one("cancel").status, Status::Error { .. }));
}
