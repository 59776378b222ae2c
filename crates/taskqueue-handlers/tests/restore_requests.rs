//! Restores of one object by several requests, of versions, by workers that have lost their lease, and of which a task's
//! attempts run out; on a store in memory.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "s3/lifecycle/rival.rs"]
mod rival;
#[path = "support/told.rs"]
mod told;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Days, Utc};
use rival::{Between, Looks};
use taskqueue_core::metrics::Metrics;
use taskqueue_core::payloads::{LifecyclePayload, RestorePayload, RestoreTier};
use taskqueue_core::{Clock, ManualClock, NewTask, Queue, Status, TaskId, TaskType, WorkerId};
use taskqueue_handlers::HandlerError;
use taskqueue_handlers::lifecycle::{LifecycleHandler, LifecycleOutcome};
use taskqueue_handlers::restore::{
    RESTORED_UNTIL_KEY, RestoreHandler, RestoreProgress, RestoreStatus, RestoreStatusStore, Restored,
};
use taskqueue_handlers::store::memory::{Fault, Operation};
use taskqueue_handlers::store::{
    Attributes, Condition, MemoryStore, ObjectRef, ObjectStore, StoreError, StoreErrorKind,
};
use taskqueue_memory::{MemoryConfig, MemoryQueue};
use taskqueue_worker::Worker;
use tokio::sync::Notify;
use told::Told;

/// `b/k` is archived, and `vault/7` keeps its data; a bucket of versions is `v`.
struct Archive {
    clock: ManualClock,
    store: MemoryStore,
    told: Arc<Told>,
}

impl Archive {
    async fn new() -> Self {
        let clock = ManualClock::default();
        let store = MemoryStore::with_clock(clock.clone()).bucket("b").versioned_bucket("v").bucket("vault");
        let archive = Self { clock, store, told: Arc::default() };
        archive.put("vault", "data", None).await;
        archive.put("b", "stub", Some("GLACIER")).await;
        archive.passes(60);
        archive
    }

    fn passes(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    async fn put(&self, bucket: &str, data: &'static str, class: Option<&str>) -> Option<String> {
        let attributes = Attributes { storage_class: class.map(str::to_owned), ..Attributes::default() };
        let object = ObjectRef::new(bucket, if bucket == "vault" { "7" } else { "k" });
        let body = Bytes::from_static(data.as_bytes()).into();
        self.store.put(&object, &attributes, &Condition::Always, body).await.unwrap().version_id
    }

    /// A request of now.
    fn asks(&self, bucket: &str, days: u32) -> RestorePayload {
        RestorePayload {
            object_id: uuid::Uuid::nil(),
            bucket: bucket.to_owned(),
            key: "k".to_owned(),
            version_id: None,
            days,
            tier: RestoreTier::Bulk,
            storage_class: "GLACIER".to_owned(),
            transitioned_ref: Some("vault/7".to_owned()),
            requested_at: self.clock.now().timestamp_nanos_opt().unwrap(),
            request_id: format!("for {days} days"),
        }
    }

    fn handler(&self, store: impl ObjectStore) -> RestoreHandler {
        RestoreHandler::new(Arc::new(store), self.told.clone(), &Metrics::default()).clock(self.clock.clone())
    }

    fn queue(&self) -> MemoryQueue {
        let config = MemoryConfig { clock: Arc::new(self.clock.clone()), ..MemoryConfig::default() };
        MemoryQueue::with_config(config).unwrap()
    }

    async fn restore(&self, payload: &RestorePayload) -> Result<Restored, HandlerError> {
        self.handler(self.store.clone()).restore(payload).await
    }

    /// When the copy goes back, and by what.
    async fn copied(&self, payload: &RestorePayload) -> (DateTime<Utc>, LifecyclePayload) {
        match self.restore(payload).await.unwrap() {
            Restored::Copied { expires, back } => (expires, *back),
            other => panic!("it is copied at once: {other:?}"),
        }
    }

    async fn goes_back(&self, back: &LifecyclePayload) -> LifecycleOutcome {
        let handler = LifecycleHandler::new(Arc::new(self.store.clone()), &Metrics::default());
        handler.act(back).await.unwrap()
    }

    /// Works what is due, and lets the longest pause between two looks pass.
    async fn looks_once(&self, queue: &MemoryQueue) {
        let restore = TaskType::of::<RestorePayload>().unwrap();
        let worker = Worker::builder(queue.clone()).handle(restore, self.handler(self.store.clone()));
        worker.build().unwrap().drain().await;
        self.passes(15 * 60);
    }

    fn in_days(&self, days: u64) -> DateTime<Utc> {
        self.clock.now().checked_add_days(Days::new(days)).unwrap()
    }
}

#[tokio::test]
async fn a_longer_request_keeps_the_copy_from_going_back_with_a_shorter_one() {
    let archive = Archive::new().await;
    let (_, early) = archive.copied(&archive.asks("b", 1)).await;
    archive.passes(60);
    let (expires, late) = archive.copied(&archive.asks("b", 30)).await;
    assert_eq!(expires, archive.in_days(30));
    assert_eq!(archive.goes_back(&early).await, LifecycleOutcome::Changed);
    assert_eq!(archive.goes_back(&late).await, LifecycleOutcome::Done);
}

#[tokio::test]
async fn a_shorter_request_is_told_of_the_later_end_and_has_the_copy_go_back_then() {
    let archive = Archive::new().await;
    let long = archive.copied(&archive.asks("b", 30)).await;
    archive.passes(60);
    let (expires, back) = archive.copied(&archive.asks("b", 1)).await;
    assert_eq!((expires, &back.expected_mod_time), (long.0, &long.1.expected_mod_time));
    assert_eq!(archive.told.0.lock().unwrap()[1].expires_at, Some(long.0));
}

/// A request for one day that had looked before a copy was there, and writes its own over the first.
struct Shorter {
    store: MemoryStore,
    until: DateTime<Utc>,
}

#[async_trait]
impl Looks for Shorter {
    fn store(&self) -> &dyn ObjectStore {
        &self.store
    }

    async fn looked(&self) {}

    async fn copied(&self) {
        let mut attributes = Attributes::default();
        attributes.metadata.insert(RESTORED_UNTIL_KEY.to_owned(), self.until.to_rfc3339());
        let (object, body) = (ObjectRef::new("b", "k"), Bytes::from_static(b"data").into());
        self.store.put(&object, &attributes, &Condition::Always, body).await.unwrap();
    }
}

#[tokio::test]
async fn a_longer_request_whose_copy_a_shorter_one_has_replaced_extends_it() {
    let archive = Archive::new().await;
    let longer = archive.asks("b", 30);
    let shorter = Shorter { store: archive.store.clone(), until: archive.in_days(1) };
    let error = archive.handler(Between(shorter)).restore(&longer).await.unwrap_err();
    assert!(!error.is_permanent() && archive.told.statuses().is_empty(), "{error}");
    archive.passes(60);
    let (expires, _) = archive.copied(&longer).await;
    assert_eq!(expires, archive.in_days(30));
}

#[tokio::test]
async fn a_copy_that_could_not_be_told_from_the_one_before_it_is_made_later() {
    let archive = Archive::new().await;
    let (_, early) = archive.copied(&archive.asks("b", 1)).await;
    let longer = archive.asks("b", 30);
    let Restored::After(pause) = archive.restore(&longer).await.unwrap() else { panic!("it is too soon") };
    archive.clock.advance(pause);
    archive.copied(&longer).await;
    assert_eq!(archive.goes_back(&early).await, LifecycleOutcome::Changed);
}

#[tokio::test]
async fn a_version_that_is_not_the_current_one_is_refused_and_the_current_one_left_alone() {
    let archive = Archive::new().await;
    let old = archive.put("v", "stub 1", Some("GLACIER")).await;
    let current = archive.put("v", "stub 2", Some("GLACIER")).await;
    let of = |version_id| RestorePayload { version_id, ..archive.asks("v", 3) };
    let error = archive.restore(&of(old)).await.unwrap_err();
    assert!(error.is_permanent() && error.to_string().contains("another current version"), "{error}");
    let there = archive.store.head(&ObjectRef::new("v", "k")).await.unwrap();
    assert_eq!(there.version_id, current);
    // The copy is a version of its own; a second run knows it all the same.
    for _ in 0..2 {
        archive.copied(&of(current.clone())).await;
    }
}

#[tokio::test]
async fn a_version_of_an_object_that_was_deleted_is_refused_as_such() {
    let archive = Archive::new().await;
    let version_id = archive.put("v", "stub", Some("GLACIER")).await;
    archive.store.delete(&ObjectRef::new("v", "k"), &Condition::Always).await.unwrap();
    let payload = RestorePayload { version_id, ..archive.asks("v", 3) };
    let error = archive.restore(&payload).await.unwrap_err();
    assert!(error.is_permanent() && error.to_string().contains("has no current version"), "{error}");
    assert!(archive.store.head(&ObjectRef::new("v", "k")).await.unwrap_err().is_not_found());
}

/// Holds whoever looks until it is let go.
struct Frozen {
    store: MemoryStore,
    has_looked: Arc<Notify>,
    goes_on: Arc<Notify>,
}

#[async_trait]
impl Looks for Frozen {
    fn store(&self) -> &dyn ObjectStore {
        &self.store
    }

    async fn looked(&self) {
        self.has_looked.notify_one();
        self.goes_on.notified().await;
    }
}

#[tokio::test]
async fn a_worker_that_has_lost_its_lease_tells_nothing() {
    let archive = Archive::new().await;
    archive.put("b", "data", None).await;
    let payload = RestorePayload { transitioned_ref: None, ..archive.asks("b", 3) };
    let queue = archive.queue();
    queue.enqueue(NewTask::new(&payload).unwrap()).await.unwrap();
    // What it sees is that there is no such object: it would tell that the restore has failed.
    let absent = StoreError::new(StoreErrorKind::NotFound, "there is no b/k");
    archive.store.inject(Fault::fail(Operation::Head, absent));
    let (has_looked, goes_on) = (Arc::<Notify>::default(), Arc::<Notify>::default());
    let frozen =
        Frozen { store: archive.store.clone(), has_looked: has_looked.clone(), goes_on: goes_on.clone() };
    let restore = TaskType::of::<RestorePayload>().unwrap();
    let worker = Worker::builder(queue.clone()).handle(restore.clone(), archive.handler(Between(frozen)));
    let worker = worker.build().unwrap();
    let working = tokio::spawn(async move { worker.drain().await });
    has_looked.notified().await;
    archive.clock.advance(queue.visibility_timeout() + Duration::from_secs(1));
    queue.reclaim_stale(1).await.unwrap();
    let other = WorkerId::new("another").unwrap();
    assert!(queue.dequeue(&other, &[restore]).await.unwrap().is_some());
    archive.restore(&payload).await.unwrap();
    goes_on.notify_one();
    working.await.unwrap();
    assert_eq!(archive.told.statuses(), [RestoreStatus::Restored]);
}

#[tokio::test]
async fn a_restore_whose_attempts_run_out_is_told_as_failed() {
    for (attempts, told) in [(1, vec![RestoreStatus::Failed]), (2, Vec::new())] {
        let archive = Archive::new().await;
        let unreachable = StoreError::new(StoreErrorKind::Unavailable, "head b/k: no answer");
        archive.store.inject(Fault::fail(Operation::Head, unreachable));
        let queue = archive.queue();
        let task = NewTask::new(&archive.asks("b", 3)).unwrap().max_retries(attempts);
        queue.enqueue(task).await.unwrap();
        let restore = TaskType::of::<RestorePayload>().unwrap();
        let worker = Worker::builder(queue).handle(restore, archive.handler(archive.store.clone()));
        worker.build().unwrap().drain().await;
        assert_eq!(archive.told.statuses(), told, "of {attempts} attempts");
    }
}

/// A request whose first look was put off, as a copy of another is too young, and whose next looks fail.
async fn looks_fail(failures: usize) -> (Archive, MemoryQueue, TaskId) {
    let archive = Archive::new().await;
    archive.copied(&archive.asks("b", 1)).await;
    let queue = archive.queue();
    let id = queue.enqueue(NewTask::new(&archive.asks("b", 30)).unwrap()).await.unwrap();
    archive.looks_once(&queue).await;
    for _ in 0..failures {
        let unreachable = StoreError::new(StoreErrorKind::Unavailable, "head vault/7: no answer");
        archive.store.inject(Fault::fail(Operation::Head, unreachable));
    }
    (archive, queue, id)
}

#[tokio::test]
async fn looks_that_fail_between_others_cost_no_attempt() {
    let (archive, queue, id) = looks_fail(5).await;
    for _ in 0..5 {
        archive.looks_once(&queue).await;
        let task = queue.get(id).await.unwrap();
        assert!(task.status == Status::Pending && task.attempts == 0, "{task:?}");
    }
    archive.looks_once(&queue).await;
    assert_eq!(queue.get(id).await.unwrap().status, Status::Completed);
    assert_eq!(archive.told.statuses().last(), Some(&RestoreStatus::Restored));
}

#[tokio::test]
async fn they_do_once_the_tiers_longest_time_has_passed() {
    let (archive, queue, id) = looks_fail(100).await;
    let mut looks = 1;
    while queue.get(id).await.unwrap().status != Status::DeadLetter {
        assert!(looks < 60, "12 hours are 48 pauses of 15 minutes, and there are 3 attempts");
        archive.looks_once(&queue).await;
        looks += 1;
    }
    assert!(looks > 48, "{looks} looks");
    assert_eq!(archive.told.statuses().last(), Some(&RestoreStatus::Failed));
}

/// A store of restores' progress that cannot be reached.
struct Deaf;

#[async_trait]
impl RestoreStatusStore for Deaf {
    async fn record(&self, _progress: &RestoreProgress) -> Result<(), HandlerError> {
        Err(HandlerError::transient("statuses: no answer"))
    }
}

#[tokio::test]
async fn a_failure_that_cannot_be_told_is_tried_again_and_not_hidden() {
    let archive = Archive::new().await;
    let payload = RestorePayload { days: 0, ..archive.asks("b", 3) };
    let handler = RestoreHandler::new(Arc::new(archive.store), Arc::new(Deaf), &Metrics::default());
    let error = handler.restore(&payload).await.unwrap_err();
    assert_eq!(error.to_string(), "a restore for 0 days is none; then: statuses: no answer");
    assert!(!error.is_permanent());
}
