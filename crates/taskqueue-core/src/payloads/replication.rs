//! The payload of replication to another region, and its operations.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{optional, types};
use crate::Payload;

/// What is repeated in the other region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ReplicationOperation {
    /// `PUT`: the object was written.
    Put,
    /// `DELETE`: the object was deleted.
    Delete,
    /// `COPY`: the object was made by a copy within the source region.
    Copy,
}

impl ReplicationOperation {
    /// Every operation.
    pub const ALL: [Self; 3] = [Self::Put, Self::Delete, Self::Copy];

    /// The JSON name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Copy => "COPY",
        }
    }
}

/// A change of an object is to be repeated in another region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicationPayload {
    /// What is repeated.
    pub operation: ReplicationOperation,
    /// The region in which it happened.
    pub source_region: String,
    /// The bucket in which it happened.
    pub source_bucket: String,
    /// The object's key there.
    pub source_key: String,
    /// The object's version there; none in a bucket without versions.
    #[serde(default, skip_serializing_if = "optional::is_empty", deserialize_with = "optional::read")]
    pub version_id: Option<String>,
    /// The region that is to follow.
    pub destination_region: String,
    /// The bucket that is to follow.
    pub destination_bucket: String,
    /// The object's key in that bucket.
    pub destination_key: String,
    /// The object's ETag, without quotes; empty for `DELETE`.
    pub etag: String,
    /// The object's size, in bytes; 0 for `DELETE`.
    pub size: u64,
    /// The object's media type.
    #[serde(default, skip_serializing_if = "optional::is_empty", deserialize_with = "optional::read")]
    pub content_type: Option<String>,
    /// The object's user metadata, without the `x-amz-meta-` prefix.
    #[serde(default, skip_serializing_if = "optional::is_empty", deserialize_with = "optional::read")]
    pub metadata: Option<BTreeMap<String, String>>,
    /// When the change happened, in Unix nanoseconds.
    pub requested_at: i64,
}

impl Payload for ReplicationPayload {
    const TYPE: &'static str = types::REPLICATION;
}
