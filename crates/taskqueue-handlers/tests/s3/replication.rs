//! Replication between two buckets of the gateway, which each region reaches at an address of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use taskqueue_core::payloads::{ReplicationOperation, ReplicationPayload};
use taskqueue_core::{Clock, SystemClock};
use taskqueue_handlers::federation::{SOURCE_ETAG_KEY, TransferConfig};
use taskqueue_handlers::replication::{CHANGE_KEY, Regions, Replicated, ReplicationHandler};
use taskqueue_handlers::store::{
    Attributes, Condition, CopyObject, ListObjects, ObjectRef, ObjectStore, S3Store,
};

use crate::bucket::{Bucket, upstream};
use crate::federated::data;
use crate::proof;
use crate::proxy::{Fate, proxy};

const MIB: usize = 1 << 20;
const HOUR_NANOS: i64 = 3_600_000_000_000;

struct World {
    here: Bucket,
    there: Bucket,
    handler: ReplicationHandler,
    /// When the first change was made: before anything is written there.
    begun: i64,
}

impl World {
    async fn new() -> Self {
        let (here, there) = (Bucket::new().await, Bucket::new().await);
        let passes = proxy(upstream(), u64::MAX, Fate::Cut).await;
        let (north, south) = (here.store.clone(), there.through(&passes));
        let begun = SystemClock.now().timestamp_nanos_opt().unwrap() - HOUR_NANOS;
        Self { handler: handler(north, south), here, there, begun }
    }

    /// Writes the object, and gives the change that is to be repeated, the `number`th of it.
    async fn put(&self, number: i64, key: &str, data: impl Into<Bytes>) -> ReplicationPayload {
        let (object, data): (_, Bytes) = (self.here.object(key), data.into());
        let size = data.len();
        let mut attributes = Attributes { content_type: Some("image/png".into()), ..Attributes::default() };
        attributes.metadata.insert("camera".into(), number.to_string());
        let written = self.here.store.put(&object, &attributes, &Condition::Always, data.into()).await;
        self.change(number, ReplicationOperation::Put, key, (written.unwrap().etag, size))
    }

    async fn delete(&self, number: i64, key: &str) -> ReplicationPayload {
        self.here.store.delete(&self.here.object(key), &Condition::Always).await.unwrap();
        self.change(number, ReplicationOperation::Delete, key, (String::new(), 0))
    }

    /// Copies within the source's region.
    async fn copy(&self, number: i64, (from, to): (&str, &str)) -> ReplicationPayload {
        let (source, target) = (self.here.object(from), self.here.object(to));
        let size = self.here.store.head(&source).await.unwrap().size;
        let copy = CopyObject {
            source,
            target,
            size,
            if_match: None,
            condition: Condition::Always,
            attributes: None,
            storage_class: None,
        };
        let written = self.here.store.copy(&copy).await.unwrap();
        self.change(number, ReplicationOperation::Copy, to, (written.etag, size as usize))
    }

    fn change(
        &self,
        number: i64,
        operation: ReplicationOperation,
        key: &str,
        (etag, size): (String, usize),
    ) -> ReplicationPayload {
        ReplicationPayload {
            operation,
            source_region: "north".into(),
            source_bucket: self.here.name.clone(),
            source_key: key.into(),
            version_id: None,
            destination_region: "south".into(),
            destination_bucket: self.there.name.clone(),
            destination_key: format!("mirror/{key}"),
            etag,
            size: size as u64,
            content_type: None,
            metadata: None,
            requested_at: self.begun + number,
        }
    }

    async fn run(&self, change: &ReplicationPayload) -> Replicated {
        self.handler.replicate(change).await.unwrap()
    }

    async fn there(&self, key: &str) -> Option<Vec<u8>> {
        self.there.read(&format!("mirror/{key}")).await.ok()
    }
}

fn handler(north: Arc<S3Store>, south: Arc<S3Store>) -> ReplicationHandler {
    let regions: Regions = BTreeMap::from([
        ("north".to_owned(), north as Arc<dyn ObjectStore>),
        ("south".to_owned(), south as Arc<dyn ObjectStore>),
    ]);
    let transfer = TransferConfig::default().multipart_above(6 * MIB as u64).part_bytes(5 * MIB as u64);
    ReplicationHandler::new(regions, transfer).unwrap()
}

#[tokio::test]
async fn a_put_a_copy_and_a_delete_are_repeated_once_with_the_objects_attributes() {
    let shows = "PUT, COPY and DELETE are repeated at another endpoint, once, with the object's attributes";
    let _proof = proof::begin("replication", shows, "Ceph RGW 20");
    let world = World::new().await;
    let put = world.put(1, "ä+1", "one").await;
    let copy = world.copy(2, ("ä+1", "copy")).await;
    for (change, key) in [(&put, "ä+1"), (&copy, "copy")] {
        assert_eq!(world.run(change).await, Replicated::Copied { bytes: 3 });
        assert_eq!(world.run(change).await, Replicated::Present);
        let object = ObjectRef::new(&world.there.name, format!("mirror/{key}"));
        let info = world.there.store.head(&object).await.unwrap();
        let Attributes { content_type, metadata, .. } = info.attributes;
        assert_eq!(content_type.as_deref(), Some("image/png"));
        assert_eq!(metadata["camera"], "1");
        assert_eq!(metadata[CHANGE_KEY], change.requested_at.to_string());
        assert_eq!(world.there(key).await.as_deref(), Some(b"one".as_slice()));
    }
    let delete = world.delete(3, "ä+1").await;
    assert_eq!(world.run(&delete).await, Replicated::Deleted);
    assert_eq!(world.run(&delete).await, Replicated::Present);
    assert_eq!((world.there("ä+1").await, world.there("copy").await.is_some()), (None, true));
}

#[tokio::test]
async fn whatever_the_order_of_the_tasks_the_last_change_is_what_stays() {
    let shows = "whatever the order of the tasks, the last change is what stays";
    let _proof = proof::begin("replication", shows, "Ceph RGW 20");
    let world = World::new().await;
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let (kept, gone) = (format!("kept {order:?}"), format!("gone {order:?}"));
        let of_kept = [
            world.put(1, &kept, "one").await,
            world.delete(2, &kept).await,
            world.put(3, &kept, "three").await,
        ];
        let of_gone = [
            world.put(1, &gone, "one").await,
            world.put(2, &gone, "two").await,
            world.delete(3, &gone).await,
        ];
        for index in order {
            world.run(&of_kept[index]).await;
            world.run(&of_gone[index]).await;
        }
        assert_eq!(world.there(&kept).await.as_deref(), Some(b"three".as_slice()), "{order:?}");
        assert_eq!(world.there(&gone).await, None, "{order:?}");
    }
}

#[tokio::test]
async fn what_was_written_there_later_stays() {
    let world = World::new().await;
    let change = world.put(1, "k", "ours").await;
    world.there.put("mirror/k", b"theirs").await;
    assert_eq!(world.run(&change).await, Replicated::Superseded);
    assert_eq!(world.there("k").await.as_deref(), Some(b"theirs".as_slice()));
    let delete = world.delete(2, "k").await;
    assert_eq!(world.run(&delete).await, Replicated::Superseded);
    assert_eq!(world.there("k").await.as_deref(), Some(b"theirs".as_slice()));
}

#[tokio::test]
async fn a_large_object_whose_source_breaks_off_leaves_no_upload_and_is_sent_again() {
    let shows = "a large object whose source breaks off leaves nothing, and is sent again";
    let _proof = proof::begin("replication", shows, "Ceph RGW 20");
    let world = World::new().await;
    let data = data(12 * MIB);
    let change = world.put(1, "large", data.clone()).await;
    let breaks_off = proxy(upstream(), 7 * MIB as u64, Fate::Cut).await;
    let broken = handler(world.here.through(&breaks_off), world.there.store.clone());
    assert!(!broken.replicate(&change).await.unwrap_err().is_permanent());
    let list = ListObjects { bucket: world.there.name.clone(), ..ListObjects::default() };
    assert_eq!(world.there.store.list_uploads(&list).await.unwrap().uploads, []);
    assert_eq!(world.there("large").await, None);

    assert_eq!(world.run(&change).await, Replicated::Copied { bytes: 12 * MIB as u64 });
    assert_eq!(world.run(&change).await, Replicated::Present);
    assert!(world.there("large").await.unwrap() == data);
    let object = ObjectRef::new(&world.there.name, "mirror/large");
    let metadata = world.there.store.head(&object).await.unwrap().attributes.metadata;
    assert_eq!(metadata[SOURCE_ETAG_KEY], change.etag);
}
