//! Every action of the lifecycle handler, and objects that change before it acts.

use std::sync::Arc;

use async_trait::async_trait;
use taskqueue_core::metrics::Metrics;
use taskqueue_core::payloads::{LifecycleAction, LifecyclePayload};
use taskqueue_handlers::lifecycle::{LifecycleHandler, LifecycleOutcome};
use taskqueue_handlers::store::{ListObjects, ObjectStore};

use crate::bucket::Bucket;

fn payload(bucket: &Bucket, key: &str, action: LifecycleAction) -> LifecyclePayload {
    LifecyclePayload {
        bucket: bucket.name.clone(),
        key: key.to_owned(),
        version_id: None,
        action,
        storage_class: None,
        rule_id: "r".to_owned(),
        evaluated_at: 0,
        expected_etag: None,
        expected_mod_time: None,
        upload_id: None,
    }
}

async fn act(bucket: &Bucket, payload: &LifecyclePayload) -> LifecycleOutcome {
    LifecycleHandler::new(bucket.store.clone(), &Metrics::default()).act(payload).await.unwrap()
}

#[tokio::test]
async fn delete_removes_the_object_and_a_second_run_finds_it_absent() {
    let _proof = crate::proof::begin("lifecycle", "delete; a second run finds it absent", "Ceph RGW 20");
    let bucket = Bucket::new().await;
    let etag = bucket.put("k", b"data").await.etag;
    let payload =
        LifecyclePayload { expected_etag: Some(etag), ..payload(&bucket, "k", LifecycleAction::Delete) };
    assert_eq!(act(&bucket, &payload).await, LifecycleOutcome::Done);
    assert_eq!(act(&bucket, &payload).await, LifecycleOutcome::Absent);
}

#[tokio::test]
async fn delete_in_a_bucket_with_versions_keeps_them_behind_a_marker() {
    let bucket = Bucket::versioned().await;
    bucket.put("k", b"data").await;
    assert_eq!(act(&bucket, &payload(&bucket, "k", LifecycleAction::Delete)).await, LifecycleOutcome::Done);
    let versions = bucket.versions().await;
    assert_eq!(versions.iter().map(|it| it.is_delete_marker).collect::<Vec<_>>(), [true, false]);

    let marker = LifecyclePayload {
        version_id: versions[0].version_id.clone(),
        ..payload(&bucket, "k", LifecycleAction::DeleteVersion)
    };
    assert_eq!(act(&bucket, &marker).await, LifecycleOutcome::Done);
    assert_eq!(bucket.read("k").await.unwrap(), b"data");
}

#[tokio::test]
async fn a_noncurrent_version_is_deleted_and_one_that_became_current_is_left_alone() {
    let _proof = crate::proof::begin(
        "lifecycle",
        "delete_version; a version that became current is left alone",
        "Ceph RGW 20",
    );
    let bucket = Bucket::versioned().await;
    let first = bucket.put("k", b"first").await;
    let second = bucket.put("k", b"second").await;
    let of = |version_id: &Option<String>| LifecyclePayload {
        version_id: version_id.clone(),
        ..payload(&bucket, "k", LifecycleAction::DeleteVersion)
    };
    assert_eq!(act(&bucket, &of(&second.version_id)).await, LifecycleOutcome::Changed);
    assert_eq!(act(&bucket, &of(&first.version_id)).await, LifecycleOutcome::Done);
    assert_eq!(bucket.versions().await.len(), 1);
    assert_eq!(bucket.read("k").await.unwrap(), b"second");
}

#[tokio::test]
async fn a_transition_changes_the_class_and_a_promotion_changes_it_back() {
    let _proof =
        crate::proof::begin("lifecycle", "transition to another storage class, promote back", "Ceph RGW 20");
    let bucket = Bucket::new().await;
    let etag = bucket.put("k", b"data").await.etag;
    for (action, class) in [(LifecycleAction::Transition, "GLACIER"), (LifecycleAction::Promote, "STANDARD")]
    {
        let payload = LifecyclePayload {
            storage_class: Some(class.to_owned()),
            expected_etag: Some(etag.clone()),
            ..payload(&bucket, "k", action)
        };
        assert_eq!(act(&bucket, &payload).await, LifecycleOutcome::Done);
        assert_eq!(act(&bucket, &payload).await, LifecycleOutcome::AlreadyThere);
        let found = bucket.store.head(&bucket.object("k")).await.unwrap().attributes.storage_class;
        assert_eq!(found.as_deref().unwrap_or("STANDARD"), class);
    }
    assert_eq!(bucket.read("k").await.unwrap(), b"data");
}

#[tokio::test]
async fn a_transition_in_a_bucket_with_versions_leaves_one_version() {
    let bucket = Bucket::versioned().await;
    let version_id = bucket.put("k", b"data").await.version_id;
    let payload = LifecyclePayload {
        storage_class: Some("GLACIER".to_owned()),
        ..payload(&bucket, "k", LifecycleAction::Transition)
    };
    assert_eq!(act(&bucket, &payload).await, LifecycleOutcome::Done);
    let versions = bucket.versions().await;
    assert_eq!((versions.len(), versions[0].storage_class.as_deref()), (1, Some("GLACIER")));

    let of_old = LifecyclePayload { version_id, ..payload.clone() };
    assert_eq!(act(&bucket, &of_old).await, LifecycleOutcome::Absent);
    bucket.put("k", b"newer").await;
    let noncurrent = LifecyclePayload { version_id: versions[0].version_id.clone(), ..payload };
    let handler = LifecycleHandler::new(bucket.store.clone(), &Metrics::default());
    assert!(handler.act(&noncurrent).await.unwrap_err().is_permanent());
}

#[tokio::test]
async fn an_upload_is_aborted_and_a_second_run_changes_nothing() {
    let _proof = crate::proof::begin("lifecycle", "abort_mpu; a second run changes nothing", "Ceph RGW 20");
    let bucket = Bucket::new().await;
    let upload = bucket.store.create_upload(&bucket.object("k"), &Default::default()).await.unwrap();
    let payload =
        LifecyclePayload { upload_id: Some(upload.id), ..payload(&bucket, "k", LifecycleAction::AbortMpu) };
    for _ in 0..2 {
        assert_eq!(act(&bucket, &payload).await, LifecycleOutcome::Done);
    }
    let list = ListObjects { bucket: bucket.name.clone(), ..ListObjects::default() };
    assert_eq!(bucket.store.list_uploads(&list).await.unwrap().uploads, []);
}

#[tokio::test]
async fn an_object_that_changed_before_the_check_is_left_alone() {
    let bucket = Bucket::new().await;
    let old = bucket.put("k", b"old").await;
    bucket.put("k", b"new").await;
    let written = bucket.store.head(&bucket.object("k")).await.unwrap().last_modified;
    let nanos = |seconds: i64| (written + chrono::TimeDelta::seconds(seconds)).timestamp_nanos_opt();
    let base = payload(&bucket, "k", LifecycleAction::Delete);
    let by_etag = LifecyclePayload { expected_etag: Some(old.etag), ..base.clone() };
    let by_time = LifecyclePayload { expected_mod_time: nanos(-2), ..base.clone() };
    for changed in [by_etag, by_time] {
        assert_eq!(act(&bucket, &changed).await, LifecycleOutcome::Changed);
    }
    assert_eq!(bucket.read("k").await.unwrap(), b"new");
    let within = LifecyclePayload { expected_mod_time: nanos(1), ..base };
    assert_eq!(act(&bucket, &within).await, LifecycleOutcome::Done, "one second is tolerated");
}

/// Somebody who writes right after each look.
struct Rival(Bucket);

#[async_trait]
impl crate::lifecycle::rival::Looks for Rival {
    fn store(&self) -> &dyn ObjectStore {
        &*self.0.store
    }

    async fn looked(&self) {
        self.0.put("k", b"of the rival").await;
    }
}

#[tokio::test]
async fn an_object_that_changes_between_check_and_act_is_left_alone() {
    let _proof = crate::proof::begin(
        "lifecycle",
        "an object that changes between check and act is left alone",
        "Ceph RGW 20",
    );
    for action in [LifecycleAction::Delete, LifecycleAction::Transition] {
        let bucket = Bucket::new().await;
        let etag = bucket.put("k", b"of ours").await.etag;
        let payload = LifecyclePayload {
            expected_etag: Some(etag),
            storage_class: Some("GLACIER".to_owned()),
            ..payload(&bucket, "k", action)
        };
        let rival = Arc::new(rival::Between(Rival(bucket)));
        let handler = LifecycleHandler::new(rival.clone(), &Metrics::default());
        assert_eq!(handler.act(&payload).await.unwrap(), LifecycleOutcome::Changed, "{action:?}");
        let bucket = &rival.0.0;
        assert_eq!(bucket.read("k").await.unwrap(), b"of the rival");
        assert_eq!(bucket.store.head(&bucket.object("k")).await.unwrap().attributes.storage_class, None);
    }
}

mod rival;
