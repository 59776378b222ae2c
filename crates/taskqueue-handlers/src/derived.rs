//! Ids of tasks that follow from another one: the same from the same, so that enqueuing them twice changes nothing.

use sha2::{Digest, Sha256};
use taskqueue_core::TaskId;

/// The id of what follows from `parent` and `parts`. It has the parent's time, so that it stands beside it wherever ids
/// are in the order of time.
pub(crate) fn derived_id(parent: TaskId, parts: &[&str]) -> TaskId {
    let mut hash = Sha256::new();
    hash.update(parent.as_uuid().as_bytes());
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let mut random = [0; 10];
    random.copy_from_slice(&hash.finalize()[..10]);
    let milliseconds = (parent.as_uuid().as_u128() >> 80) as u64;
    uuid::Builder::from_unix_timestamp_millis(milliseconds, &random).into_uuid().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_from_the_same_and_another_from_anything_else() {
        let parent = TaskId::generate();
        let id = derived_id(parent, &["ab", "c"]);
        assert_eq!(derived_id(parent, &["ab", "c"]), id);
        for other in
            [derived_id(parent, &["a", "bc"]), derived_id(parent, &["ab"]), derived_id(id, &["ab", "c"])]
        {
            assert_ne!(other, id);
        }
    }

    #[test]
    fn it_has_the_time_of_its_parent() {
        let parent = TaskId::generate();
        let time = |id: TaskId| id.as_uuid().get_timestamp().map(|time| time.to_unix());
        let millis = |id| time(id).map(|(seconds, nanos)| (seconds, nanos / 1_000_000));
        assert_eq!(millis(derived_id(parent, &["a"])), millis(parent));
    }
}
