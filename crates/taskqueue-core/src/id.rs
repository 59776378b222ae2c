//! Identifiers: of tasks, of workers, of task types. Each proves by its type that it is well formed.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

use crate::hash::{fnv1a_64, fnv1a_128};
use crate::{Error, Payload, Result, Timestamp};

/// The longest task type, in characters.
pub const TASK_TYPE_CHARS_MAX: usize = 64;
/// The last time that a UUID of version 7 can have, in milliseconds since 1970: its 48 bits.
const UNIX_MILLIS_MAX: i64 = (1 << 48) - 1;
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

    /// The id of what happens at `time` and has this name, part by part: the same whenever and wherever it is made, by later
    /// versions too. For what several processes may enqueue, or one more than once, and is to be one task; name what is
    /// yours, so that nobody else's id is the same. It is of version 7 and its time is `time`, to the millisecond; its other bits
    /// are a hash, no secret.
    ///
    /// ```
    /// use taskqueue_core::{Clock, ManualClock, TaskId};
    ///
    /// let due = ManualClock::default().now();
    /// assert_eq!(TaskId::derived(due, &["invoice", "7"]), TaskId::derived(due, &["invoice", "7"]));
    /// assert_ne!(TaskId::derived(due, &["invoice", "7"]), TaskId::derived(due, &["invoice", "8"]));
    /// ```
    pub fn derived(time: Timestamp, name: &[&str]) -> Self {
        let parts =
            name.iter().flat_map(|part| (part.len() as u64).to_be_bytes().into_iter().chain(part.bytes()));
        let hash = fnv1a_128(time.timestamp_micros().to_be_bytes().into_iter().chain(parts));
        let mut random = [0; 10];
        random.copy_from_slice(&hash.to_be_bytes()[6..]);
        // What is before 1970 or after 10889 has no place in an id.
        let millis = time.timestamp_millis().clamp(0, UNIX_MILLIS_MAX);
        Self(uuid::Builder::from_unix_timestamp_millis(millis.unsigned_abs(), &random).into_uuid())
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

impl From<TaskId> for Uuid {
    fn from(id: TaskId) -> Self {
        id.0
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
        if !is_type_name(name) {
            let shown: String = name.chars().take(TASK_TYPE_CHARS_MAX + 1).collect();
            return Err(Error::invalid_input(
                "task type",
                format!("task type {shown:?} is not 1 to {TASK_TYPE_CHARS_MAX} characters of [a-z0-9_.:-]"),
            ));
        }
        Ok(Self(name.into()))
    }

    /// The type of the payload `P`. A `P::TYPE` that is no valid type name does not build.
    ///
    /// # Errors
    /// None: it is a `Result` as [`new`](Self::new) is.
    pub fn of<P: Payload>() -> Result<Self> {
        const { assert!(is_type_name(P::TYPE), "a Payload's TYPE is 1 to 64 characters of [a-z0-9_.:-]") };
        Self::new(P::TYPE)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a task type may be called so. A constant function has no iterators.
const fn is_type_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !matches!(bytes[at], b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b':' | b'-') {
            return false;
        }
        at += 1;
    }
    !bytes.is_empty() && bytes.len() <= TASK_TYPE_CHARS_MAX
}

impl AsRef<str> for TaskType {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq<str> for TaskType {
    fn eq(&self, name: &str) -> bool {
        self.as_str() == name
    }
}

impl PartialEq<&str> for TaskType {
    fn eq(&self, name: &&str) -> bool {
        self.as_str() == *name
    }
}

impl TryFrom<&str> for TaskType {
    type Error = Error;

    fn try_from(name: &str) -> Result<Self> {
        Self::new(name)
    }
}

impl TryFrom<String> for TaskType {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        Self::new(name)
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

/// A hash folded to 16 bits: stable across versions, since stored ids depend on it.
pub(crate) fn unique_bits(task_type: &TaskType, key: &str) -> u16 {
    let hash = fnv1a_64(task_type.as_str().bytes().chain([0]).chain(key.bytes()));
    (hash ^ (hash >> 16) ^ (hash >> 32) ^ (hash >> 48)) as u16
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::clock::DURATION_MAX;
    use crate::{Clock, ManualClock, Shards, clock};

    #[test]
    fn a_derived_id_is_the_same_in_every_process_and_version() {
        let made = TaskId::derived(ManualClock::default().now(), &["nightly-report", "report"]);
        assert_eq!(made.to_string(), "019b76da-a800-732a-8858-9d930013b16a");
    }

    #[test]
    fn a_derived_id_is_of_version_7_and_has_its_time() {
        let time = clock::add(ManualClock::default().now(), std::time::Duration::from_micros(1_234_567));
        let id = TaskId::derived(time, &["a"]).as_uuid();
        assert_eq!((id.get_version_num(), id.get_variant()), (7, uuid::Variant::RFC4122));
        assert_eq!(id.as_u128() >> 80, u128::from(time.timestamp_millis().unsigned_abs()));
        for time in [Timestamp::MIN_UTC, Timestamp::MAX_UTC] {
            assert_eq!(TaskId::derived(time, &["a"]).as_uuid().get_version_num(), 7);
        }
    }

    #[test]
    fn ids_differ_by_time_and_by_each_part_of_the_name() {
        let now = ManualClock::default().now();
        let micro = std::time::Duration::from_micros(1);
        let names: [&[&str]; 6] = [&[], &[""], &["ab"], &["a", "b"], &["ab", ""], &["", "ab"]];
        let times = [now, clock::add(now, micro), clock::add(now, DURATION_MAX)];
        let ids: HashSet<TaskId> =
            times.iter().flat_map(|time| names.iter().map(|name| TaskId::derived(*time, name))).collect();
        assert_eq!(ids.len(), names.len() * times.len());
    }

    #[test]
    fn derived_ids_spread_over_all_shards() {
        let (now, shards) = (ManualClock::default().now(), Shards::new(64).expect("it is in range"));
        let minute = std::time::Duration::from_secs(60);
        let found: HashSet<_> =
            (0..1_000).map(|n| shards.of(TaskId::derived(clock::add(now, n * minute), &["poll"]))).collect();
        assert_eq!(found.len(), 64);
    }
}
