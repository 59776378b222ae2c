//! The payload of restores from an archive, and their tiers.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{optional, types};
use crate::Payload;

/// The storage class `GLACIER`.
pub const GLACIER: &str = "GLACIER";
/// The storage class `DEEP_ARCHIVE`.
pub const DEEP_ARCHIVE: &str = "DEEP_ARCHIVE";

/// How fast a restore is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RestoreTier {
    /// 1 to 5 minutes; only from `GLACIER`.
    Expedited,
    /// 3 to 5 hours from `GLACIER`, 12 hours from `DEEP_ARCHIVE`.
    Standard,
    /// 5 to 12 hours from `GLACIER`, 48 hours from `DEEP_ARCHIVE`.
    Bulk,
}

impl RestoreTier {
    /// Every tier, fastest first.
    pub const ALL: [Self; 3] = [Self::Expedited, Self::Standard, Self::Bulk];

    /// The JSON name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expedited => "Expedited",
            Self::Standard => "Standard",
            Self::Bulk => "Bulk",
        }
    }

    /// How long a restore from `storage_class` takes, from the least to the most; `None` when this tier does not
    /// restore from it.
    pub fn takes(self, storage_class: &str) -> Option<RangeInclusive<Duration>> {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        let (least, most) = match (self, storage_class) {
            (Self::Expedited, GLACIER) => (MINUTE, 5 * MINUTE),
            (Self::Standard, GLACIER) => (3 * HOUR, 5 * HOUR),
            (Self::Bulk, GLACIER) => (5 * HOUR, 12 * HOUR),
            (Self::Standard, DEEP_ARCHIVE) => (12 * HOUR, 12 * HOUR),
            (Self::Bulk, DEEP_ARCHIVE) => (48 * HOUR, 48 * HOUR),
            _ => return None,
        };
        Some(Duration::from_secs(least)..=Duration::from_secs(most))
    }

    /// Whether this tier restores from `storage_class`.
    pub fn is_valid_for(self, storage_class: &str) -> bool {
        self.takes(storage_class).is_some()
    }
}

/// An archived object is to be made readable for some days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestorePayload {
    /// The stored object.
    pub object_id: Uuid,
    /// The bucket.
    pub bucket: String,
    /// The object's key.
    pub key: String,
    /// The version; none in a bucket without versions.
    #[serde(default, skip_serializing_if = "optional::is_empty", deserialize_with = "optional::read")]
    pub version_id: Option<String>,
    /// How long the restored copy stays, in days.
    pub days: u32,
    /// How fast it is to be.
    pub tier: RestoreTier,
    /// The class that it is archived in: [`GLACIER`] or [`DEEP_ARCHIVE`].
    pub storage_class: String,
    /// Where the archive keeps the data.
    #[serde(default, skip_serializing_if = "optional::is_empty", deserialize_with = "optional::read")]
    pub transitioned_ref: Option<String>,
    /// When the restore was asked for, in Unix nanoseconds.
    pub requested_at: i64,
    /// The id of the request that asked for it.
    pub request_id: String,
}

impl Payload for RestorePayload {
    const TYPE: &'static str = types::RESTORE;
}
