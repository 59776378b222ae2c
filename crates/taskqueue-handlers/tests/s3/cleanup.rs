//! The cleanup handler: one object, objects and versions under a prefix, and a cleanup that goes on in another task.

use taskqueue_core::metrics::Metrics;
use taskqueue_core::payloads::{CleanupPayload, CleanupScope};
use taskqueue_core::{Clock, SystemClock};
use taskqueue_handlers::cleanup::{Cleaned, CleanupHandler};
use taskqueue_handlers::store::{ListObjects, ObjectStore};

use crate::bucket::Bucket;

fn payload(bucket: &Bucket, scope: CleanupScope, prefix: &str) -> CleanupPayload {
    CleanupPayload {
        bucket: bucket.name.clone(),
        scope: Some(scope),
        prefix: Some(prefix.to_owned()),
        // Ahead, as the gateway's clock is another than ours.
        requested_at: SystemClock.now().timestamp_nanos_opt().unwrap() + 60_000_000_000,
        ..CleanupPayload::default()
    }
}

async fn clean(bucket: &Bucket, payload: &CleanupPayload) -> Cleaned {
    CleanupHandler::new(bucket.store.clone(), &Metrics::default()).clean(payload).await.unwrap()
}

async fn keys(bucket: &Bucket) -> Vec<String> {
    let list = ListObjects { bucket: bucket.name.clone(), ..ListObjects::default() };
    bucket.store.list(&list).await.unwrap().objects.into_iter().map(|it| it.key).collect()
}

#[tokio::test]
async fn one_object_goes_and_a_second_run_changes_nothing() {
    let _proof =
        crate::proof::begin("cleanup", "one object goes; a second run changes nothing", "Ceph RGW 20");
    let bucket = Bucket::new().await;
    bucket.put("k", b"data").await;
    let payload =
        CleanupPayload { key: "k".to_owned(), scope: None, ..payload(&bucket, CleanupScope::Object, "") };
    for _ in 0..2 {
        clean(&bucket, &payload).await;
    }
    assert_eq!(keys(&bucket).await, [""; 0]);
}

#[tokio::test]
async fn objects_under_the_prefix_go_and_no_others() {
    let _proof = crate::proof::begin("cleanup", "objects under a prefix go and no others", "Ceph RGW 20");
    let bucket = Bucket::new().await;
    for key in ["logs/1", "logs/2", "other"] {
        bucket.put(key, b"data").await;
    }
    let cleaned = clean(&bucket, &payload(&bucket, CleanupScope::Objects, "logs/")).await;
    assert_eq!(cleaned, Cleaned { objects: 2, bytes: 8, ..Cleaned::default() });
    assert_eq!(keys(&bucket).await, ["other"]);
}

#[tokio::test]
async fn what_is_young_stays() {
    let bucket = Bucket::new().await;
    bucket.put("k", b"data").await;
    let payload =
        CleanupPayload { older_than_seconds: Some(3600), ..payload(&bucket, CleanupScope::Objects, "") };
    assert_eq!(clean(&bucket, &payload).await.objects, 0);
}

#[tokio::test]
async fn of_each_key_the_current_version_and_the_newest_others_stay() {
    let _proof = crate::proof::begin(
        "cleanup",
        "of each key the current version and the newest others stay",
        "Ceph RGW 20",
    );
    let bucket = Bucket::versioned().await;
    for data in [b"1", b"2", b"3", b"4"] {
        bucket.put("k", data).await;
    }
    let payload = CleanupPayload { keep_count: Some(1), ..payload(&bucket, CleanupScope::Versions, "") };
    assert_eq!(clean(&bucket, &payload).await.objects, 2);
    assert_eq!(bucket.versions().await.len(), 2);
    assert_eq!(bucket.read("k").await.unwrap(), b"4");
}

#[tokio::test]
async fn a_cleanup_begins_behind_the_key_where_another_ended() {
    let bucket = Bucket::new().await;
    for key in ["a", "b", "c"] {
        bucket.put(key, b"data").await;
    }
    let payload = CleanupPayload {
        continue_after: Some("a".to_owned()),
        ..payload(&bucket, CleanupScope::Objects, "")
    };
    assert_eq!(clean(&bucket, &payload).await.objects, 2);
    assert_eq!(keys(&bucket).await, ["a"]);
}
