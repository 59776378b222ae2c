//! Lifecycle rules over a bucket, and what the handler makes of the tasks.

use std::collections::BTreeSet;

use taskqueue_core::metrics::Metrics;
use taskqueue_core::payloads::LifecyclePayload;
use taskqueue_core::{Clock, SystemClock};
use taskqueue_handlers::lifecycle::rules::Rules;
use taskqueue_handlers::lifecycle::{LifecycleHandler, LifecycleOutcome, LifecycleScan};
use taskqueue_handlers::store::ObjectStore;

use crate::bucket::Bucket;

const RULES: &str = r#"{"Rules": [
    {"ID": "tmp", "Status": "Enabled", "Filter": {"Prefix": "tmp/"}, "Expiration": {"Days": 1},
     "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
     "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}},
    {"ID": "cold", "Status": "Enabled", "Filter": {"And": {"Prefix": "data/", "Tags": [{"Key": "keep", "Value": "cold"}]}},
     "Transitions": [{"Days": 1, "StorageClass": "GLACIER"}]}]}"#;

async fn scanned(bucket: &Bucket) -> Vec<LifecyclePayload> {
    let in_three_days = SystemClock.now() + chrono::TimeDelta::days(3);
    let rules = Rules::parse(RULES).unwrap();
    let mut scan = LifecycleScan::new(bucket.store.clone(), rules, &bucket.name, in_three_days);
    let mut payloads = Vec::new();
    while let Some(found) = scan.step().await.unwrap() {
        payloads.extend(found.payloads);
    }
    payloads
}

#[tokio::test]
async fn what_a_scan_finds_the_handler_does_and_the_next_scan_finds_no_more() {
    let bucket = Bucket::versioned().await;
    for key in ["tmp/a", "tmp/a", "data/plain", "data/cold"] {
        bucket.put(key, b"data").await;
    }
    let request = bucket.client.put_object().bucket(&bucket.name).key("data/tagged").tagging("keep=cold");
    request.send().await.unwrap();
    bucket.store.create_upload(&bucket.object("tmp/upload"), &Default::default()).await.unwrap();

    let payloads = scanned(&bucket).await;
    let shown: Vec<_> = payloads.iter().map(|it| (it.key.as_str(), it.action.as_str())).collect();
    let expected = [
        ("data/tagged", "transition"),
        ("tmp/a", "delete"),
        ("tmp/a", "delete_version"),
        ("tmp/upload", "abort_mpu"),
    ];
    assert_eq!(shown, expected);

    let handler = LifecycleHandler::new(bucket.store.clone(), &Metrics::default());
    for payload in &payloads {
        assert_eq!(handler.act(payload).await.unwrap(), LifecycleOutcome::Done, "{payload:?}");
    }
    let left: Vec<_> = scanned(&bucket).await.into_iter().map(|it| (it.key, it.action.as_str())).collect();
    assert_eq!(left, [("tmp/a".to_owned(), "delete_version")], "what the delete marker hides");
}

#[tokio::test]
async fn a_second_scan_of_the_same_state_makes_the_same_tasks() {
    let bucket = Bucket::new().await;
    for key in ["tmp/a", "tmp/b"] {
        bucket.put(key, b"data").await;
    }
    let keys = async || -> BTreeSet<Option<String>> {
        let tasks = scanned(&bucket).await;
        tasks.iter().map(|it| LifecycleScan::task(it).unwrap().unique_key).collect()
    };
    let first = keys().await;
    assert_eq!(first.len(), 2);
    assert_eq!(keys().await, first);
    bucket.put("tmp/a", b"other").await;
    assert_eq!(keys().await.intersection(&first).count(), 1);
}
