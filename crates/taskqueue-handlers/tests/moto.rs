//! Restores that succeed, which the other gateway has not got: on moto, which TASKQUEUE_MOTO_URL names
//! (`http://key:secret@host:port`).

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "s3/engine.rs"]
mod engine;
#[path = "support/proof.rs"]
mod proof;
#[path = "support/told.rs"]
mod told;

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::Client;
use proof::Proof;
use taskqueue_core::metrics::Metrics;
use taskqueue_core::payloads::{RestorePayload, RestoreTier};
use taskqueue_core::{Clock, SystemClock, TaskId};
use taskqueue_handlers::HandlerError;
use taskqueue_handlers::restore::{RestoreHandler, RestorePolling, RestoreStatus, Restored};
use taskqueue_handlers::store::{ObjectRef, ObjectStore, S3Config, S3Store};
use told::Told;

struct Archive {
    /// Of moto, where its image tells it.
    version: String,
    bucket: String,
    client: Client,
    store: Arc<S3Store>,
    told: Arc<Told>,
}

impl Archive {
    /// With an object `k` of this class.
    async fn with(class: &str) -> Self {
        let url = std::env::var("TASKQUEUE_MOTO_URL").expect("TASKQUEUE_MOTO_URL names a moto server");
        let config = S3Config::from_url(&url).unwrap();
        let client = config.client().unwrap();
        let bucket = format!("moto-{}", TaskId::generate());
        client.create_bucket().bucket(&bucket).send().await.unwrap();
        let version = engine::report("moto", &config).await;
        let (store, told) = (Arc::new(S3Store::new(config).unwrap()), Arc::default());
        let archive = Self { version, bucket, client, store, told };
        archive.put("k", class).await;
        archive
    }

    fn shows(&self, what: &'static str) -> Proof {
        proof::begin("restore", what, &format!("moto {}", self.version))
    }

    async fn put(&self, key: &str, class: &str) {
        let put = self.client.put_object().bucket(&self.bucket).key(key).storage_class(class.into());
        put.body(b"archived".to_vec().into()).send().await.unwrap();
    }

    fn payload(&self, tier: RestoreTier, class: &str) -> RestorePayload {
        RestorePayload {
            object_id: uuid::Uuid::nil(),
            bucket: self.bucket.clone(),
            key: "k".to_owned(),
            version_id: None,
            days: 3,
            tier,
            storage_class: class.to_owned(),
            transitioned_ref: None,
            requested_at: SystemClock.now().timestamp_nanos_opt().unwrap(),
            request_id: "request-1".to_owned(),
        }
    }

    async fn restore(&self, payload: &RestorePayload) -> Result<Restored, HandlerError> {
        let handler = RestoreHandler::new(self.store.clone(), self.told.clone(), &Metrics::default());
        handler
            .polling(RestorePolling { pause_min: Duration::from_secs(1), pause_max: Duration::from_secs(9) })
            .restore(payload)
            .await
    }
}

#[tokio::test]
async fn a_restore_is_asked_for_waited_for_and_done_and_a_second_run_asks_no_more() {
    let archive = Archive::with("GLACIER").await;
    let _proof = archive.shows("asked for, waited for and done; a second run asks no more");
    let payload = archive.payload(RestoreTier::Standard, "GLACIER");
    assert_eq!(archive.restore(&payload).await.unwrap(), Restored::After(Duration::from_secs(9)));
    for _ in 0..2 {
        let Restored::Readable(Some(expires)) = archive.restore(&payload).await.unwrap() else {
            panic!("it is restored by now")
        };
        let days = (expires - SystemClock.now()).num_hours();
        assert!((48..=96).contains(&days), "{expires}");
    }
    let expected = [RestoreStatus::Requested, RestoreStatus::Restored, RestoreStatus::Restored];
    assert_eq!(archive.told.statuses(), expected);
    assert!(archive.told.0.lock().unwrap()[1].expires_at.is_some());
}

#[tokio::test]
async fn what_cannot_be_restored_fails_for_good_and_is_told_so() {
    let archive = Archive::with("DEEP_ARCHIVE").await;
    let expedited = archive.payload(RestoreTier::Expedited, "DEEP_ARCHIVE");
    let for_no_days = RestorePayload { days: 0, ..archive.payload(RestoreTier::Bulk, "DEEP_ARCHIVE") };
    let absent =
        RestorePayload { key: "absent".to_owned(), ..archive.payload(RestoreTier::Bulk, "DEEP_ARCHIVE") };
    for payload in [expedited, for_no_days, absent] {
        assert!(archive.restore(&payload).await.unwrap_err().is_permanent());
    }
    assert_eq!(archive.told.statuses(), [RestoreStatus::Failed; 3]);
}

#[tokio::test]
async fn what_is_not_archived_is_readable_for_good() {
    let archive = Archive::with("STANDARD").await;
    let payload = archive.payload(RestoreTier::Bulk, "GLACIER");
    assert_eq!(archive.restore(&payload).await.unwrap(), Restored::Readable(None));
}

#[tokio::test]
async fn what_the_archive_keeps_elsewhere_is_copied_and_goes_back_in_time() {
    let archive = Archive::with("GLACIER").await;
    let _proof = archive.shows("what the archive keeps elsewhere is copied and goes back in time");
    archive.put("vault/7", "STANDARD").await;
    let reference = format!("{}/vault/7", archive.bucket);
    let payload =
        RestorePayload { transitioned_ref: Some(reference), ..archive.payload(RestoreTier::Bulk, "GLACIER") };
    let Restored::Copied { expires, back } = archive.restore(&payload).await.unwrap() else {
        panic!("it is copied at once")
    };
    assert!((expires - SystemClock.now()).num_hours() >= 71);
    let info = archive.store.head(&ObjectRef::new(&archive.bucket, "k")).await.unwrap();
    assert_eq!(info.attributes.storage_class, None);
    assert_eq!(
        (back.storage_class.as_deref(), back.expected_etag.clone()),
        (Some("GLACIER"), Some(info.etag))
    );
    assert_eq!(archive.told.statuses(), [RestoreStatus::Restored]);
}
