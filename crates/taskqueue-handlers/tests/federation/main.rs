//! Federation on a queue and stores in memory: what is discovered, what is copied, and what a crash, a change or a fault
//! in between does to it.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "../support/proof.rs"]
mod proof;
#[path = "../s3/lifecycle/rival.rs"]
mod rival;

mod discovery;
mod ingest;
mod versions;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use taskqueue_core::payloads::{FederationDiscoveryPayload, FederationIngestPayload};
use taskqueue_core::{ManualClock, NewTask, Queue, Task, TaskFilter, TaskId, TaskType};
use taskqueue_handlers::HandlerError;
use taskqueue_handlers::federation::{
    DiscoveryHandler, ExternalBucket, FederationConfig, FederationConfigStore, IngestHandler, OneStore,
    SOURCE_ETAG_KEY, TransferConfig,
};
use taskqueue_handlers::store::{
    Attributes, Condition, GetObject, ListObjects, MemoryStore, ObjectInfo, ObjectRef, ObjectStore, Written,
};
use taskqueue_memory::{MemoryConfig, MemoryQueue};
use taskqueue_worker::{Report, Worker};

const MIB: usize = 1024 * 1024;

/// A configuration that tests change under the handlers.
#[derive(Clone)]
struct Configs(Arc<Mutex<FederationConfig>>);

#[async_trait::async_trait]
impl FederationConfigStore for Configs {
    async fn get(&self, bucket: &str) -> Result<Option<FederationConfig>, HandlerError> {
        let config = self.0.lock().unwrap().clone();
        Ok((config.bucket == bucket).then_some(config))
    }
}

/// Two stores, a queue, and one clock for all.
struct World {
    clock: ManualClock,
    external: MemoryStore,
    local: MemoryStore,
    queue: MemoryQueue,
    configs: Configs,
    transfer: TransferConfig,
}

impl World {
    fn new() -> Self {
        let clock = ManualClock::default();
        let bucket = ExternalBucket {
            endpoint: "http://127.0.0.1:1".into(),
            region: "r".into(),
            bucket: "old".into(),
            credentials: "c".into(),
        };
        let config = MemoryConfig { clock: Arc::new(clock.clone()), ..MemoryConfig::default() };
        Self {
            external: MemoryStore::with_clock(clock.clone()).bucket("old"),
            local: MemoryStore::with_clock(clock.clone()).bucket("photos"),
            queue: MemoryQueue::with_config(config).unwrap(),
            configs: Configs(Arc::new(Mutex::new(FederationConfig::new("photos", bucket)))),
            transfer: TransferConfig::default().multipart_above(6 * MIB as u64).part_bytes(5 * MIB as u64),
            clock,
        }
    }

    /// With buckets that keep versions.
    fn versioned() -> Self {
        let mut world = Self::new();
        world.external = MemoryStore::with_clock(world.clock.clone()).versioned_bucket("old");
        world.local = MemoryStore::with_clock(world.clock.clone()).versioned_bucket("photos");
        world
    }

    fn configure(&self, change: impl FnOnce(&mut FederationConfig)) {
        change(&mut self.configs.0.lock().unwrap());
    }

    /// Puts an object into the external bucket, a minute after the one before.
    async fn put(&self, key: &str, data: impl Into<Bytes>) -> Written {
        self.clock.advance(Duration::from_secs(60));
        let mut attributes = Attributes { content_type: Some("text/x-test".into()), ..Attributes::default() };
        attributes.metadata.insert("made-for".into(), key.into());
        put(&self.external, "old", key, data, &attributes).await
    }

    fn discovery(&self) -> DiscoveryHandler {
        let handler = DiscoveryHandler::new(self.configs.clone(), OneStore(Arc::new(self.external.clone())));
        handler.clock(self.clock.clone())
    }

    fn ingest(&self) -> IngestHandler {
        self.ingest_into(self.local.clone())
    }

    fn ingest_into(&self, local: impl ObjectStore) -> IngestHandler {
        let external = OneStore(Arc::new(self.external.clone()));
        IngestHandler::new(self.configs.clone(), external, Arc::new(local), self.transfer)
            .unwrap()
            .clock(self.clock.clone())
    }

    async fn work(&self) -> Report {
        let builder = Worker::builder(self.queue.clone())
            .handle(TaskType::of::<FederationDiscoveryPayload>().unwrap(), self.discovery())
            .handle(TaskType::of::<FederationIngestPayload>().unwrap(), self.ingest());
        builder.build().unwrap().drain().await
    }

    /// Works until nothing is left to be retried.
    async fn work_through(&self) {
        for _ in 0..20 {
            self.work().await;
            self.clock.advance(Duration::from_secs(600));
            let stats = self.queue.stats().await.unwrap();
            if stats.pending + stats.running + stats.failed == 0 {
                return;
            }
        }
        panic!("tasks are left: {:?}", self.queue.stats().await.unwrap());
    }

    async fn discover(&self, batch_size: u32, include_versions: bool) -> TaskId {
        let payload = FederationDiscoveryPayload {
            bucket: "photos".into(),
            batch_size,
            include_versions,
            started_at: 1_767_225_600_000_000_000,
            ..FederationDiscoveryPayload::default()
        };
        self.queue.enqueue(NewTask::new(&payload).unwrap().max_retries(10)).await.unwrap()
    }

    /// Every ingest task that there is or was.
    async fn ingests(&self) -> Vec<(Task, FederationIngestPayload)> {
        let filter = TaskFilter {
            task_type: Some(TaskType::of::<FederationIngestPayload>().unwrap()),
            limit: 10_000,
            ..TaskFilter::default()
        };
        let tasks = self.queue.list(&filter).await.unwrap().tasks;
        tasks.into_iter().map(|task| (task.clone(), task.payload.decode().unwrap())).collect()
    }

    async fn keys_here(&self) -> Vec<String> {
        let list = ListObjects { bucket: "photos".into(), ..ListObjects::default() };
        self.local.list(&list).await.unwrap().objects.into_iter().map(|object| object.key).collect()
    }

    async fn here(&self, key: &str) -> Option<(ObjectInfo, Bytes)> {
        read(&self.local, "photos", key, None).await
    }
}

async fn put(
    store: &MemoryStore,
    bucket: &str,
    key: &str,
    data: impl Into<Bytes>,
    attributes: &Attributes,
) -> Written {
    let object = ObjectRef::new(bucket, key);
    store.put(&object, attributes, &Condition::Always, data.into().into()).await.unwrap()
}

/// An external object that was sent in parts of this size. Answers its ETag.
async fn put_in_parts(world: &World, key: &str, whole: &[u8], size: usize) -> String {
    let object = ObjectRef::new("old", key);
    let upload = world.external.create_upload(&object, &Attributes::default()).await.unwrap();
    let mut parts = Vec::new();
    for (number, part) in (1..).zip(whole.chunks(size)) {
        let body = bytes::Bytes::copy_from_slice(part).into();
        parts.push(world.external.upload_part(&upload, number, body).await.unwrap());
    }
    world.external.complete_upload(&upload, &parts, &Condition::Always).await.unwrap().etag
}

/// The attributes that a copy of it has.
fn copied(source: &ObjectInfo) -> Attributes {
    let mut attributes = source.attributes.clone();
    attributes.metadata.insert(SOURCE_ETAG_KEY.into(), source.etag.clone());
    attributes
}

async fn read(
    store: &MemoryStore,
    bucket: &str,
    key: &str,
    version_id: Option<String>,
) -> Option<(ObjectInfo, Bytes)> {
    let object = ObjectRef::new(bucket, key).version(version_id);
    let body = store.get(&GetObject { object, range: None, if_match: None }).await.ok()?;
    let pieces: Vec<Bytes> = body.data.try_collect().await.unwrap();
    Some((body.info, pieces.concat().into()))
}

/// Data in which no two pieces are alike.
fn data(bytes: usize) -> Bytes {
    let mut state = bytes as u32 | 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..bytes).map(|_| next()).collect::<Vec<u8>>().into()
}
