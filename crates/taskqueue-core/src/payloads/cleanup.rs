//! The payload of object and version cleanup.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{optional, types};
use crate::Payload;

/// The data of an object or of one version is no longer referenced and is to be removed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CleanupPayload {
    /// The bucket.
    pub bucket: String,
    /// The object's key.
    pub key: String,
    /// The version; none in a bucket without versions.
    #[serde(default, skip_serializing_if = "optional::is_empty", deserialize_with = "optional::read")]
    pub version_id: Option<String>,
    /// The stored object whose data is removed; none: the one that bucket, key and version name.
    #[serde(default, skip_serializing_if = "optional::is_empty", deserialize_with = "optional::read")]
    pub object_id: Option<Uuid>,
    /// How much is freed, in bytes; 0 when not known.
    pub size: u64,
    /// The storage class that holds the data; none: the standard one.
    #[serde(default, skip_serializing_if = "optional::is_empty", deserialize_with = "optional::read")]
    pub storage_class: Option<String>,
    /// Why it is removed (`deleted`, `overwritten`, `expired`), for logs.
    #[serde(default, skip_serializing_if = "optional::is_empty", deserialize_with = "optional::read")]
    pub reason: Option<String>,
    /// When the removal was asked for, in Unix nanoseconds.
    pub requested_at: i64,
}

impl Payload for CleanupPayload {
    const TYPE: &'static str = types::CLEANUP;
}
