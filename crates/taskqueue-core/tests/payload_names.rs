//! What of payloads golden files do not show: the names of enums, defaults, what is left out, and which restore
//! tier is for which storage class.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use taskqueue_core::Status;
use taskqueue_core::payloads::{
    CleanupScope, DEEP_ARCHIVE, EventPayload, FederationDiscoveryPayload, GLACIER, LifecycleAction,
    ReplicationOperation, RestoreTier,
};

#[test]
fn every_enum_has_the_json_names_of_the_reference() {
    assert_names(
        LifecycleAction::ALL,
        LifecycleAction::as_str,
        &["delete", "delete_version", "transition", "abort_mpu", "promote"],
    );
    assert_names(RestoreTier::ALL, RestoreTier::as_str, &["Expedited", "Standard", "Bulk"]);
    assert_names(ReplicationOperation::ALL, ReplicationOperation::as_str, &["PUT", "DELETE", "COPY"]);
    assert_names(CleanupScope::ALL, CleanupScope::as_str, &["object", "objects", "versions"]);
    assert_names(
        Status::ALL,
        Status::as_str,
        &["pending", "running", "completed", "failed", "dead_letter", "cancelled"],
    );
}

fn assert_names<T, const N: usize>(all: [T; N], as_str: fn(T) -> &'static str, names: &[&str])
where
    T: Serialize + DeserializeOwned + PartialEq + Debug + Copy,
{
    assert_eq!(all.map(as_str).as_slice(), names);
    for (value, name) in all.into_iter().zip(names) {
        assert_eq!(serde_json::to_value(value).unwrap(), serde_json::json!(name));
        assert_eq!(serde_json::from_value::<T>(serde_json::json!(name)).unwrap(), value);
    }
    assert!(serde_json::from_value::<T>(serde_json::json!("something else")).is_err());
}

#[test]
fn a_tier_restores_only_from_the_classes_it_is_for() {
    let valid = |class: &str| RestoreTier::ALL.map(|tier| tier.is_valid_for(class));
    assert_eq!(valid(GLACIER), [true, true, true]);
    assert_eq!(valid(DEEP_ARCHIVE), [false, true, true]);
    assert_eq!(valid("STANDARD"), [false, false, false]);
    let hours = |tier: RestoreTier, class: &str| tier.takes(class).unwrap().end().as_secs() / 3600;
    assert_eq!(hours(RestoreTier::Standard, GLACIER), 5);
    assert_eq!(hours(RestoreTier::Bulk, DEEP_ARCHIVE), 48);
}

#[test]
fn a_discovery_without_a_batch_size_lists_a_thousand() {
    let json = r#"{"bucket":"photos","include_versions":false,"started_at":1}"#;
    assert_eq!(serde_json::from_str::<FederationDiscoveryPayload>(json).unwrap().batch_size, 1000);
}

#[test]
fn empty_optional_fields_are_left_out_however_they_were_set() {
    let event = EventPayload {
        version_id: Some(String::new()),
        user_agent: Some(String::new()),
        ..EventPayload::default()
    };
    let json = serde_json::to_string(&event).unwrap();
    assert!(!json.contains("version_id") && !json.contains("user_agent"), "{json}");
}

#[test]
fn a_kind_of_error_is_shown_by_its_name() {
    let error = taskqueue_core::TaskType::new("Mail").unwrap_err();
    assert_eq!(
        (error.kind().as_str(), format!("{}", error.kind()).as_str()),
        ("invalid_input", "invalid_input")
    );
}
