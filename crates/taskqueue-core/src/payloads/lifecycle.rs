//! The payload of lifecycle rules, and their actions.

use serde::{Deserialize, Serialize};

use super::{optional, types};
use crate::Payload;

/// What a lifecycle rule does to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LifecycleAction {
    /// `delete`: removes the object, or hides it behind a delete marker in a bucket with versions.
    Delete,
    /// `delete_version`: removes one version for good.
    DeleteVersion,
    /// `transition`: moves it to another storage class.
    Transition,
    /// `abort_mpu`: aborts a multipart upload that was never completed.
    AbortMpu,
    /// `promote`: moves it back to a faster class because it was read (intelligent tiering).
    Promote,
}

impl LifecycleAction {
    /// Every action.
    pub const ALL: [Self; 5] =
        [Self::Delete, Self::DeleteVersion, Self::Transition, Self::AbortMpu, Self::Promote];

    /// The JSON name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::DeleteVersion => "delete_version",
            Self::Transition => "transition",
            Self::AbortMpu => "abort_mpu",
            Self::Promote => "promote",
        }
    }
}

/// A lifecycle rule applies to an object; whoever carries it out checks first that the object is still as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifecyclePayload {
    /// The bucket.
    pub bucket: String,
    /// The object's key, or that of the multipart upload.
    pub key: String,
    /// The version it applies to; none: the current one.
    #[serde(default, skip_serializing_if = "optional::is_empty", deserialize_with = "optional::read")]
    pub version_id: Option<String>,
    /// What is done to it.
    pub action: LifecycleAction,
    /// Where `transition` and `promote` move it; none for the other actions.
    #[serde(default, skip_serializing_if = "optional::is_empty", deserialize_with = "optional::read")]
    pub storage_class: Option<String>,
    /// The rule that says so.
    pub rule_id: String,
    /// When the rule was evaluated, in Unix nanoseconds. Without an `expected_mod_time` an object that was written later is
    /// left alone; 0: nobody looks.
    pub evaluated_at: i64,
    /// The object's ETag at that time: with another one it has been overwritten and is left alone.
    #[serde(default, skip_serializing_if = "optional::is_empty", deserialize_with = "optional::read")]
    pub expected_etag: Option<String>,
    /// The object's modification time at that time, in Unix nanoseconds; with another one it is left alone.
    #[serde(default, skip_serializing_if = "optional::is_empty", deserialize_with = "optional::read")]
    pub expected_mod_time: Option<i64>,
    /// The multipart upload that `abort_mpu` aborts.
    #[serde(default, skip_serializing_if = "optional::is_empty", deserialize_with = "optional::read")]
    pub upload_id: Option<String>,
}

impl Payload for LifecyclePayload {
    const TYPE: &'static str = types::LIFECYCLE;
}
