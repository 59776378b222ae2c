//! Identifiers: of tasks, of workers, of task types. Each proves by its type that it is well formed.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

use crate::{Error, Payload, Result};

/// The longest task type, in characters.
pub const TASK_TYPE_CHARS_MAX: usize = 64;
/// The longest worker id, in characters.
pub const WORKER_ID_CHARS_MAX: usize = 100;

/// The id of a task: a UUID, version 7 unless the caller gives another. Enqueue is idempotent by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(Uuid);

impl TaskId {
    /// A new id. Ids made by one process rise in the order they were made.
    #[expect(clippy::disallowed_methods, reason = "the one place that makes ids")]
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// The id as a UUID.
    pub fn as_uuid(&self) -> Uuid {
        self.0
    }

    /// A new id for a task of this type with this unique key. All ids that are made so for one key are in one shard,
    /// where a key must be to be unique; otherwise they are as those of [`generate`](Self::generate).
    pub fn for_unique_key(task_type: &TaskType, key: &str) -> Self {
        Self::generate().with_unique_key(task_type, key)
    }

    /// This id, moved to the shard of a unique key: its low 16 bits are taken from the type and the key. For ids that
    /// are derived from something else, as one that must be the same each time it is made.
    #[must_use]
    pub fn with_unique_key(self, task_type: &TaskType, key: &str) -> Self {
        self.with_low_bits(unique_bits(task_type, key))
    }

    /// The low 16 bits, from which shards derive.
    pub(crate) fn low_bits(self) -> u16 {
        (self.0.as_u128() & u128::from(u16::MAX)) as u16
    }

    /// The id with its low 16 bits replaced.
    pub(crate) fn with_low_bits(self, bits: u16) -> Self {
        let high = self.0.as_u128() & !u128::from(u16::MAX);
        Self(Uuid::from_u128(high | u128::from(bits)))
    }
}

impl From<Uuid> for TaskId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for TaskId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let uuid = Uuid::parse_str(text)
            .map_err(|_| Error::invalid_input("parse", format!("task id {text:?} is not a UUID")))?;
        Ok(Self(uuid))
    }
}

/// The type of a task: what a handler registers for. 1 to 64 characters of `[a-z0-9_.:-]`. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct TaskType(Arc<str>);

impl TaskType {
    /// Checks `name` and makes it a type.
    ///
    /// # Errors
    /// `InvalidInput` when it is empty, longer than 64 characters or has a character outside `[a-z0-9_.:-]`.
    pub fn new(name: impl AsRef<str>) -> Result<Self> {
        let name = name.as_ref();
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.:-".contains(&byte);
        if name.is_empty() || name.len() > TASK_TYPE_CHARS_MAX || !name.bytes().all(fits) {
            let shown: String = name.chars().take(TASK_TYPE_CHARS_MAX + 1).collect();
            return Err(Error::invalid_input(
                "task type",
                format!("task type {shown:?} is not 1 to {TASK_TYPE_CHARS_MAX} characters of [a-z0-9_.:-]"),
            ));
        }
        Ok(Self(name.into()))
    }

    /// The type of the payload `P`.
    ///
    /// # Errors
    /// `InvalidInput` when `P::TYPE` is not a valid type name.
    pub fn of<P: Payload>() -> Result<Self> {
        Self::new(P::TYPE)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The id of a worker: 1 to 100 characters, none of them a control character. Unique for each process start,
/// so that a restarted worker never meets leases that look like its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct WorkerId(Arc<str>);

impl WorkerId {
    /// Checks `id` and makes it a worker id.
    ///
    /// # Errors
    /// `InvalidInput` when it is empty, longer than 100 characters or has a control character.
    pub fn new(id: impl AsRef<str>) -> Result<Self> {
        let id = id.as_ref();
        if id.is_empty() || id.chars().count() > WORKER_ID_CHARS_MAX || id.chars().any(char::is_control) {
            let shown: String = id.chars().take(WORKER_ID_CHARS_MAX + 1).collect();
            return Err(Error::invalid_input(
                "worker id",
                format!("worker id {shown:?} is not 1 to {WORKER_ID_CHARS_MAX} printable characters"),
            ));
        }
        Ok(Self(id.into()))
    }

    /// `<name>-<eight random hex digits>`: the id of one process start.
    ///
    /// # Errors
    /// As [`WorkerId::new`], for the whole id.
    pub fn unique(name: &str) -> Result<Self> {
        Self::new(format!("{name}-{:08x}", rand::random::<u32>()))
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TaskType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for TaskType {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::new(name)
    }
}

impl FromStr for WorkerId {
    type Err = Error;

    fn from_str(id: &str) -> Result<Self> {
        Self::new(id)
    }
}

impl<'de> Deserialize<'de> for TaskType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::new(name).map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for WorkerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let id = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::new(id).map_err(serde::de::Error::custom)
    }
}

/// FNV-1a, folded to 16 bits: stable across versions, since stored ids depend on it.
fn unique_bits(task_type: &TaskType, key: &str) -> u16 {
    let bytes = task_type.as_str().bytes().chain([0]).chain(key.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    (hash ^ (hash >> 16) ^ (hash >> 32) ^ (hash >> 48)) as u16
}
