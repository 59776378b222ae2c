//! Producers that insert their tasks by SQL: that what `docs/sql.md` shows makes tasks like any other.

use taskqueue_core::{
    Claim, ClaimRequest, Enqueued, NewTask, Priority, Queue, Status, TaskFilter, TaskType, WorkerId,
};

const PAGE: &str = include_str!("../../../docs/sql.md");
const TYPE: &str = "welcome";
const KEY: &str = "user-1";

/// Runs the page's statements of an engine on a new queue. `run` runs a text of several statements; one whose key is held may
/// fail, and must leave no transaction open.
///
/// # Panics
/// Where one of them does not do what the page says.
pub async fn assert_inserted_tasks_are_like_any_other(
    queue: &dyn Queue,
    engine: &str,
    mut run: impl AsyncFnMut(&'static str),
) {
    run(statement(engine, "at once")).await;
    let first = claim(queue).await.expect("it is ready");
    assert_eq!(first.task.payload.as_str(), r#"{"user": 1}"#);
    assert_eq!((first.task.priority, first.task.attempts, first.task.max_retries), (Priority::NORMAL, 1, 3));
    queue.complete(first.lease).await.expect("it is running");
    assert_eq!(queue.stats().await.expect("the queue answers").completed, 1);

    run(statement(engine, "in an hour")).await;
    let listed = queue.list(&TaskFilter::default()).await.expect("the queue answers").tasks;
    let later = listed.iter().find(|task| task.status == Status::Pending).expect("it waits");
    let delay = (later.scheduled_at - later.created_at).num_seconds();
    assert!((3_599..=3_601).contains(&delay), "it is due {delay} s after it was made");
    assert_eq!(claim(queue).await.map(|claim| claim.task.id), None, "it is not due");

    let unique = statement(engine, "unless one with this key is unfinished");
    run(unique).await;
    run(unique).await;
    let task = NewTask::raw(TYPE, "1").expect("a valid task").unique_key(KEY);
    let answers = queue.enqueue_many(vec![task]).await.expect("the queue answers");
    assert!(matches!(answers[..], [Enqueued::Duplicate(_)]), "{answers:?}");
    let held = claim(queue).await.expect("it is ready");
    assert_eq!(held.task.unique_key.as_deref(), Some(KEY));
    queue.complete(held.lease).await.expect("it is running");
    run(unique).await;
    assert!(claim(queue).await.is_some(), "the key was let go");
    assert_eq!(claim(queue).await.map(|claim| claim.task.id), None, "each was inserted once");
}

async fn claim(queue: &dyn Queue) -> Option<Claim> {
    let worker = WorkerId::new("ada").expect("a valid id");
    let types = [TaskType::new(TYPE).expect("a valid type")];
    queue.dequeue_many(&ClaimRequest::new(worker, types, 1)).await.expect("the queue answers").pop()
}

/// The page's statement that begins with this comment.
fn statement(engine: &str, what: &str) -> &'static str {
    let title = format!("-- {engine}: {what}\n");
    let block = PAGE.split("```sql\n").find_map(|block| block.strip_prefix(&title));
    block.and_then(|block| block.split("```").next()).unwrap_or_else(|| panic!("the page has no {title:?}"))
}
