//! Two regions in memory, an object in one, and what is to be repeated in the other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use taskqueue_core::payloads::{ReplicationOperation, ReplicationPayload};
use taskqueue_core::{Clock, ManualClock};
use taskqueue_handlers::federation::TransferConfig;
use taskqueue_handlers::replication::{Regions, Replicated, ReplicationHandler};
use taskqueue_handlers::store::{Attributes, Condition, GetObject, MemoryStore, ObjectRef, ObjectStore};

pub(crate) const MIB: usize = 1024 * 1024;

pub(crate) struct World {
    pub(crate) clock: ManualClock,
    pub(crate) here: MemoryStore,
    pub(crate) there: MemoryStore,
    pub(crate) handler: ReplicationHandler,
}

impl World {
    pub(crate) fn new() -> Self {
        let clock = ManualClock::default();
        let here = MemoryStore::with_clock(clock.clone()).bucket("photos");
        let there = MemoryStore::with_clock(clock.clone()).bucket("mirror");
        let handler = handler(&here, &there);
        Self { clock, here, there, handler }
    }

    /// Writes the object, and gives the change that is to be repeated.
    pub(crate) async fn put(&self, data: impl Into<Bytes>) -> ReplicationPayload {
        self.clock.advance(Duration::from_secs(60));
        let data = data.into();
        let mut attributes = Attributes { content_type: Some("image/png".into()), ..Attributes::default() };
        attributes.metadata.insert("camera".into(), "x".into());
        let object = ObjectRef::new("photos", "k");
        let size = data.len() as u64;
        let written = self.here.put(&object, &attributes, &Condition::Always, data.into()).await.unwrap();
        self.change(ReplicationOperation::Put, written.etag, size)
    }

    pub(crate) async fn delete(&self) -> ReplicationPayload {
        self.clock.advance(Duration::from_secs(60));
        self.here.delete(&ObjectRef::new("photos", "k"), &Condition::Always).await.unwrap();
        self.change(ReplicationOperation::Delete, String::new(), 0)
    }

    pub(crate) fn change(
        &self,
        operation: ReplicationOperation,
        etag: String,
        size: u64,
    ) -> ReplicationPayload {
        ReplicationPayload {
            operation,
            source_region: "north".into(),
            source_bucket: "photos".into(),
            source_key: "k".into(),
            version_id: None,
            destination_region: "south".into(),
            destination_bucket: "mirror".into(),
            destination_key: "k".into(),
            etag,
            size,
            content_type: None,
            metadata: None,
            requested_at: self.clock.now().timestamp_nanos_opt().unwrap(),
        }
    }

    pub(crate) async fn run(&self, change: &ReplicationPayload) -> Replicated {
        self.clock.advance(Duration::from_secs(1));
        self.handler.replicate(change).await.unwrap()
    }

    pub(crate) async fn there(&self) -> Option<Bytes> {
        let get = GetObject { object: ObjectRef::new("mirror", "k"), range: None, if_match: None };
        let body = self.there.get(&get).await.ok()?;
        let pieces: Vec<Bytes> = body.data.try_collect().await.unwrap();
        Some(pieces.concat().into())
    }
}

pub(crate) fn handler(here: &MemoryStore, there: &MemoryStore) -> ReplicationHandler {
    handler_on(here.clone(), there)
}

pub(crate) fn handler_on(here: impl ObjectStore, there: &MemoryStore) -> ReplicationHandler {
    handler_between(here, there.clone())
}

pub(crate) fn handler_between(here: impl ObjectStore, there: impl ObjectStore) -> ReplicationHandler {
    let stores: Regions = BTreeMap::from([
        ("north".to_owned(), Arc::new(here) as Arc<dyn ObjectStore>),
        ("south".to_owned(), Arc::new(there) as Arc<dyn ObjectStore>),
    ]);
    let transfer = TransferConfig::default().multipart_above(6 * MIB as u64).part_bytes(5 * MIB as u64);
    ReplicationHandler::new(stores, transfer).unwrap()
}
