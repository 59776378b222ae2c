//! Cleanups on a store in memory: what a second run leaves alone, and what the task for the rest has of its parent.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "s3/lifecycle/rival.rs"]
mod rival;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use rival::{Between, Looks};
use taskqueue_core::metrics::Metrics;
use taskqueue_core::payloads::{CleanupPayload, CleanupScope};
use taskqueue_core::{Clock, ManualClock, NewTask, Priority, Queue, TaskFilter, TaskType};
use taskqueue_handlers::HandlerError;
use taskqueue_handlers::cleanup::{Cleaned, CleanupHandler, PAGES_PER_TASK};
use taskqueue_handlers::store::memory::{Fault, Operation};
use taskqueue_handlers::store::{
    Attributes, Condition, ListObjects, ListVersions, MemoryStore, ObjectRef, ObjectStore, StoreError,
    StoreErrorKind,
};
use taskqueue_memory::{MemoryConfig, MemoryQueue};
use taskqueue_worker::Worker;

async fn put(store: &MemoryStore, key: &str, data: &'static [u8]) {
    let (object, body) = (ObjectRef::new("b", key), Bytes::from_static(data).into());
    store.put(&object, &Attributes::default(), &Condition::Always, body).await.unwrap();
}

async fn clean_on(store: impl ObjectStore, payload: &CleanupPayload) -> Cleaned {
    CleanupHandler::new(Arc::new(store), &Metrics::default()).clean(payload).await.unwrap()
}

fn asked_at(clock: &ManualClock) -> CleanupPayload {
    CleanupPayload {
        bucket: "b".to_owned(),
        key: "k".to_owned(),
        requested_at: clock.now().timestamp_nanos_opt().unwrap(),
        ..CleanupPayload::default()
    }
}

fn removed(objects: u64, bytes: u64) -> Cleaned {
    Cleaned { objects, bytes, ..Cleaned::default() }
}

#[tokio::test]
async fn a_second_run_leaves_what_was_written_since_alone() {
    let clock = ManualClock::default();
    let store = MemoryStore::with_clock(clock.clone()).bucket("b");
    put(&store, "k", b"old").await;
    let payload = asked_at(&clock);
    assert_eq!(clean_on(store.clone(), &payload).await, removed(1, 3));
    clock.advance(Duration::from_secs(1));
    put(&store, "k", b"new").await;
    assert_eq!(clean_on(store.clone(), &payload).await, removed(0, 0));
    assert!(store.head(&ObjectRef::new("b", "k")).await.is_ok());
}

#[tokio::test]
async fn a_second_run_adds_no_delete_marker() {
    let clock = ManualClock::default();
    let store = MemoryStore::with_clock(clock.clone()).versioned_bucket("b");
    put(&store, "k", b"old").await;
    let payload = asked_at(&clock);
    for expected in [removed(1, 3), removed(0, 0)] {
        assert_eq!(clean_on(store.clone(), &payload).await, expected);
        let list = ListVersions { bucket: "b".to_owned(), ..ListVersions::default() };
        assert_eq!(store.list_versions(&list).await.unwrap().versions.len(), 2);
    }
}

#[test]
fn an_object_that_was_written_since_counts_as_skipped() {
    let (clock, recorder) = (ManualClock::default(), DebuggingRecorder::new());
    let store = MemoryStore::with_clock(clock.clone()).bucket("b");
    metrics::with_local_recorder(&recorder, || {
        let cleaning = async {
            let payload = asked_at(&clock);
            clean_on(store.clone(), &payload).await;
            clock.advance(Duration::from_secs(1));
            put(&store, "k", b"new").await;
            clean_on(store.clone(), &payload).await;
        };
        cleaning.now_or_never().unwrap();
    });
    let counted = recorder.snapshotter().snapshot().into_vec().into_iter().map(|(key, .., count)| {
        let outcome = key.key().labels().find(|label| label.key() == "outcome").unwrap().value().to_owned();
        (outcome, count)
    });
    let counted: BTreeMap<_, _> = counted.collect();
    let once = |outcome: &str| (outcome.to_owned(), DebugValue::Counter(1));
    assert_eq!(counted, BTreeMap::from([once("done"), once("skipped_changed")]));
}

#[tokio::test]
async fn what_was_written_within_the_second_of_the_request_goes() {
    let clock = ManualClock::default();
    let store = MemoryStore::with_clock(clock.clone()).bucket("b");
    let payload = asked_at(&clock);
    clock.advance(Duration::from_millis(999));
    put(&store, "k", b"old").await;
    assert_eq!(clean_on(store.clone(), &payload).await, removed(1, 3));
}

#[tokio::test]
async fn an_object_goes_whichever_it_is_where_nobody_says_when_that_was_asked_for() {
    let store = MemoryStore::new().bucket("b");
    put(&store, "k", b"data").await;
    let payload = CleanupPayload { bucket: "b".to_owned(), key: "k".to_owned(), ..CleanupPayload::default() };
    assert_eq!(clean_on(store.clone(), &payload).await.objects, 1);
    assert!(store.head(&ObjectRef::new("b", "k")).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn ages_count_from_the_tasks_enqueue_where_nobody_says_when_it_was_asked_for() {
    let clock = ManualClock::default();
    let store = MemoryStore::with_clock(clock.clone()).bucket("b");
    put(&store, "k", b"old").await;
    clock.advance(Duration::from_secs(60));
    put(&store, "k2", b"young").await;
    let (scope, older_than_seconds) = (Some(CleanupScope::Objects), Some(30));
    let payload = CleanupPayload { bucket: "b".to_owned(), scope, older_than_seconds, ..Default::default() };
    let config = MemoryConfig { clock: Arc::new(clock), ..MemoryConfig::default() };
    let queue = MemoryQueue::with_config(config).unwrap();
    queue.enqueue(NewTask::new(&payload).unwrap()).await.unwrap();
    let cleanup = TaskType::of::<CleanupPayload>().unwrap();
    let handler = CleanupHandler::new(Arc::new(store.clone()), &Metrics::default());
    let report = Worker::builder(queue).handle(cleanup, handler).build().unwrap().drain().await;
    assert_eq!(report.completed, 1);
    let is_there = async |key| store.head(&ObjectRef::new("b", key)).await.is_ok();
    assert_eq!((is_there("k").await, is_there("k2").await), (false, true));
}

#[tokio::test]
async fn a_longer_key_is_another_object() {
    let clock = ManualClock::default();
    let store = MemoryStore::with_clock(clock.clone()).bucket("b");
    put(&store, "k2", b"data").await;
    assert_eq!(clean_on(store.clone(), &asked_at(&clock)).await, removed(0, 0));
    assert!(store.head(&ObjectRef::new("b", "k2")).await.is_ok());
}

#[tokio::test]
async fn a_bucket_that_is_missing_is_an_error() {
    let store = MemoryStore::new().bucket("another");
    let handler = CleanupHandler::new(Arc::new(store), &Metrics::default());
    assert!(handler.clean(&asked_at(&ManualClock::default())).await.unwrap_err().is_permanent());
}

#[tokio::test]
async fn a_payload_that_contradicts_itself_deletes_nothing() {
    let key = |key: &str| CleanupPayload { key: key.to_owned(), ..asked_at(&ManualClock::default()) };
    let of = |scope| CleanupPayload { scope: Some(scope), ..key("") };
    let contradicting = [
        CleanupPayload { scope: Some(CleanupScope::Objects), ..key("tmp/") },
        CleanupPayload { scope: Some(CleanupScope::Versions), ..key("tmp/") },
        CleanupPayload { version_id: Some("1".to_owned()), ..of(CleanupScope::Versions) },
        CleanupPayload { older_than_seconds: Some(2_592_000), ..key("logs/a") },
        CleanupPayload { keep_count: Some(1), ..key("logs/a") },
        CleanupPayload { prefix: Some("logs/".to_owned()), ..key("logs/a") },
        CleanupPayload { continue_after: Some("a".to_owned()), ..key("logs/a") },
        // Nothing is older than 1970.
        CleanupPayload { requested_at: 0, ..of(CleanupScope::Objects) },
    ];
    for payload in contradicting {
        let store = MemoryStore::new().bucket("b");
        let handler = CleanupHandler::new(Arc::new(store.clone()), &Metrics::default());
        assert!(handler.clean(&payload).await.unwrap_err().is_permanent(), "{payload:?}");
        assert_eq!(store.calls(), [], "{payload:?}");
    }
}

struct Rival(MemoryStore);

#[async_trait]
impl Looks for Rival {
    fn store(&self) -> &dyn ObjectStore {
        &self.0
    }

    async fn looked(&self) {
        put(&self.0, "k", b"new").await;
    }
}

#[tokio::test]
async fn what_is_written_between_look_and_delete_stays() {
    let clock = ManualClock::default();
    let store = MemoryStore::with_clock(clock.clone()).bucket("b");
    put(&store, "k", b"old").await;
    assert_eq!(clean_on(Between(Rival(store.clone())), &asked_at(&clock)).await, removed(0, 0));
    assert!(store.head(&ObjectRef::new("b", "k")).await.is_ok());
}

#[tokio::test]
async fn a_store_that_knows_no_conditions_is_asked_without() {
    let clock = ManualClock::default();
    let store = MemoryStore::with_clock(clock.clone()).bucket("b");
    put(&store, "k", b"old").await;
    let unknown = StoreError::new(StoreErrorKind::NotSupported, "delete b/k: no conditions");
    store.inject(Fault::fail(Operation::Delete, unknown));
    assert_eq!(clean_on(store.clone(), &asked_at(&clock)).await, removed(1, 3));
    assert!(store.head(&ObjectRef::new("b", "k")).await.unwrap_err().is_not_found());
}

/// A store in which one object is locked.
struct Locks(MemoryStore, &'static str);

#[async_trait]
impl Looks for Locks {
    fn store(&self) -> &dyn ObjectStore {
        &self.0
    }

    async fn looked(&self) {}

    fn is_locked(&self, object: &ObjectRef) -> bool {
        object.key == self.1
    }
}

/// A cleanup of all objects of a bucket with so many, of which one is locked; and the keys that it left.
async fn cleaned_but_locked(objects: usize, locked: &'static str) -> (Result<Cleaned, HandlerError>, usize) {
    let clock = ManualClock::default();
    let store = MemoryStore::with_clock(clock.clone()).bucket("b");
    for number in 0..objects {
        put(&store, &format!("{number:06}"), b"").await;
    }
    let payload =
        CleanupPayload { scope: Some(CleanupScope::Objects), key: String::new(), ..asked_at(&clock) };
    let handler = CleanupHandler::new(Arc::new(Between(Locks(store.clone(), locked))), &Metrics::default());
    let cleaned = handler.clean(&payload).await;
    let list = ListObjects { bucket: "b".to_owned(), ..ListObjects::default() };
    let left = store.list(&list).await.unwrap().objects;
    assert!(left.iter().any(|object| object.key == locked));
    (cleaned, left.len())
}

#[tokio::test]
async fn an_object_that_may_not_be_deleted_keeps_no_other() {
    let (cleaned, left) = cleaned_but_locked(1_500, "000007").await;
    let error = cleaned.unwrap_err();
    assert!(error.is_permanent() && error.to_string().contains("b: 1 may not be deleted"), "{error}");
    assert_eq!(left, 1);
}

#[tokio::test]
async fn a_cleanup_that_met_what_may_not_be_deleted_goes_on_with_the_rest() {
    let pages = PAGES_PER_TASK * 1000;
    let (cleaned, left) = cleaned_but_locked(pages + 1, "000007").await;
    let continue_after = Some(format!("{:06}", pages - 1));
    let objects = u64::try_from(pages).unwrap() - 1;
    let expected = Cleaned { objects, refused: 1, continue_after, ..Cleaned::default() };
    assert_eq!((cleaned.unwrap(), left), (expected, 2));
}

/// A store whose listings begin with a page that has no objects and is not the last.
struct BeginsEmpty(MemoryStore);

#[async_trait]
impl Looks for BeginsEmpty {
    fn store(&self) -> &dyn ObjectStore {
        &self.0
    }

    async fn looked(&self) {}

    fn begins_with_an_empty_page(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn an_empty_page_is_not_the_end_of_a_listing() {
    for scope in [CleanupScope::Object, CleanupScope::Objects] {
        let clock = ManualClock::default();
        let store = MemoryStore::with_clock(clock.clone()).bucket("b");
        put(&store, "k", b"old").await;
        let key = if scope == CleanupScope::Object { "k" } else { "" };
        let payload = CleanupPayload { scope: Some(scope), key: key.to_owned(), ..asked_at(&clock) };
        assert_eq!(clean_on(Between(BeginsEmpty(store.clone())), &payload).await, removed(1, 3));
        assert!(store.head(&ObjectRef::new("b", "k")).await.unwrap_err().is_not_found());
    }
}

#[tokio::test]
async fn the_task_for_the_rest_is_like_the_one_that_it_follows() {
    let clock = ManualClock::default();
    let store = MemoryStore::with_clock(clock.clone()).bucket("b");
    for number in 0..=PAGES_PER_TASK * 1000 {
        put(&store, &format!("{number:06}"), b"").await;
    }
    let payload =
        CleanupPayload { scope: Some(CleanupScope::Objects), key: String::new(), ..asked_at(&clock) };
    let task = NewTask::new(&payload).unwrap().priority(Priority::HIGH).max_retries(7);
    let queue = MemoryQueue::new();
    let first = queue.enqueue(task.region("eu-north-1").metadata("trace", "7")).await.unwrap();
    let cleanup = TaskType::of::<CleanupPayload>().unwrap();
    let handler = CleanupHandler::new(Arc::new(store), &Metrics::default());
    Worker::builder(queue.clone()).handle(cleanup, handler).build().unwrap().drain().await;
    let tasks = queue.list(&TaskFilter::default()).await.unwrap().tasks;
    let rest: Vec<_> = tasks.into_iter().filter(|task| task.id != first).collect();
    let [rest] = rest.as_slice() else { panic!("one task goes on: {rest:?}") };
    assert_eq!((rest.priority, rest.max_retries), (Priority::HIGH, 7));
    assert_eq!((rest.region.as_deref(), rest.metadata["trace"].as_str()), (Some("eu-north-1"), "7"));
}
