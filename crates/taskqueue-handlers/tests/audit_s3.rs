//! Audit records shipped to a bucket of the S3 gateway that TASKQUEUE_S3_URL names.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod support;

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use flate2::read::GzDecoder;
use futures::TryStreamExt;
use support::events::{unique, wait_until};
use support::gateway::Gateway;
use support::proof;
use taskqueue_conformance::Proxy;
use taskqueue_core::payloads::AuditLogPayload;
use taskqueue_core::{NewTask, Queue, RetryPolicy, TaskType};
use taskqueue_handlers::audit::{AuditConfig, AuditLogHandler, ObjectAudit};
use taskqueue_handlers::store::{
    GetObject, ListObjects, ObjectRef, ObjectStore, S3Config, S3Credentials, S3Store, Version,
};
use taskqueue_memory::MemoryQueue;
use taskqueue_worker::{Report, Worker};

fn config(endpoint: &str, (access_key, secret_key): (&str, &str)) -> S3Config {
    S3Config::new(Some(endpoint.to_owned()), S3Credentials::new(access_key, secret_key))
}

fn store(endpoint: &str, keys: (&str, &str)) -> S3Store {
    S3Store::new(config(endpoint, keys)).unwrap()
}

/// Ships so many records into `bucket` of a store.
async fn ship(count: usize, store: S3Store, bucket: String) -> Report {
    let place = ObjectRef::new(bucket, "audit/");
    let config = AuditConfig::default().age_max(Duration::from_millis(100)).records_max(40);
    let handler = AuditLogHandler::new(ObjectAudit::new(Arc::new(store), place), config).unwrap();
    let queue = Arc::new(MemoryQueue::new());
    let record = |number: usize| AuditLogPayload {
        record_id: format!("{number:03}"),
        timestamp: 1_767_225_600_000_000_000,
        ..AuditLogPayload::default()
    };
    let tasks = (0..count).map(|number| NewTask::new(&record(number)).unwrap().max_retries(1000)).collect();
    queue.enqueue_many(tasks).await.unwrap();
    let retry = RetryPolicy::fixed(Duration::from_millis(50));
    let worker = Worker::builder(Arc::clone(&queue)).concurrency(100).retry(retry);
    let task_type = TaskType::of::<AuditLogPayload>().unwrap();
    let running = worker.handle(task_type, handler).build().unwrap().start();
    // Not `drain`, which leaves those that wait for their next attempt.
    wait_until(async || {
        let stats = queue.stats().await.unwrap();
        stats.pending + stats.running + stats.failed == 0
    })
    .await;
    running.stop().await
}

async fn objects(store: &S3Store, bucket: &str) -> Vec<Version> {
    let list = ListObjects { bucket: bucket.to_owned(), ..ListObjects::default() };
    store.list(&list).await.unwrap().objects
}

/// The ids of the records in all objects of a bucket.
async fn shipped(store: &S3Store, bucket: &str) -> Vec<String> {
    let mut ids = Vec::new();
    for Version { key, .. } in objects(store, bucket).await {
        assert!(key.starts_with("audit/2026/01/01/00/") && key.ends_with(".jsonl.gz"), "{key}");
        let get = GetObject { object: ObjectRef::new(bucket, key), range: None, if_match: None };
        let pieces: Vec<_> = store.get(&get).await.unwrap().data.try_collect().await.unwrap();
        let mut text = String::new();
        GzDecoder::new(pieces.concat().as_slice()).read_to_string(&mut text).unwrap();
        let id = |line| serde_json::from_str::<AuditLogPayload>(line).unwrap().record_id;
        ids.extend(text.lines().map(id));
    }
    ids.sort();
    ids
}

fn ids(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{number:03}")).collect()
}

#[tokio::test]
async fn every_record_is_in_an_object_of_its_hour() {
    let _proof = proof::begin("audit_log", "every record is in an object of its hour", "Ceph RGW 20");
    let (gateway, bucket) = (Gateway::new(), unique("audit"));
    gateway.put(&format!("/{bucket}"), "").await;
    let shipping = store(gateway.url(), gateway.keys());
    let report = ship(100, shipping, bucket.clone()).await;
    assert_eq!((report.completed, report.failed), (100, 0));
    let store = store(gateway.url(), gateway.keys());
    assert_eq!(shipped(&store, &bucket).await, ids(100));
    assert!(objects(&store, &bucket).await.len() < 10, "records of tasks that ran together share objects");
}

#[tokio::test]
async fn a_store_whose_answers_are_lost_and_that_dies_costs_no_record() {
    let _proof = proof::begin("audit_log", "killed in mid-delivery: no record is lost", "Ceph RGW 20");
    let (gateway, bucket) = (Gateway::new(), unique("audit"));
    gateway.put(&format!("/{bucket}"), "").await;
    let proxy = Proxy::before(gateway.url().split_once("://").unwrap().1).await;
    proxy.lose_answers();
    let broken = S3Config {
        answer_timeout: Duration::from_secs(2),
        ..config(&format!("http://{}", proxy.address()), gateway.keys())
    };
    let broken = S3Store::new(broken).unwrap();
    let store = store(gateway.url(), gateway.keys());
    let breaking = async {
        wait_until(async || !objects(&store, &bucket).await.is_empty()).await;
        proxy.kill().await;
        proxy.resume();
    };
    let (report, ()) = tokio::join!(ship(100, broken, bucket.clone()), breaking);
    assert_eq!((report.completed, report.dead_lettered), (100, 0));
    assert!(report.failed > 0, "no attempt failed: nothing was broken");
    let shipped: BTreeSet<_> = shipped(&store, &bucket).await.into_iter().collect();
    assert_eq!(shipped, ids(100).into_iter().collect());
}
