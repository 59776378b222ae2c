//! Ids of tasks that follow from what they are about, so that enqueuing the same work twice is one task.

use sha2::{Digest, Sha256};
use taskqueue_core::TaskId;
use uuid::Builder;

/// The id of the work that `parts` name, begun at `started_at` (Unix nanoseconds). In form it is a UUID of version 7 of
/// that time, so that it is listed and cleaned up among the tasks of its time; its random bits are a hash of the parts.
pub(super) fn derived(started_at: i64, parts: &[&str]) -> TaskId {
    let mut hash = Sha256::new();
    hash.update(started_at.to_be_bytes());
    for part in parts {
        // With its length, so that no two lists of parts read the same.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let hash = hash.finalize();
    let mut bits = [0; 10];
    bits.copy_from_slice(&hash[..10]);
    let millis = u64::try_from(started_at / 1_000_000).unwrap_or_default();
    TaskId::from(Builder::from_unix_timestamp_millis(millis, &bits).into_uuid())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NANOS: i64 = 1_767_225_600_000_000_000;

    #[test]
    fn the_same_work_has_the_same_id_and_no_other_has() {
        let id = derived(NANOS, &["photos", "a", "b"]);
        assert_eq!(id, derived(NANOS, &["photos", "a", "b"]));
        assert_ne!(id, derived(NANOS, &["photos", "ab", ""]));
        assert_ne!(id, derived(NANOS + 1, &["photos", "a", "b"]));
    }

    #[test]
    fn an_id_has_the_form_and_the_time_of_those_that_are_generated() {
        let uuid = derived(NANOS, &["photos"]).as_uuid();
        assert_eq!(uuid.get_version_num(), 7);
        assert_eq!(uuid.get_timestamp().map(|time| time.to_unix().0), Some(1_767_225_600));
        assert!(derived(NANOS, &["x"]) < derived(NANOS + 1_000_000, &["x"]));
    }
}
