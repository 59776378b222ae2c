//! The payloads of federation: listing an external bucket, and copying its objects here.

use serde::{Deserialize, Serialize};

use super::{optional, types};
use crate::Payload;

/// How many objects one discovery batch lists unless it says otherwise.
pub const DISCOVERY_BATCH_SIZE_DEFAULT: u32 = 1000;

/// One page of an external bucket is to be listed, and each object found to be ingested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FederationDiscoveryPayload {
    /// The local bucket that is federated with the external one.
    pub bucket: String,
    /// List keys after this one; none: from the start.
    #[serde(default, skip_serializing_if = "optional::is_empty", deserialize_with = "optional::read")]
    pub start_after: Option<String>,
    /// List only keys with this prefix; none: all.
    #[serde(default, skip_serializing_if = "optional::is_empty", deserialize_with = "optional::read")]
    pub prefix: Option<String>,
    /// The most objects to list in this batch; 1000 when absent.
    #[serde(default = "batch_size_default")]
    pub batch_size: u32,
    /// Whether every version is listed, or only the current ones.
    pub include_versions: bool,
    /// When the discovery, of which this is one batch, began, in Unix nanoseconds.
    pub started_at: i64,
}

impl Payload for FederationDiscoveryPayload {
    const TYPE: &'static str = types::FEDERATION_DISCOVERY;
}

fn batch_size_default() -> u32 {
    DISCOVERY_BATCH_SIZE_DEFAULT
}

impl Default for FederationDiscoveryPayload {
    fn default() -> Self {
        Self {
            bucket: String::new(),
            start_after: None,
            prefix: None,
            batch_size: DISCOVERY_BATCH_SIZE_DEFAULT,
            include_versions: false,
            started_at: 0,
        }
    }
}

/// One object of an external bucket is to be copied here.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FederationIngestPayload {
    /// The local bucket that is federated with the external one.
    pub bucket: String,
    /// The object's key.
    pub key: String,
    /// The version in the external bucket; none: the current one.
    #[serde(default, skip_serializing_if = "optional::is_empty", deserialize_with = "optional::read")]
    pub version_id: Option<String>,
    /// The size as listed, in bytes.
    pub size: u64,
    /// The ETag as listed, without quotes.
    pub etag: String,
    /// The media type, where it is known already.
    #[serde(default, skip_serializing_if = "optional::is_empty", deserialize_with = "optional::read")]
    pub content_type: Option<String>,
    /// The storage class in the external bucket.
    #[serde(default, skip_serializing_if = "optional::is_empty", deserialize_with = "optional::read")]
    pub storage_class: Option<String>,
    /// When it was last modified there, in Unix nanoseconds.
    pub last_modified: i64,
    /// When it was listed, in Unix nanoseconds.
    pub discovered_at: i64,
    /// The multipart upload here that the handler has begun, and that its next attempts go on with.
    #[serde(default, skip_serializing_if = "optional::is_empty", deserialize_with = "optional::read")]
    pub upload_id: Option<String>,
}

impl Payload for FederationIngestPayload {
    const TYPE: &'static str = types::FEDERATION_INGEST;
}
