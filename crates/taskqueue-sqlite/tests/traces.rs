//! Trace context in a SQL backend: every way of enqueueing gives tasks the current one. With OpenTelemetry's API alone;
//! the worker's tests have spans of `tracing`.

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use sqlx::{Connection, SqliteConnection};
use taskqueue_sqlite::trace::{TRACEPARENT, TRACESTATE};
use taskqueue_sqlite::{
    ClaimRequest, Enqueued, Metadata, NewTask, Outcome, Queue, Settlement, SqliteQueue, TaskId, TaskType,
    WorkerId,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// Makes the span with this number the current one.
fn enter(span: u64) -> opentelemetry::ContextGuard {
    let trace = TraceId::from_hex(TRACE).expect("it is hexadecimal");
    let state = TraceState::from_key_value([("vendor", "1")]).expect("it is well-formed");
    let span = SpanContext::new(trace, SpanId::from(span), TraceFlags::SAMPLED, true, state);
    Context::new().with_remote_span_context(span).attach()
}

fn metadata(span: u64) -> Metadata {
    let parent = format!("00-{TRACE}-{span:016x}-01");
    [(TRACEPARENT.to_owned(), parent), (TRACESTATE.to_owned(), "vendor=1".to_owned())].into()
}

fn task() -> NewTask {
    NewTask::raw("welcome", "1").expect("it is JSON")
}

#[tokio::test]
async fn every_way_of_enqueueing_gives_tasks_the_current_trace_context() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("q.db").display().to_string();
    let queue = SqliteQueue::connect(&path).await.unwrap();
    queue.migrate().await.unwrap();
    let mut connection = SqliteConnection::connect(&path).await.unwrap();
    let outside = queue.enqueue(task()).await.unwrap();
    let mut given: Vec<(TaskId, u64)> = Vec::new();

    let one = enter(1);
    given.push((queue.enqueue(task()).await.unwrap(), 1));
    drop(one);
    let many = enter(2);
    let ids = queue.enqueue_many(vec![task().unique_key("k"), task()]).await.unwrap();
    given.extend(ids.into_iter().map(Enqueued::id).map(|id| (id, 2)));
    drop(many);
    let joined = enter(3);
    let mut tx = connection.begin().await.unwrap();
    given.push((queue.enqueue_in(&mut tx, task()).await.unwrap(), 3));
    tx.commit().await.unwrap();
    drop(joined);
    let types = [TaskType::new("welcome").unwrap()];
    let request = ClaimRequest::new(WorkerId::new("w").unwrap(), types, 2);
    let mut leases = queue.dequeue_many(&request).await.unwrap().into_iter().map(|claim| claim.lease);
    let follow_ups = [task(), task()];
    let done = |next: &NewTask, lease| vec![Settlement::new(lease, Outcome::done().then(next.clone()))];
    let settling = enter(4);
    queue.settle_many(done(&follow_ups[0], leases.next().unwrap())).await.unwrap();
    let mut tx = connection.begin().await.unwrap();
    queue.settle_in(&mut tx, done(&follow_ups[1], leases.next().unwrap())).await.unwrap();
    tx.commit().await.unwrap();
    drop(settling);
    given.extend(follow_ups.iter().map(|task| (task.id, 4)));

    for (id, span) in given {
        assert_eq!(queue.get(id).await.unwrap().metadata, metadata(span), "of span {span}");
    }
    assert_eq!(queue.get(outside).await.unwrap().metadata, Metadata::new());
}
