//! The payload of object and version cleanup.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{optional, types};
use crate::Payload;

/// What a cleanup is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CleanupScope {
    /// `object`: one object, or one version of it.
    #[default]
    #[serde(alias = "")]
    Object,
    /// `objects`: the current objects under a prefix.
    Objects,
    /// `versions`: the noncurrent versions under a prefix.
    Versions,
}

impl CleanupScope {
    /// Every scope.
    pub const ALL: [Self; 3] = [Self::Object, Self::Objects, Self::Versions];

    /// The JSON name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Objects => "objects",
            Self::Versions => "versions",
        }
    }
}

/// The data of an object or of one version is no longer referenced and is to be removed; or, with a `scope`, that of
/// whatever is under a prefix. What the scope has no use for stays empty: the handler refuses a task that contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CleanupPayload {
    /// The bucket.
    pub bucket: String,
    /// The object's key; empty where the scope is wider than one object.
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
    /// What it is about; none: the one object.
    #[serde(default, skip_serializing_if = "optional::is_empty", deserialize_with = "optional::read")]
    pub scope: Option<CleanupScope>,
    /// Where the scope is wider: keys with this prefix; none: all of the bucket.
    #[serde(default, skip_serializing_if = "optional::is_empty", deserialize_with = "optional::read")]
    pub prefix: Option<String>,
    /// Where the scope is wider: only what was that old when the removal was asked for, in seconds; none: any.
    #[serde(default, skip_serializing_if = "optional::is_empty", deserialize_with = "optional::read")]
    pub older_than_seconds: Option<u64>,
    /// Where the scope is wider: how many of the newest objects, or of each key's newest noncurrent versions, stay;
    /// none: none.
    #[serde(default, skip_serializing_if = "optional::is_empty", deserialize_with = "optional::read")]
    pub keep_count: Option<u32>,
    /// Where the scope is wider: the key behind which this task begins; none: at the first.
    #[serde(default, skip_serializing_if = "optional::is_empty", deserialize_with = "optional::read")]
    pub continue_after: Option<String>,
    /// When the removal was asked for, in Unix nanoseconds, by the clock of whoever asks. An object of the key that was
    /// written later stays; 0: it goes, whichever it is. Where the scope is wider, ages count back from here; 0: from when
    /// the task was enqueued.
    pub requested_at: i64,
}

impl Payload for CleanupPayload {
    const TYPE: &'static str = types::CLEANUP;
}
