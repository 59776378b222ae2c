//! One object that a queue in memory is to bring from one bucket into another, and workers that do it over whichever
//! networks they are given. Attempts are a matter of the queue's clock, which the test moves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use taskqueue_core::payloads::FederationIngestPayload;
use taskqueue_core::{ManualClock, NewTask, Queue, Status, Task, TaskFilter, TaskType};
use taskqueue_handlers::federation::{
    ExternalBucket, FederationConfig, IngestHandler, OneStore, SOURCE_ETAG_KEY, TransferConfig,
};
use taskqueue_handlers::store::{
    Attributes, Condition, ListObjects, ObjectStore, Part, S3Store, StoreError, Upload,
};
use taskqueue_memory::{MemoryConfig, MemoryQueue};
use taskqueue_worker::{Report, Worker};

use crate::bucket::Bucket;

pub(crate) const KEY: &str = "folder/größe+&?";
const MIB: u64 = 1024 * 1024;
/// Longer than any pause between two attempts.
const LATER: Duration = Duration::from_secs(3600);

pub(crate) struct Federated {
    clock: ManualClock,
    queue: MemoryQueue,
    config: FederationConfig,
}

fn attributes() -> Attributes {
    let mut attributes = Attributes { content_type: Some("text/x-test".into()), ..Attributes::default() };
    attributes.metadata.insert("made-for".into(), "a fault".into());
    attributes
}

/// Writes the object that is to be brought over, and gives its ETag.
pub(crate) async fn put_external(external: &Bucket, data: &Bytes) -> String {
    let body = data.clone().into();
    let written = external.store.put(&external.object(KEY), &attributes(), &Condition::Always, body).await;
    written.unwrap().etag
}

impl Federated {
    /// With the task that brings the object over, which was listed with this ETag.
    pub(crate) async fn with_task(external: &Bucket, local: &Bucket, (size, etag): (usize, &str)) -> Self {
        let clock = ManualClock::default();
        let memory = MemoryConfig { clock: Arc::new(clock.clone()), ..MemoryConfig::default() };
        let queue = MemoryQueue::with_config(memory).unwrap();
        let outside = ExternalBucket {
            endpoint: external.config.endpoint.clone().unwrap(),
            region: external.config.region.clone(),
            bucket: external.name.clone(),
            credentials: "c".into(),
        };
        let payload = FederationIngestPayload {
            bucket: local.name.clone(),
            key: KEY.into(),
            size: size as u64,
            etag: etag.into(),
            ..FederationIngestPayload::default()
        };
        queue.enqueue(NewTask::new(&payload).unwrap().max_retries(10)).await.unwrap();
        Self { clock, queue, config: FederationConfig::new(&local.name, outside) }
    }

    /// A worker that reads and writes over these networks, until nothing is due.
    pub(crate) async fn work(&self, external: Arc<S3Store>, local: Arc<S3Store>) -> Report {
        let configs = BTreeMap::from([(self.config.bucket.clone(), self.config.clone())]);
        let transfer = TransferConfig::default().multipart_above(6 * MIB).part_bytes(5 * MIB);
        let handler = IngestHandler::new(configs, OneStore(external), local, transfer).unwrap();
        let ingest = TaskType::of::<FederationIngestPayload>().unwrap();
        Worker::builder(self.queue.clone()).handle(ingest, handler).build().unwrap().drain().await
    }

    /// Lets the time pass until the next attempt.
    pub(crate) fn later(&self) {
        self.clock.advance(LATER);
    }

    /// The one task that is to be tried again.
    pub(crate) async fn failed(&self) -> Task {
        let filter = TaskFilter { status: Some(Status::Failed), ..TaskFilter::default() };
        let mut tasks = self.queue.list(&filter).await.unwrap().tasks;
        assert_eq!(tasks.len(), 1, "{tasks:?}");
        tasks.remove(0)
    }

    /// That nothing is left to do, and that the object is there as it is outside, with no upload left behind.
    pub(crate) async fn assert_brought_over(&self, local: &Bucket, (data, etag): (&Bytes, &str)) {
        let stats = self.queue.stats().await.unwrap();
        assert_eq!(stats.pending + stats.running + stats.failed + stats.dead_letter, 0, "{stats:?}");
        assert!(local.read(KEY).await.unwrap() == *data, "the object has other data");
        let mut here = local.store.head(&local.object(KEY)).await.unwrap();
        let source = here.attributes.metadata.remove(SOURCE_ETAG_KEY).unwrap_or(here.etag);
        assert_eq!((source.as_str(), here.attributes), (etag, attributes()));
        assert_eq!(uploads(local).await, []);
    }
}

pub(crate) async fn uploads(local: &Bucket) -> Vec<Upload> {
    let list = ListObjects { bucket: local.name.clone(), ..ListObjects::default() };
    let uploads = local.store.list_uploads(&list).await.unwrap().uploads;
    uploads.into_iter().map(|begun| begun.upload).collect()
}

/// The parts of the bucket's one upload.
pub(crate) async fn parts(local: &Bucket) -> Result<Vec<Part>, StoreError> {
    let uploads = uploads(local).await;
    assert_eq!(uploads.len(), 1);
    local.store.list_parts(&uploads[0]).await
}

/// Data in which no two parts are alike.
pub(crate) fn data(bytes: usize) -> Bytes {
    let numbers = (0_u64..).flat_map(|number| number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
    numbers.take(bytes).collect::<Vec<u8>>().into()
}
