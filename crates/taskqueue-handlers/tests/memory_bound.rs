//! How much memory a large copy takes, measured from outside on a process of its own: an object of 5 GiB that is made
//! while it is read, into a store that counts. It knows nothing of how parts are sent.
//!
//! `TASKQUEUE_S3_MEMORY_OBJECT_MIB` says how large the object is instead.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::DateTime;
use futures::{StreamExt, TryStreamExt, stream};
use taskqueue_core::payloads::FederationIngestPayload;
use taskqueue_handlers::federation::{
    ExternalBucket, FederationConfig, How, IngestHandler, OneStore, TransferConfig,
};
use taskqueue_handlers::store::{
    Attributes, Body, Condition, CopyObject, DeleteOutcome, GetObject, ListObjects, ListVersions, ObjectBody,
    ObjectInfo, ObjectPage, ObjectRef, ObjectStore, Part, RestoreRequest, RestoreStarted, RestoreState,
    StoreError, StoreErrorKind, Upload, UploadPage, VersionPage, Written,
};

const MIB: u64 = 1024 * 1024;
const SIZE_MIB_DEFAULT: u64 = 5 * 1024;
const GROWTH_MAX: u64 = 32 * MIB;
const PIECE: usize = MIB as usize;
const ETAG: &str = "an ETag that says nothing of the data";

fn size() -> u64 {
    let mib = std::env::var("TASKQUEUE_S3_MEMORY_OBJECT_MIB");
    mib.map_or(SIZE_MIB_DEFAULT, |text| text.parse().expect("a number")) * MIB
}

/// One object of so many bytes to read; what is written to it is counted and dropped.
struct Generator {
    size: u64,
    received: AtomicU64,
    in_flight: AtomicU64,
    in_flight_most: AtomicU64,
}

impl Generator {
    fn new(size: u64) -> Self {
        Self {
            size,
            received: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            in_flight_most: AtomicU64::new(0),
        }
    }

    fn info(&self) -> ObjectInfo {
        ObjectInfo {
            size: self.size,
            etag: ETAG.to_owned(),
            etag_is_opaque: false,
            last_modified: DateTime::UNIX_EPOCH,
            version_id: None,
            attributes: Attributes::default(),
            restore: RestoreState::None,
        }
    }
}

fn nothing<T>() -> Result<T, StoreError> {
    Err(StoreError::new(StoreErrorKind::NotFound, "nothing is here"))
}

#[async_trait]
impl ObjectStore for Generator {
    async fn head(&self, object: &ObjectRef) -> Result<ObjectInfo, StoreError> {
        if object.bucket == "old" { Ok(self.info()) } else { nothing() }
    }

    async fn get(&self, get: &GetObject) -> Result<ObjectBody, StoreError> {
        let (first, last) = get.range.unwrap();
        let pieces = (first..=last).step_by(PIECE).map(move |start| {
            let length = (last - start + 1).min(MIB);
            // New memory for each piece, as from a network.
            Ok(Bytes::from(vec![(start / MIB) as u8; length as usize]))
        });
        Ok(ObjectBody { info: self.info(), data: stream::iter(pieces).boxed() })
    }

    async fn put(
        &self,
        _: &ObjectRef,
        _: &Attributes,
        _: &Condition,
        _: Body,
    ) -> Result<Written, StoreError> {
        nothing()
    }

    async fn copy(&self, _: &CopyObject) -> Result<Written, StoreError> {
        nothing()
    }

    async fn delete(&self, _: &ObjectRef, _: &Condition) -> Result<(), StoreError> {
        nothing()
    }

    async fn delete_many(&self, _: &str, _: &[ObjectRef]) -> Result<Vec<DeleteOutcome>, StoreError> {
        nothing()
    }

    async fn list(&self, _: &ListObjects) -> Result<ObjectPage, StoreError> {
        nothing()
    }

    async fn list_versions(&self, _: &ListVersions) -> Result<VersionPage, StoreError> {
        nothing()
    }

    async fn create_upload(&self, object: &ObjectRef, _: &Attributes) -> Result<Upload, StoreError> {
        Ok(Upload { object: object.clone(), id: "u".into() })
    }

    async fn upload_part(&self, _: &Upload, number: u32, body: Body) -> Result<Part, StoreError> {
        let in_flight = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.in_flight_most.fetch_max(in_flight, Ordering::SeqCst);
        let mut data = body.data;
        while let Some(piece) = data.try_next().await? {
            self.received.fetch_add(piece.len() as u64, Ordering::SeqCst);
            // Lets the other parts in flight have their turn.
            tokio::task::yield_now().await;
        }
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        Ok(Part { number, etag: "opaque".into(), etag_is_opaque: false, size: body.length })
    }

    async fn list_parts(&self, _: &Upload) -> Result<Vec<Part>, StoreError> {
        Ok(Vec::new())
    }

    async fn complete_upload(
        &self,
        _: &Upload,
        parts: &[Part],
        _: &Condition,
    ) -> Result<Written, StoreError> {
        assert_eq!(parts.iter().map(|part| part.size).sum::<u64>(), self.size);
        Ok(Written { etag: "opaque".into(), version_id: None })
    }

    async fn abort_upload(&self, _: &Upload) -> Result<(), StoreError> {
        nothing()
    }

    async fn list_uploads(&self, _: &ListObjects) -> Result<UploadPage, StoreError> {
        nothing()
    }

    async fn restore(&self, _: &ObjectRef, _: &RestoreRequest) -> Result<RestoreStarted, StoreError> {
        nothing()
    }
}

/// The most memory that this process has had, in bytes.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test]
async fn an_object_of_5_gib_is_copied_in_less_than_32_mib() {
    let size = size();
    let external = ExternalBucket {
        endpoint: "http://127.0.0.1:1".into(),
        region: "r".into(),
        bucket: "old".into(),
        credentials: "c".into(),
    };
    let config = FederationConfig::new("photos", external);
    let store = Arc::new(Generator::new(size));
    let handler = IngestHandler::new(
        BTreeMap::from([("photos".to_owned(), config.clone())]),
        OneStore(Arc::<Generator>::clone(&store)),
        Arc::<Generator>::clone(&store),
        TransferConfig::default(),
    );
    let handler = handler.unwrap();
    let payload = FederationIngestPayload {
        bucket: "photos".into(),
        key: "large".into(),
        size,
        etag: ETAG.into(),
        ..FederationIngestPayload::default()
    };
    let begun = handler.ingest(&payload, &config, false).await.unwrap();
    assert_eq!(begun.how, How::Begun);
    let before = peak_bytes();
    let copied = handler.ingest(&begun.next.unwrap(), &config, false).await.unwrap();
    let growth = peak_bytes() - before;
    assert_eq!((copied.how, copied.bytes, store.received.load(Ordering::SeqCst)), (How::Copied, size, size));
    assert_eq!(store.in_flight_most.load(Ordering::SeqCst), 4, "parts in flight are bounded, and used");
    println!("{} MiB copied, {} KiB more memory at the most", size / MIB, growth / 1024);
    assert!(growth < GROWTH_MAX, "{growth} bytes");
}
