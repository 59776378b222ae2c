//! The JSON of tasks and payloads, byte for byte: what producers in other languages rely on. It knows names,
//! order and what is left out, and nothing of queues.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use taskqueue_core::payloads::{
    AuditLogPayload, CleanupPayload, CleanupScope, EventPayload, FederationDiscoveryPayload,
    FederationIngestPayload, LifecycleAction, LifecyclePayload, ReplicationOperation, ReplicationPayload,
    RestorePayload, RestoreTier, WebhookPayload, types,
};
use taskqueue_core::{
    Metadata, Payload, Priority, RawPayload, Status, Task, TaskId, TaskType, Timestamp, WorkerId,
};
use uuid::Uuid;

const NANOS: i64 = 1_767_225_600_000_000_000;
const OBJECT_ID: Uuid = Uuid::from_u128(0x6ba7_b810_9dad_11d1_80b4_00c0_4fd4_30c8);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn golden(name: &str) -> String {
    std::fs::read_to_string(folder().join(format!("{name}.json"))).expect("the golden file is there")
}

fn assert_golden<T: Serialize + DeserializeOwned + PartialEq + Debug>(name: &str, value: &T) {
    let golden = golden(name);
    let written = serde_json::to_string_pretty(value).unwrap() + "\n";
    assert_eq!(written, golden, "{name}.json");
    assert_eq!(&serde_json::from_str::<T>(&golden).unwrap(), value, "{name}.json");
}

/// The minimal and the full form, and that the minimal one reads the same with what other producers may do:
/// unknown names, and null or empty where an optional field is left out.
fn assert_payload<P>(minimal: &P, full: &P)
where
    P: Payload + DeserializeOwned + PartialEq + Debug,
{
    let (minimal_name, full_name) = (format!("{}_minimal", P::TYPE), format!("{}_full", P::TYPE));
    assert_golden(&minimal_name, minimal);
    assert_golden(&full_name, full);

    let object = |name: &str| -> serde_json::Map<String, serde_json::Value> {
        serde_json::from_str(&golden(name)).unwrap()
    };
    let (always, all) = (object(&minimal_name), object(&full_name));
    let mut nulls = always.clone();
    let mut empties = always.clone();
    for (name, value) in all.iter().filter(|(name, _)| !always.contains_key(*name)) {
        nulls.insert(name.clone(), serde_json::Value::Null);
        if let Some(empty) = empty_like(name, value) {
            empties.insert(name.clone(), empty);
        }
    }
    nulls.insert("added_by_a_later_version".to_owned(), serde_json::json!({"deep": [1]}));
    for object in [nulls, empties] {
        let text = serde_json::to_string(&object).unwrap();
        assert_eq!(&serde_json::from_str::<P>(&text).unwrap(), minimal, "{text}");
    }
    for name in always.keys().filter(|name| *name != "batch_size" && *name != "body") {
        let mut object = always.clone();
        object.remove(name);
        let error = RawPayload::encode(&object).unwrap().decode::<P>().unwrap_err();
        assert!(error.to_string().contains(name), "{name} is required, and the error names it: {error}");
    }
}

fn empty_like(name: &str, value: &serde_json::Value) -> Option<serde_json::Value> {
    match value {
        _ if name == "object_id" => None,
        serde_json::Value::String(_) => Some("".into()),
        serde_json::Value::Number(_) => Some(0.into()),
        serde_json::Value::Object(_) => Some(serde_json::json!({})),
        _ => None,
    }
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn pair(key: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(key.to_owned(), value.to_owned())])
}

fn minimal_task() -> Task {
    let midnight = time("2026-01-01T00:00:00Z");
    Task {
        id: "019b76da-a800-7000-8000-000000000001".parse().unwrap(),
        task_type: TaskType::new("welcome").unwrap(),
        status: Status::Pending,
        priority: Priority::NORMAL,
        payload: RawPayload::parse(r#"{"user":7}"#).unwrap(),
        scheduled_at: midnight,
        started_at: None,
        completed_at: None,
        attempts: 0,
        max_retries: 3,
        retry_after: None,
        last_error: None,
        created_at: midnight,
        updated_at: midnight,
        region: None,
        worker_id: None,
        unique_key: None,
        reclaims: 0,
        metadata: Metadata::new(),
    }
}

fn full_task() -> Task {
    Task {
        id: "019b76da-a800-7000-8000-000000000002".parse::<TaskId>().unwrap(),
        task_type: TaskType::of::<EventPayload>().unwrap(),
        status: Status::Failed,
        priority: Priority::URGENT,
        payload: RawPayload::parse(r#"{ "z": 1.0, "a": [] }"#).unwrap(),
        started_at: Some(time("2026-01-01T00:00:01.000001Z")),
        completed_at: Some(time("2026-01-01T00:00:03Z")),
        attempts: 2,
        max_retries: 5,
        retry_after: Some(time("2026-01-01T00:00:06.5Z")),
        last_error: some("connection refused"),
        created_at: time("2025-12-31T23:59:59.999999Z"),
        updated_at: time("2026-01-01T00:00:02.25Z"),
        region: some("eu-central-1"),
        worker_id: Some(WorkerId::new("ada-0badcafe").unwrap()),
        unique_key: some("bucket/key"),
        reclaims: 1,
        metadata: pair("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ..minimal_task()
    }
}

#[test]
fn a_task_has_the_shared_json_form() {
    assert_golden("task_minimal", &minimal_task());
    assert_golden("task_full", &full_task());
}

#[test]
fn a_task_of_the_reference_is_read_without_the_names_that_are_ours_alone() {
    let mut object: serde_json::Map<_, _> = serde_json::from_str(&golden("task_minimal")).unwrap();
    object.remove("reclaims").expect("ours alone");
    object.insert("added_by_a_later_version".to_owned(), 1.into());
    let task: Task = serde_json::from_str(&serde_json::to_string(&object).unwrap()).unwrap();
    assert_eq!(task, minimal_task());
}

#[test]
fn a_task_payload_keeps_its_bytes_through_json() {
    let task: Task = serde_json::from_str(&golden("task_full")).unwrap();
    assert_eq!(task.payload.as_str(), r#"{ "z": 1.0, "a": [] }"#);
}

#[test]
fn an_event_payload_has_the_shared_json_form() {
    let minimal = EventPayload {
        event_name: "s3:ObjectCreated:Put".to_owned(),
        bucket: "photos".to_owned(),
        timestamp: 1_767_225_600_000,
        ..EventPayload::default()
    };
    let full = EventPayload {
        key: "2026/red car.jpg".to_owned(),
        size: 1_048_576,
        etag: "d41d8cd98f00b204e9800998ecf8427e".to_owned(),
        version_id: some("v1"),
        owner_id: "owner".to_owned(),
        request_id: "C3D13FE58DE4C810".to_owned(),
        source_ip: "203.0.113.7".to_owned(),
        timestamp: 1_767_225_600_123,
        sequencer: "0055AED6DCD90281E5".to_owned(),
        user_agent: some("aws-cli/2"),
        ..minimal.clone()
    };
    assert_payload(&minimal, &full);
}

#[test]
fn a_federation_discovery_payload_has_the_shared_json_form() {
    let minimal = FederationDiscoveryPayload {
        bucket: "photos".to_owned(),
        started_at: NANOS,
        ..FederationDiscoveryPayload::default()
    };
    let full = FederationDiscoveryPayload {
        bucket: "photos".to_owned(),
        start_after: some("2025/"),
        prefix: some("20"),
        batch_size: 500,
        include_versions: true,
        started_at: NANOS + 1,
    };
    assert_payload(&minimal, &full);
}

#[test]
fn a_federation_ingest_payload_has_the_shared_json_form() {
    let minimal = FederationIngestPayload {
        bucket: "photos".to_owned(),
        key: "a".to_owned(),
        etag: "e".to_owned(),
        last_modified: NANOS,
        discovered_at: NANOS + 1,
        ..FederationIngestPayload::default()
    };
    let full = FederationIngestPayload {
        version_id: some("v1"),
        size: 5_368_709_120,
        etag: "e-2".to_owned(),
        content_type: some("image/jpeg"),
        storage_class: some("STANDARD_IA"),
        upload_id: some("u1"),
        ..minimal.clone()
    };
    assert_payload(&minimal, &full);
}

#[test]
fn a_lifecycle_payload_has_the_shared_json_form() {
    let minimal = LifecyclePayload {
        bucket: "photos".to_owned(),
        key: "a".to_owned(),
        version_id: None,
        action: LifecycleAction::Delete,
        storage_class: None,
        rule_id: "expire".to_owned(),
        evaluated_at: NANOS,
        expected_etag: None,
        expected_mod_time: None,
        upload_id: None,
    };
    let full = LifecyclePayload {
        version_id: some("v1"),
        action: LifecycleAction::AbortMpu,
        storage_class: some("GLACIER"),
        expected_etag: some("e"),
        expected_mod_time: Some(1_767_139_200_000_000_000),
        upload_id: some("u1"),
        ..minimal.clone()
    };
    assert_payload(&minimal, &full);
}

#[test]
fn a_restore_payload_has_the_shared_json_form() {
    let minimal = RestorePayload {
        object_id: OBJECT_ID,
        bucket: "photos".to_owned(),
        key: "a".to_owned(),
        version_id: None,
        days: 1,
        tier: RestoreTier::Standard,
        storage_class: "GLACIER".to_owned(),
        transitioned_ref: None,
        requested_at: NANOS,
        request_id: "r1".to_owned(),
    };
    let full = RestorePayload {
        version_id: some("v1"),
        days: 30,
        tier: RestoreTier::Bulk,
        storage_class: "DEEP_ARCHIVE".to_owned(),
        transitioned_ref: some("vault/7"),
        ..minimal.clone()
    };
    assert_payload(&minimal, &full);
}

#[test]
fn a_cleanup_payload_has_the_shared_json_form() {
    let minimal = CleanupPayload {
        bucket: "photos".to_owned(),
        key: "a".to_owned(),
        requested_at: NANOS,
        ..CleanupPayload::default()
    };
    let full = CleanupPayload {
        version_id: some("v1"),
        object_id: Some(OBJECT_ID),
        size: 12,
        storage_class: some("GLACIER"),
        reason: some("overwritten"),
        scope: Some(CleanupScope::Versions),
        prefix: some("logs/"),
        older_than_seconds: Some(86_400),
        keep_count: Some(3),
        continue_after: some("logs/7"),
        ..minimal.clone()
    };
    assert_payload(&minimal, &full);
}

#[test]
fn a_replication_payload_has_the_shared_json_form() {
    let minimal = ReplicationPayload {
        operation: ReplicationOperation::Delete,
        source_region: "eu".to_owned(),
        source_bucket: "photos".to_owned(),
        source_key: "a".to_owned(),
        version_id: None,
        destination_region: "us".to_owned(),
        destination_bucket: "copies".to_owned(),
        destination_key: "a".to_owned(),
        etag: String::new(),
        size: 0,
        content_type: None,
        metadata: None,
        requested_at: NANOS,
    };
    let full = ReplicationPayload {
        operation: ReplicationOperation::Put,
        version_id: some("v1"),
        destination_key: "eu/a".to_owned(),
        etag: "e".to_owned(),
        size: 12,
        content_type: some("text/plain"),
        metadata: Some(pair("author", "ada")),
        ..minimal.clone()
    };
    assert_payload(&minimal, &full);
}

#[test]
fn an_audit_log_payload_has_the_shared_json_form() {
    let minimal = AuditLogPayload {
        record_id: "1".to_owned(),
        timestamp: NANOS,
        principal_id: "anonymous".to_owned(),
        action: "s3:ListBuckets".to_owned(),
        request_id: "r1".to_owned(),
        status_code: 200,
        ..AuditLogPayload::default()
    };
    let full = AuditLogPayload {
        principal_id: "ada".to_owned(),
        action: "s3:GetObject".to_owned(),
        bucket: some("photos"),
        key: some("a"),
        version_id: some("v1"),
        source_ip: some("2001:db8::7"),
        user_agent: some("aws-cli/2"),
        region: some("eu"),
        status_code: 403,
        error_code: some("AccessDenied"),
        details: Some(pair("policy", "deny-all")),
        ..minimal.clone()
    };
    assert_payload(&minimal, &full);
}

#[test]
fn a_webhook_payload_has_the_shared_json_form() {
    let minimal = WebhookPayload {
        url: "https://example.org/hook".to_owned(),
        headers: None,
        body: RawPayload::parse("null").unwrap(),
        secret_name: None,
        timeout_ms: None,
    };
    let full = WebhookPayload {
        headers: Some(pair("x-tenant", "7")),
        body: RawPayload::parse(r#"{ "b": 1.50, "a": "\u00e9" }"#).unwrap(),
        secret_name: some("billing"),
        timeout_ms: Some(2500),
        ..minimal.clone()
    };
    assert_payload(&minimal, &full);
}

#[test]
fn each_ready_made_type_has_its_golden_files_and_no_file_is_left_over() {
    let mut expected: Vec<String> = [&["task"][..], &types::ALL]
        .concat()
        .iter()
        .flat_map(|name| [format!("{name}_full.json"), format!("{name}_minimal.json")])
        .collect();
    let mut found: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}
