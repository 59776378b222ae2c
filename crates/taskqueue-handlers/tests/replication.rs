//! Replication between two stores in memory: changes are repeated, in whatever order their tasks run.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "support/mirror.rs"]
mod mirror;
#[path = "support/proof.rs"]
mod proof;
#[path = "s3/lifecycle/rival.rs"]
mod rival;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use mirror::{MIB, World, handler, handler_between, handler_on};
use rival::{Between, Looks};
use taskqueue_core::payloads::{ReplicationOperation, ReplicationPayload};
use taskqueue_core::{Clock, ManualClock, NewTask, Queue, Status, TaskId, TaskType, Timestamp};
use taskqueue_handlers::replication::{CHANGE_KEY, Replicated, ReplicationHandler};
use taskqueue_handlers::store::memory::{Fault, Operation};
use taskqueue_handlers::store::{
    Attributes, Condition, MemoryStore, ObjectRef, ObjectStore, StoreError, StoreErrorKind,
};
use taskqueue_memory::MemoryQueue;
use taskqueue_worker::{Configure, Worker};
use tokio::sync::Notify;

#[tokio::test]
async fn a_change_is_repeated_once_with_its_attributes() {
    let _proof =
        crate::proof::begin("replication", "a change is repeated once, with its attributes", "MemoryStore");
    let world = World::new();
    let change = world.put("one").await;
    assert_eq!(world.run(&change).await, Replicated::Copied { bytes: 3 });
    assert_eq!(world.run(&change).await, Replicated::Present);
    let info = world.there.head(&ObjectRef::new("mirror", "k")).await.unwrap();
    assert_eq!(info.attributes.content_type.as_deref(), Some("image/png"));
    assert_eq!(info.attributes.metadata.get("camera").map(String::as_str), Some("x"));
    assert_eq!(info.attributes.metadata[CHANGE_KEY], change.requested_at.to_string());
    let delete = world.delete().await;
    assert_eq!(world.run(&delete).await, Replicated::Deleted);
    assert_eq!(world.run(&delete).await, Replicated::Present);
    assert_eq!(world.there().await, None);
}

#[tokio::test]
async fn an_etag_is_held_against_the_data_unless_it_is_said_to_be_no_md5() {
    for etag_is_md5 in [true, false] {
        let mut world = World::new();
        world.handler = handler(&world.here, &world.there).etag_is_md5(etag_is_md5);
        let change = world.put("one").await;
        // Of such a store the data has another MD5.
        world.here.inject(Fault::flip());
        let replicated = world.handler.replicate(&change).await;
        assert_eq!((replicated.is_ok(), world.there().await.is_some()), (!etag_is_md5, !etag_is_md5));
    }
}

#[tokio::test]
async fn whatever_the_order_of_the_tasks_the_last_change_is_what_stays() {
    let _proof = crate::proof::begin(
        "replication",
        "whatever the order of the tasks, the last change is what stays",
        "MemoryStore",
    );
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    for order in orders {
        let world = World::new();
        let changes = [world.put("one").await, world.delete().await, world.put("three").await];
        for index in order {
            world.run(&changes[index]).await;
        }
        assert_eq!(world.there().await.as_deref(), Some(b"three".as_slice()), "{order:?}");
        let world = World::new();
        let changes = [world.put("one").await, world.put("two").await, world.delete().await];
        for index in order {
            world.run(&changes[index]).await;
        }
        assert_eq!(world.there().await, None, "{order:?}");
    }
}

/// A clock of the destination. It is first read in the middle of a write: then the source's object is deleted, and the
/// task of that runs to its end.
#[derive(Clone)]
struct DeletesSource(ManualClock, Arc<Mutex<Option<(MemoryStore, ReplicationHandler, ReplicationPayload)>>>);

impl std::fmt::Debug for DeletesSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DeletesSource")
    }
}

impl Clock for DeletesSource {
    fn now(&self) -> Timestamp {
        let deletion = self.1.lock().unwrap().take();
        if let Some((source, handler, change)) = deletion {
            // A store in memory never makes anyone wait.
            let object = ObjectRef::new("photos", "k");
            source.delete(&object, &Condition::Always).now_or_never().unwrap().unwrap();
            let replicated = handler.replicate(&change).now_or_never().unwrap().unwrap();
            assert_eq!(replicated, Replicated::Present, "there is nothing to delete yet");
        }
        self.0.now()
    }
}

#[tokio::test]
async fn an_object_that_is_deleted_while_it_is_copied_does_not_come_back() {
    let mut world = World::new();
    let clock = DeletesSource(world.clock.clone(), Arc::default());
    world.there = MemoryStore::with_clock(clock.clone()).bucket("mirror");
    world.handler = handler(&world.here, &world.there).follows_deletes(true);
    let change = world.put("one").await;
    world.clock.advance(Duration::from_secs(60));
    let delete = world.change(ReplicationOperation::Delete, String::new(), 0);
    *clock.1.lock().unwrap() = Some((world.here.clone(), world.handler.clone(), delete));
    assert_eq!(world.run(&change).await, Replicated::Gone);
    assert!(clock.1.lock().unwrap().is_none(), "the deletion came in between");
    assert_eq!(world.there().await, None);
}

#[tokio::test]
async fn a_copy_whose_source_is_gone_goes_although_the_attempt_that_made_it_died() {
    for knows_conditions in [true, false] {
        let mut world = World::new();
        world.handler = world.handler.follows_deletes(true);
        let change = world.put("one").await;
        world.run(&change).await;
        world.delete().await;
        if !knows_conditions {
            let unknown = StoreError::new(StoreErrorKind::NotSupported, "delete: If-Match is not known");
            world.there.inject(Fault::fail(Operation::Delete, unknown));
        }
        assert_eq!(world.run(&change).await, Replicated::Gone);
        assert_eq!(world.there().await, None);
    }
}

#[tokio::test]
async fn where_nobody_repeats_deletions_the_copy_outlives_its_source() {
    let world = World::new();
    let change = world.put("one").await;
    world.run(&change).await;
    world.delete().await;
    assert_eq!(world.run(&change).await, Replicated::Present);
    assert_eq!(world.there().await.as_deref(), Some(b"one".as_slice()));
}

/// The source's region. Once its object was found gone there is a later change, whose task runs to its end.
#[derive(Clone)]
struct ComesBack(Arc<World>, Arc<Mutex<bool>>);

#[async_trait]
impl Looks for ComesBack {
    fn store(&self) -> &dyn ObjectStore {
        &self.0.here
    }

    async fn looked(&self) {
        if !std::mem::replace(&mut *self.1.lock().unwrap(), true) {
            let later = self.0.put("one").await;
            assert_eq!(self.0.run(&later).await, Replicated::Copied { bytes: 3 });
        }
    }
}

#[tokio::test]
async fn what_comes_back_while_the_copy_of_a_gone_source_is_removed_is_there_again() {
    let clock = ManualClock::default();
    let here = MemoryStore::with_clock(clock.clone()).versioned_bucket("photos");
    let there = MemoryStore::with_clock(clock.clone()).bucket("mirror");
    let world = Arc::new(World { handler: handler(&here, &there), clock, here, there });
    let change = world.put("one").await;
    let version_id = world.here.head(&ObjectRef::new("photos", "k")).await.unwrap().version_id;
    let change = ReplicationPayload { version_id, ..change };
    world.run(&change).await;
    let delete = world.delete().await;
    let comes_back = ComesBack(world.clone(), Arc::default());
    let handler = handler_on(Between(comes_back.clone()), &world.there).follows_deletes(true);
    assert_eq!(handler.replicate(&change).await.unwrap(), Replicated::Copied { bytes: 3 });
    assert!(*comes_back.1.lock().unwrap(), "the later change came in between");
    assert_eq!(world.run(&delete).await, Replicated::Superseded);
    assert_eq!(world.there().await.as_deref(), Some(b"one".as_slice()));
}

#[tokio::test]
async fn a_source_bucket_that_is_missing_deletes_no_copy() {
    let mut world = World::new();
    world.handler = world.handler.follows_deletes(true);
    let change = world.put("one").await;
    world.run(&change).await;
    let bucket = ReplicationPayload { source_bucket: "elsewhere".into(), ..change };
    assert!(world.handler.replicate(&bucket).await.unwrap_err().is_permanent());
    assert_eq!(world.there().await.as_deref(), Some(b"one".as_slice()));
}

#[tokio::test]
async fn a_change_of_attributes_alone_is_repeated() {
    let world = World::new();
    let first = world.put("one").await;
    world.run(&first).await;
    let again = world.put("one").await;
    assert_eq!(world.run(&again).await, Replicated::Copied { bytes: 3 });
}

#[tokio::test]
async fn what_was_written_there_later_stays() {
    let world = World::new();
    let change = world.put("one").await;
    world.clock.advance(Duration::from_secs(60));
    let theirs = Bytes::from("theirs");
    let object = ObjectRef::new("mirror", "k");
    world.there.put(&object, &Attributes::default(), &Condition::Always, theirs.into()).await.unwrap();
    assert_eq!(world.run(&change).await, Replicated::Superseded);
    assert_eq!(world.there().await.as_deref(), Some(b"theirs".as_slice()));
}

#[tokio::test]
async fn a_large_object_is_sent_in_parts_and_one_that_fails_leaves_no_upload() {
    let world = World::new();
    let change = world.put(vec![7; 12 * MIB]).await;
    let broken = StoreError::new(StoreErrorKind::Unavailable, "part: no answer");
    world.there.inject(Fault::fail(Operation::UploadPart, broken).after(1));
    assert!(!world.handler.replicate(&change).await.unwrap_err().is_permanent());
    assert_eq!(world.there.open_uploads(), 0);
    assert_eq!(world.run(&change).await, Replicated::Copied { bytes: 12 * MIB as u64 });
    assert_eq!(world.run(&change).await, Replicated::Present);
    assert_eq!(world.there().await.unwrap().len(), 12 * MIB);
}

/// What a store answers that does not know the condition of a write.
fn no_conditions(operation: Operation) -> Fault {
    let message = "A header you provided implies functionality that is not implemented";
    Fault::fail(operation, StoreError::new(StoreErrorKind::NotSupported, message))
}

/// Both ways to write: the size of an object that goes it, and what the store does not know then.
const WRITES: [(usize, Operation); 2] = [(3, Operation::Put), (12 * MIB, Operation::CompleteUpload)];

#[tokio::test]
async fn a_store_that_knows_no_conditional_writes_is_written_to_right_after_a_look() {
    for (size, operation) in WRITES {
        let world = World::new();
        for data in [7, 8] {
            let change = world.put(vec![data; size]).await;
            world.there.inject(no_conditions(operation));
            assert_eq!(world.run(&change).await, Replicated::Copied { bytes: size as u64 });
            assert_eq!(world.there().await.unwrap(), vec![data; size]);
        }
        assert_eq!(world.there.open_uploads(), 0);
    }
}

/// A destination that knows no conditional writes, with somebody who writes there after the first look.
struct Rival(Arc<World>, Operation, Mutex<bool>);

#[async_trait]
impl Looks for Rival {
    fn store(&self) -> &dyn ObjectStore {
        &self.0.there
    }

    async fn looked(&self) {
        if !std::mem::replace(&mut *self.2.lock().unwrap(), true) {
            let (object, body) = (ObjectRef::new("mirror", "k"), Bytes::from("theirs").into());
            self.0.there.put(&object, &Attributes::default(), &Condition::Always, body).await.unwrap();
            self.0.there.inject(no_conditions(self.1));
        }
    }
}

#[tokio::test]
async fn what_is_written_before_an_unconditional_write_is_not_overwritten() {
    for (size, operation) in WRITES {
        let world = Arc::new(World::new());
        let change = world.put(vec![7; size]).await;
        world.clock.advance(Duration::from_secs(60));
        let rival = Between(Rival(Arc::clone(&world), operation, Mutex::default()));
        let handler = handler_between(world.here.clone(), rival);
        assert_eq!(handler.replicate(&change).await.unwrap(), Replicated::Superseded);
        assert_eq!(world.there().await.as_deref(), Some(b"theirs".as_slice()));
        assert_eq!(world.there.open_uploads(), 0);
    }
}

/// A destination that never takes the second part of an upload; it says when that begins.
struct Stuck(MemoryStore, Arc<Notify>);

#[async_trait]
impl Looks for Stuck {
    fn store(&self) -> &dyn ObjectStore {
        &self.0
    }

    async fn looked(&self) {}

    async fn sends_part(&self, number: u32) {
        if number == 2 {
            self.1.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

/// A queue with a large object's change, and what handles it until its second part.
async fn stuck(world: &World) -> (MemoryQueue, TaskId, ReplicationHandler, Arc<Notify>) {
    let (queue, is_stuck) = (MemoryQueue::new(), Arc::<Notify>::default());
    let change = world.put(vec![7; 12 * MIB]).await;
    let id = queue.enqueue(NewTask::new(&change).unwrap()).await.unwrap();
    let there = Between(Stuck(world.there.clone(), Arc::clone(&is_stuck)));
    (queue, id, handler_between(world.here.clone(), there), is_stuck)
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_stops_leaves_no_upload_behind() {
    let world = World::new();
    let (queue, id, handler, is_stuck) = stuck(&world).await;
    let replication = TaskType::of::<ReplicationPayload>().unwrap();
    let worker = Worker::builder(queue.clone()).handle(replication, handler);
    let worker = worker.grace_period(Duration::from_millis(10)).build().unwrap();
    worker.run_until(async { is_stuck.notified().await }).await.unwrap();
    assert_eq!(world.there.open_uploads(), 0);
    assert_eq!(queue.get(id).await.unwrap().status, Status::Pending);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_whose_time_is_over_leaves_no_upload_behind() {
    let world = World::new();
    let (queue, id, handler, _) = stuck(&world).await;
    let replication = TaskType::of::<ReplicationPayload>().unwrap();
    let handler = handler.timeout(Duration::from_secs(60));
    let report = Worker::builder(queue.clone()).handle(replication, handler).build().unwrap().drain().await;
    assert!(report.failed > 0, "{report:?}");
    assert_eq!(world.there.open_uploads(), 0);
    assert!(queue.get(id).await.unwrap().last_error.unwrap().contains("the timeout of this type"));
}

#[tokio::test]
async fn a_small_copy_whose_etag_is_another_is_known_as_one() {
    let world = World::new();
    world.clock.advance(Duration::from_secs(60));
    let upload =
        world.here.create_upload(&ObjectRef::new("photos", "k"), &Attributes::default()).await.unwrap();
    let mut parts = Vec::new();
    for (number, data) in [(1, "on"), (2, "e")] {
        parts.push(world.here.upload_part(&upload, number, Bytes::from(data).into()).await.unwrap());
    }
    let written = world.here.complete_upload(&upload, &parts, &Condition::Always).await.unwrap();
    let change = world.change(ReplicationOperation::Put, written.etag, 3);
    assert_eq!(world.run(&change).await, Replicated::Copied { bytes: 3 });
    assert_eq!(world.run(&change).await, Replicated::Present);
}

#[tokio::test]
async fn etags_that_are_no_md5_since_a_store_encrypts_are_not_held_against_the_data() {
    for (here, there) in [(true, false), (false, true), (true, true)] {
        for size in [3, 12 * MIB] {
            let mut world = World::new();
            world.here = if here { world.here.encrypted() } else { world.here };
            world.there = if there { world.there.encrypted() } else { world.there };
            let change = world.put(vec![7; size]).await;
            assert_eq!(world.run(&change).await, Replicated::Copied { bytes: size as u64 });
            assert_eq!(world.run(&change).await, Replicated::Present);
            assert_eq!(world.there().await.unwrap().len(), size);
        }
    }
}

#[tokio::test]
async fn a_region_or_a_source_bucket_that_is_not_there_is_a_permanent_failure() {
    let world = World::new();
    let change = world.put("one").await;
    let region = ReplicationPayload { destination_region: "west".into(), ..change.clone() };
    assert!(world.handler.replicate(&region).await.unwrap_err().is_permanent());
    let bucket = ReplicationPayload { source_bucket: "elsewhere".into(), ..change };
    assert!(world.handler.replicate(&bucket).await.unwrap_err().is_permanent());
}
