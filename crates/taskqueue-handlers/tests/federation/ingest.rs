//! Ingest: what arrives is what was listed, whole and once, whatever goes wrong on the way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use taskqueue_core::{Queue, Status};
use taskqueue_handlers::federation::{Conflict, How, SOURCE_ETAG_KEY};
use taskqueue_handlers::store::memory::{Fault, Operation};
use taskqueue_handlers::store::{Attributes, Condition, ObjectRef, ObjectStore, StoreError, StoreErrorKind};

use super::rival::{Between, Looks};
use super::{MIB, World, copied, data, put, put_in_parts, read};

const LARGE: usize = 17 * MIB + 5;

fn count(world: &World, operation: Operation) -> usize {
    world.local.calls().iter().filter(|call| call.operation == operation).count()
}

#[tokio::test]
async fn an_empty_and_a_small_object_keep_data_etag_and_attributes() {
    let world = World::new();
    world.put("empty", "").await;
    world.put("small", data(300_000)).await;
    world.discover(10, false).await;
    world.work().await;
    for key in ["empty", "small"] {
        let (there, bytes) = read(&world.external, "old", key, None).await.unwrap();
        let (here, data) = world.here(key).await.unwrap();
        assert_eq!((here.attributes, data), (copied(&there), bytes), "{key}");
        assert_eq!(here.etag, there.etag, "{key}");
    }
}

#[tokio::test]
async fn a_large_object_is_sent_in_parts_and_says_what_it_is_a_copy_of() {
    let world = World::new();
    let written = world.put("large", data(LARGE)).await;
    world.discover(10, false).await;
    world.work().await;
    let (here, copied) = world.here("large").await.unwrap();
    assert_eq!(copied, data(LARGE));
    assert!(here.etag.ends_with("-4"), "{}", here.etag);
    assert_eq!(here.attributes.metadata.get(SOURCE_ETAG_KEY), Some(&written.etag));
    assert_eq!(here.attributes.metadata.get("made-for").map(String::as_str), Some("large"));
    assert_eq!((count(&world, Operation::UploadPart), world.local.open_uploads()), (4, 0));
}

#[tokio::test]
async fn an_object_that_was_sent_in_parts_keeps_its_etag() {
    let world = World::new();
    let etag = put_in_parts(&world, "parts", &data(12 * MIB), 5 * MIB).await;
    world.discover(10, false).await;
    world.work().await;
    assert_eq!(world.here("parts").await.unwrap().0.etag, etag);
}

#[tokio::test]
async fn an_interrupted_upload_is_gone_on_with_and_sends_only_what_is_missing() {
    let _proof =
        crate::proof::begin("federation_ingest", "an interrupted upload is gone on with", "MemoryStore");
    let world = World::new();
    world.put("large", data(LARGE)).await;
    world.discover(10, false).await;
    world.local.inject(Fault::cut_after(Operation::UploadPart, MIB as u64).after(2));
    world.work_through().await;
    assert_eq!(world.here("large").await.unwrap().1, data(LARGE));
    assert_eq!(
        count(&world, Operation::UploadPart),
        3 + 2,
        "two parts were there when it broke off in the third"
    );
    assert_eq!(count(&world, Operation::CreateUpload), 1);
}

#[tokio::test]
async fn a_part_that_is_not_what_the_source_has_is_sent_again() {
    let world = World::new();
    world.put("large", data(LARGE)).await;
    world.discover(10, false).await;
    let broken = StoreError::new(StoreErrorKind::Unavailable, "complete: no answer");
    world.local.inject(Fault::fail(Operation::CompleteUpload, broken));
    world.work().await;
    let (_, payload) =
        world.ingests().await.into_iter().find(|(_, payload)| payload.upload_id.is_some()).unwrap();
    let object = ObjectRef::new("photos", "large");
    let upload = taskqueue_handlers::store::Upload { object, id: payload.upload_id.unwrap() };
    assert_eq!(world.here("large").await, None);
    world.local.upload_part(&upload, 2, data(5 * MIB).into()).await.unwrap();
    world.work_through().await;
    assert_eq!(world.here("large").await.unwrap().1, data(LARGE));
}

/// Where the ETag is no MD5 of the data, the size is what a part there can be told by.
#[tokio::test]
async fn a_part_of_another_size_is_sent_again() {
    let world = World::new();
    let whole = data(24 * MIB);
    put_in_parts(&world, "large", &whole, 6 * MIB).await;
    world.discover(10, false).await;
    let broken = StoreError::new(StoreErrorKind::Unavailable, "complete: no answer");
    world.local.inject(Fault::fail(Operation::CompleteUpload, broken));
    world.work().await;
    let (_, payload) =
        world.ingests().await.into_iter().find(|(_, payload)| payload.upload_id.is_some()).unwrap();
    let object = ObjectRef::new("photos", "large");
    let upload = taskqueue_handlers::store::Upload { object, id: payload.upload_id.unwrap() };
    world.local.upload_part(&upload, 2, data(5 * MIB + 1).into()).await.unwrap();
    world.work_through().await;
    assert!(world.here("large").await.unwrap().1 == whole);
}

#[tokio::test]
async fn an_object_whose_etag_is_another_here_is_known_as_a_copy() {
    let world = World::new();
    world.configure(|config| config.conflict = Conflict::Overwrite);
    put_in_parts(&world, "k", b"abcdef", 3).await;
    world.discover(10, false).await;
    world.work().await;
    let again = taskqueue_core::payloads::FederationDiscoveryPayload {
        bucket: "photos".into(),
        started_at: 1,
        ..Default::default()
    };
    world.queue.enqueue(again).await.unwrap();
    assert_eq!(world.work().await.completed, 2);
    assert_eq!((world.ingests().await.len(), count(&world, Operation::Put)), (2, 1));
}

/// The last part of three has the number and the size of the last of two.
#[tokio::test]
async fn parts_of_another_size_than_is_configured_now_are_not_gone_on_with() {
    let mut world = World::new();
    let whole = data(24 * MIB);
    put_in_parts(&world, "large", &whole, 6 * MIB).await;
    world.transfer = world.transfer.part_bytes(8 * MIB as u64);
    world.discover(10, false).await;
    let broken = StoreError::new(StoreErrorKind::Unavailable, "complete: no answer");
    world.local.inject(Fault::fail(Operation::CompleteUpload, broken));
    world.work().await;
    world.transfer = world.transfer.part_bytes(16 * MIB as u64);
    world.work_through().await;
    assert!(world.here("large").await.unwrap().1 == whole);
    assert_eq!(world.local.open_uploads(), 0);
}

#[tokio::test]
async fn etags_that_are_no_md5_since_a_store_encrypts_are_not_held_against_the_data() {
    for (external, local) in [(true, false), (false, true), (true, true)] {
        let mut world = World::new();
        world.configure(|config| config.conflict = Conflict::Overwrite);
        world.external = if external { world.external.encrypted() } else { world.external };
        world.local = if local { world.local.encrypted() } else { world.local };
        world.put("small", data(300_000)).await;
        world.put("large", data(LARGE)).await;
        for started_at in [1, 2] {
            let payload = taskqueue_core::payloads::FederationDiscoveryPayload {
                bucket: "photos".into(),
                started_at,
                ..Default::default()
            };
            world.queue.enqueue(payload).await.unwrap();
            assert_eq!(world.work().await.failed, 0, "external {external}, local {local}");
        }
        for (key, size) in [("small", 300_000), ("large", LARGE)] {
            assert!(world.here(key).await.unwrap().1 == data(size), "{key}");
        }
        assert_eq!((count(&world, Operation::Put), count(&world, Operation::UploadPart)), (1, 4));
    }
}

#[tokio::test]
async fn an_object_of_another_size_is_no_copy_whatever_it_says() {
    let world = World::new();
    let written = world.put("k", "external").await;
    let mut attributes = Attributes::default();
    attributes.metadata.insert(SOURCE_ETAG_KEY.to_owned(), written.etag);
    put(&world.local, "photos", "k", "cut", &attributes).await;
    world.configure(|config| config.conflict = Conflict::Overwrite);
    world.discover(10, false).await;
    world.work().await;
    assert_eq!(world.here("k").await.unwrap().1, "external");
}

#[tokio::test]
async fn data_with_another_md5_than_the_etag_says_is_never_seen_and_read_again() {
    let world = World::new();
    world.put("small", data(300_000)).await;
    world.put("large", data(LARGE)).await;
    world.discover(10, false).await;
    world.external.inject(Fault::flip());
    world.external.inject(Fault::flip().after(1));
    world.work_through().await;
    for (key, size) in [("small", 300_000), ("large", LARGE)] {
        assert_eq!(world.here(key).await.unwrap().1, data(size), "{key}");
    }
    let failed = world.ingests().await.into_iter().filter(|(task, _)| task.attempts > 1).count();
    assert!(failed > 0, "no attempt failed, so nothing was checked");
}

#[tokio::test]
async fn a_body_that_ends_early_leaves_no_object_and_is_read_again() {
    let _proof =
        crate::proof::begin("federation_ingest", "a body that ends early leaves no object", "MemoryStore");
    let world = World::new();
    world.put("small", data(300_000)).await;
    world.discover(10, false).await;
    world.external.inject(Fault::cut_after(Operation::Get, 100_000));
    world.work_through().await;
    assert_eq!(world.here("small").await.unwrap().1, data(300_000));
    let (task, _) = world.ingests().await.pop().unwrap();
    assert_eq!((task.attempts, task.status), (2, Status::Completed));
}

#[tokio::test]
async fn an_object_that_changes_between_list_and_get_is_copied_as_it_is_now() {
    for size in [1000, LARGE] {
        let world = World::new();
        world.put("k", data(size)).await;
        list_only(&world).await;
        let changed = world.put("k", data(size + 7)).await;
        world.work().await;
        let (here, copied) = world.here("k").await.unwrap();
        assert_eq!(copied, data(size + 7));
        let source = here.attributes.metadata.get(SOURCE_ETAG_KEY).cloned().unwrap_or(here.etag);
        assert_eq!(source, changed.etag);
    }
}

#[tokio::test]
async fn an_object_that_changes_while_its_parts_are_sent_is_begun_anew() {
    let world = World::new();
    world.put("k", data(LARGE)).await;
    world.discover(10, false).await;
    let broken = StoreError::new(StoreErrorKind::Unavailable, "part: no answer");
    world.local.inject(Fault::fail(Operation::UploadPart, broken).after(1));
    world.work().await;
    assert_eq!((world.here("k").await, world.local.open_uploads()), (None, 1));
    world.put("k", data(LARGE + 7)).await;
    world.work_through().await;
    assert_eq!(world.here("k").await.unwrap().1, data(LARGE + 7));
    assert_eq!(world.local.open_uploads(), 0);
}

#[tokio::test]
async fn an_upload_of_the_object_as_it_was_is_never_finished_as_the_one_that_it_is() {
    let world = World::new();
    let mut whole = data(12 * MIB).to_vec();
    put_in_parts(&world, "k", &whole, 6 * MIB).await;
    world.discover(10, false).await;
    let fails = |kind| Fault::fail(Operation::CompleteUpload, StoreError::new(kind, "complete: no"));
    world.local.inject(fails(StoreErrorKind::Unavailable));
    world.work().await;
    assert_eq!(world.local.open_uploads(), 1, "all its parts are there");
    whole[0] ^= 1;
    let newer = put_in_parts(&world, "k", &whole, 6 * MIB).await;
    world.local.inject(fails(StoreErrorKind::PreconditionFailed));
    world.work_through().await;
    let (here, copied) = world.here("k").await.unwrap();
    assert!(copied == whole, "its first byte is the old one's");
    assert_eq!(
        (here.attributes.metadata.get(SOURCE_ETAG_KEY), world.local.open_uploads()),
        (Some(&newer), 0)
    );
}

#[tokio::test]
async fn an_object_that_is_gone_is_no_failure_but_a_bucket_that_is_gone_is() {
    let world = World::new();
    world.put("k", "data").await;
    list_only(&world).await;
    world.external.delete(&ObjectRef::new("old", "k"), &Condition::Always).await.unwrap();
    assert_eq!(world.work().await.completed, 1);
    assert!(world.keys_here().await.is_empty());
    let world = World::new();
    world.put("k", "data").await;
    list_only(&world).await;
    world.configure(|config| config.external.bucket = "elsewhere".into());
    assert_eq!(world.work().await.dead_lettered, 1, "every object of a missing bucket seems to be gone");
}

#[tokio::test]
async fn a_newer_object_here_stays_unless_the_external_bucket_is_the_truth() {
    let world = World::new();
    world.put("k", "external").await;
    world.clock.advance(Duration::from_secs(60));
    put(&world.local, "photos", "k", "local", &Attributes::default()).await;
    list_only(&world).await;
    world.work().await;
    assert_eq!(world.here("k").await.unwrap().1, "local");
    world.configure(|config| config.conflict = Conflict::Overwrite);
    world.queue.enqueue(world.ingests().await.pop().unwrap().1).await.unwrap();
    world.work().await;
    assert_eq!(world.here("k").await.unwrap().1, "external");
}

#[tokio::test]
async fn an_upload_that_is_given_up_is_aborted() {
    let world = World::new();
    world.put("large", data(LARGE)).await;
    world.discover(10, false).await;
    let denied = StoreError::new(StoreErrorKind::Denied, "part: access denied");
    world.local.inject(Fault::fail(Operation::UploadPart, denied).after(1));
    let report = world.work().await;
    assert_eq!((report.dead_lettered, world.local.open_uploads()), (1, 0));
}

#[tokio::test]
async fn a_dead_letter_that_is_redriven_begins_its_upload_anew() {
    let world = World::new();
    world.put("large", data(LARGE)).await;
    world.discover(10, false).await;
    let denied = StoreError::new(StoreErrorKind::Denied, "part: access denied");
    world.local.inject(Fault::fail(Operation::UploadPart, denied).after(1));
    world.work().await;
    let (dead, _) =
        world.ingests().await.into_iter().find(|(task, _)| task.status == Status::DeadLetter).unwrap();
    world.queue.redrive(&taskqueue_core::Redrive::Tasks(vec![dead.id])).await.unwrap();
    world.work().await;
    assert_eq!(world.here("large").await.unwrap().1, data(LARGE));
}

/// What a store answers that does not know the condition of a write.
fn no_conditions(operation: Operation) -> Fault {
    let message = "A header you provided implies functionality that is not implemented";
    Fault::fail(operation, StoreError::new(StoreErrorKind::NotSupported, message))
}

#[tokio::test]
async fn a_store_that_knows_no_conditional_writes_is_written_to_right_after_a_look() {
    for (size, operation) in [(3, Operation::Put), (LARGE, Operation::CompleteUpload)] {
        let world = World::new();
        world.put("k", data(size)).await;
        world.discover(10, false).await;
        world.local.inject(no_conditions(operation));
        assert_eq!(world.work().await.dead_lettered, 0);
        assert_eq!(world.here("k").await.unwrap().1, data(size));
        assert_eq!((count(&world, operation), world.local.open_uploads()), (2, 0));
    }
}

/// The local store, which knows no conditional writes. Somebody writes there right after one of the looks.
struct Rival {
    world: Arc<World>,
    operation: Operation,
    looks_left: AtomicUsize,
}

#[async_trait]
impl Looks for Rival {
    fn store(&self) -> &dyn ObjectStore {
        &self.world.local
    }

    async fn looked(&self) {
        if self.looks_left.fetch_sub(1, Ordering::Relaxed) == 1 {
            put(&self.world.local, "photos", "k", "theirs", &Attributes::default()).await;
            self.world.local.inject(no_conditions(self.operation));
        }
    }
}

#[tokio::test]
async fn what_is_written_before_an_unconditional_write_is_not_overwritten() {
    // A large object is looked for by the task that begins its upload, and by the one that completes it.
    for (size, operation, looks) in [(3, Operation::Put, 1), (LARGE, Operation::CompleteUpload, 2)] {
        let world = Arc::new(World::new());
        world.put("k", data(size)).await;
        list_only(&world).await;
        world.clock.advance(Duration::from_secs(60));
        let looks_left = AtomicUsize::new(looks);
        let handler = world.ingest_into(Between(Rival { world: Arc::clone(&world), operation, looks_left }));
        let config = world.configs.0.lock().unwrap().clone();
        let mut payload = world.ingests().await.pop().unwrap().1;
        let how = loop {
            let ingested = handler.ingest(&payload, &config, false).await.unwrap();
            let Some(next) = ingested.next else { break ingested.how };
            payload = next;
        };
        assert_eq!((how, count(&world, operation)), (How::KeptNewer, 1 + usize::from(looks == 1)));
        assert_eq!(world.here("k").await.unwrap().1, "theirs");
        assert_eq!(world.local.open_uploads(), 0);
    }
}

/// Lists without ingesting, by pausing the ingest tasks' type.
async fn list_only(world: &World) {
    let ingest = taskqueue_core::TaskType::new("federation_ingest").unwrap();
    world.queue.pause(&ingest).await.unwrap();
    world.discover(10, false).await;
    world.work().await;
    world.queue.resume(&ingest).await.unwrap();
}
