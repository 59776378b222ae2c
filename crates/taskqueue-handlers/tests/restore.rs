//! Restores of what the archive keeps elsewhere, on a store in memory: what the copy may replace.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "s3/lifecycle/rival.rs"]
mod rival;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use rival::{Between, Looks};
use taskqueue_core::metrics::Metrics;
use taskqueue_core::payloads::{RestorePayload, RestoreTier};
use taskqueue_handlers::HandlerError;
use taskqueue_handlers::restore::{
    RestoreHandler, RestoreProgress, RestoreStatus, RestoreStatusStore, Restored,
};
use taskqueue_handlers::store::memory::{Fault, Operation};
use taskqueue_handlers::store::{
    Attributes, Condition, GetObject, MemoryStore, ObjectRef, ObjectStore, StoreError, StoreErrorKind,
};

#[derive(Default)]
struct Told(Mutex<Vec<RestoreStatus>>);

#[async_trait]
impl RestoreStatusStore for Told {
    async fn record(&self, progress: &RestoreProgress) -> Result<(), HandlerError> {
        self.0.lock().unwrap().push(progress.status);
        Ok(())
    }
}

struct Archive {
    store: MemoryStore,
    told: Arc<Told>,
}

impl Archive {
    /// It keeps the data of `b/k` as `vault/7`.
    async fn keeps(data: &'static str) -> Self {
        let store = MemoryStore::new().bucket("b").bucket("vault");
        put(&store, "vault", "7", data, None).await;
        Self { store, told: Arc::default() }
    }

    async fn restore(&self) -> Result<Restored, HandlerError> {
        self.restore_on(Arc::new(self.store.clone())).await
    }

    async fn restore_on(&self, store: Arc<dyn ObjectStore>) -> Result<Restored, HandlerError> {
        let payload = RestorePayload {
            object_id: uuid::Uuid::nil(),
            bucket: "b".to_owned(),
            key: "k".to_owned(),
            version_id: None,
            days: 3,
            tier: RestoreTier::Bulk,
            storage_class: "GLACIER".to_owned(),
            transitioned_ref: Some("vault/7".to_owned()),
            requested_at: 0,
            request_id: "request-1".to_owned(),
        };
        RestoreHandler::new(store, self.told.clone(), &Metrics::default()).restore(&payload).await
    }

    /// Data and class of what is at `b/k`.
    async fn there(&self) -> (Vec<u8>, Option<String>) {
        let get = GetObject { object: ObjectRef::new("b", "k"), range: None, if_match: None };
        let got = self.store.get(&get).await.unwrap();
        let pieces: Vec<Bytes> = got.data.try_collect().await.unwrap();
        (pieces.concat(), got.info.attributes.storage_class)
    }

    fn copies(&self) -> usize {
        self.store.calls().iter().filter(|call| call.operation == Operation::Copy).count()
    }

    fn told(&self) -> Vec<RestoreStatus> {
        self.told.0.lock().unwrap().clone()
    }
}

async fn put(store: &MemoryStore, bucket: &str, key: &str, data: &'static str, class: Option<&str>) {
    let attributes = Attributes { storage_class: class.map(str::to_owned), ..Attributes::default() };
    let (object, body) = (ObjectRef::new(bucket, key), Bytes::from_static(data.as_bytes()).into());
    store.put(&object, &attributes, &Condition::Always, body).await.unwrap();
}

#[tokio::test]
async fn the_copy_replaces_the_archived_object_or_none_and_a_second_run_makes_no_other() {
    for stub in [Some("GLACIER"), Some("DEEP_ARCHIVE"), None] {
        let archive = Archive::keeps("data").await;
        if stub.is_some() {
            put(&archive.store, "b", "k", "stub", stub).await;
        }
        for _ in 0..2 {
            assert!(matches!(archive.restore().await.unwrap(), Restored::Copied { .. }));
            assert_eq!(archive.there().await, (b"data".to_vec(), None));
        }
        assert_eq!((archive.copies(), archive.told()), (1, vec![RestoreStatus::Restored; 2]));
    }
}

#[tokio::test]
async fn what_was_written_since_is_left_alone_and_the_restore_is_told_as_failed() {
    for newer in ["date", "longer data"] {
        let archive = Archive::keeps("data").await;
        put(&archive.store, "b", "k", newer, None).await;
        let error = archive.restore().await.unwrap_err();
        assert!(error.is_permanent() && error.to_string().contains("b/k is not archived"), "{error}");
        assert_eq!(archive.there().await, (newer.as_bytes().to_vec(), None));
        assert_eq!((archive.copies(), archive.told()), (0, vec![RestoreStatus::Failed]));
    }
}

struct Rival {
    store: MemoryStore,
    looks: AtomicUsize,
}

#[async_trait]
impl Looks for Rival {
    fn store(&self) -> &dyn ObjectStore {
        &self.store
    }

    /// Writes after the second look, which is the one at where the copy is to be.
    async fn looked(&self) {
        if self.looks.fetch_add(1, Ordering::Relaxed) == 1 {
            put(&self.store, "b", "k", "newer", None).await;
        }
    }
}

#[tokio::test]
async fn what_is_written_between_look_and_copy_is_left_alone_and_looked_at_anew() {
    for stub in [Some("GLACIER"), None] {
        let archive = Archive::keeps("data").await;
        if stub.is_some() {
            put(&archive.store, "b", "k", "stub", stub).await;
        }
        let rival = Rival { store: archive.store.clone(), looks: AtomicUsize::new(0) };
        assert!(!archive.restore_on(Arc::new(Between(rival))).await.unwrap_err().is_permanent());
        assert_eq!(archive.there().await, (b"newer".to_vec(), None));
        assert!(archive.restore().await.unwrap_err().is_permanent());
        assert_eq!(archive.told(), [RestoreStatus::Failed]);
    }
}

#[tokio::test]
async fn a_copy_that_has_another_etag_than_its_source_is_known_by_its_data() {
    let archive = Archive::keeps("").await;
    let kept = ObjectRef::new("vault", "7");
    let upload = archive.store.create_upload(&kept, &Attributes::default()).await.unwrap();
    let part = archive.store.upload_part(&upload, 1, Bytes::from_static(b"data").into()).await.unwrap();
    archive.store.complete_upload(&upload, &[part], &Condition::Always).await.unwrap();
    for _ in 0..2 {
        assert!(matches!(archive.restore().await.unwrap(), Restored::Copied { .. }));
    }
    let etag = async |object| archive.store.head(&object).await.unwrap().etag;
    assert_ne!(etag(ObjectRef::new("b", "k")).await, etag(kept).await);
    assert_eq!(archive.copies(), 1);
}

#[tokio::test]
async fn a_store_that_knows_no_conditions_is_asked_without() {
    let archive = Archive::keeps("data").await;
    put(&archive.store, "b", "k", "stub", Some("GLACIER")).await;
    let unknown = StoreError::new(StoreErrorKind::NotSupported, "copy to b/k: no conditions");
    archive.store.inject(Fault::fail(Operation::Copy, unknown));
    assert!(matches!(archive.restore().await.unwrap(), Restored::Copied { .. }));
    assert_eq!(archive.there().await, (b"data".to_vec(), None));
}
