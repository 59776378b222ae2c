//! The payload of S3 event notifications.

use serde::{Deserialize, Serialize};

use super::{optional, types};
use crate::Payload;

/// Something happened to an object or a bucket, and whoever subscribed is to be told.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EventPayload {
    /// What happened, with its prefix: `s3:ObjectCreated:Put`.
    pub event_name: String,
    /// The bucket in which it happened.
    pub bucket: String,
    /// The object's key, not URL-encoded; empty for events of a bucket.
    pub key: String,
    /// The object's size, in bytes; 0 where there is no object.
    pub size: u64,
    /// The object's ETag, without quotes; empty where there is no object.
    pub etag: String,
    /// The object's version; none in a bucket without versions.
    #[serde(default, skip_serializing_if = "optional::is_empty", deserialize_with = "optional::read")]
    pub version_id: Option<String>,
    /// The canonical id of the bucket's owner.
    pub owner_id: String,
    /// The id of the request that caused it.
    pub request_id: String,
    /// The IP address from which that request came.
    pub source_ip: String,
    /// When it happened, in Unix milliseconds.
    pub timestamp: i64,
    /// Hexadecimal digits that order the events of one key: left-pad the shorter of two with zeros, then compare
    /// them as text.
    pub sequencer: String,
    /// The `User-Agent` of that request.
    #[serde(default, skip_serializing_if = "optional::is_empty", deserialize_with = "optional::read")]
    pub user_agent: Option<String>,
}

impl Payload for EventPayload {
    const TYPE: &'static str = types::EVENT;
}
