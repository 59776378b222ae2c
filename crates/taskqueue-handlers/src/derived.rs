//! Tasks that follow from what is known already: their ids, and what they have of the task that they follow. It knows
//! no payload.
//!
//! Ids are the same from the same, so that enqueuing them twice changes nothing. In form they are ids as they are
//! generated, UUIDs of version 7: they stand among the tasks of their time wherever ids are in its order, and their
//! random bits are a hash.

use sha2::{Digest, Sha256};
use taskqueue_core::{NewTask, TaskId};
use taskqueue_worker::TaskContext;

const NANOS_PER_MILLI: i64 = 1_000_000;

/// The id of what follows from `parent` and `parts`. It has the parent's time.
pub(crate) fn from_task(parent: TaskId, parts: &[&str]) -> TaskId {
    let parent = parent.as_uuid();
    id((parent.as_u128() >> 80) as u64, parent.as_bytes(), parts)
}

/// The id of what `parts` name as of a time, in Unix nanoseconds: when it began, or was changed.
pub(crate) fn from_time(nanos: i64, parts: &[&str]) -> TaskId {
    let milliseconds = u64::try_from(nanos / NANOS_PER_MILLI).unwrap_or_default();
    id(milliseconds, &nanos.to_be_bytes(), parts)
}

/// Makes a follow-up like the task that it follows: its urgency, its attempts, its region and what travels with it.
pub(crate) fn like(cx: &TaskContext, task: NewTask) -> NewTask {
    let parent = cx.task();
    let mut task = task.priority(parent.priority).max_retries(parent.max_retries);
    task.region.clone_from(&parent.region);
    task.metadata.clone_from(&parent.metadata);
    task
}

fn id(milliseconds: u64, origin: &[u8], parts: &[&str]) -> TaskId {
    let mut hash = Sha256::new();
    hash.update(origin);
    for part in parts {
        // With its length, so that no two lists of parts read the same.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let mut random = [0; 10];
    random.copy_from_slice(&hash.finalize()[..10]);
    uuid::Builder::from_unix_timestamp_millis(milliseconds, &random).into_uuid().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NANOS: i64 = 1_767_225_600_000_000_000;

    #[test]
    fn the_same_from_the_same_and_another_from_anything_else() {
        let parent = TaskId::generate();
        let of_task = from_task(parent, &["ab", "c"]);
        assert_eq!(from_task(parent, &["ab", "c"]), of_task);
        let others: [(TaskId, &[&str]); 3] =
            [(parent, &["a", "bc"]), (parent, &["ab"]), (of_task, &["ab", "c"])];
        for (parent, parts) in others {
            assert_ne!(from_task(parent, parts), of_task);
        }
        let of_time = from_time(NANOS, &["ab", "c"]);
        assert_eq!(from_time(NANOS, &["ab", "c"]), of_time);
        let others: [(i64, &[&str]); 3] =
            [(NANOS, &["abc", ""]), (NANOS, &["ab"]), (NANOS + 1, &["ab", "c"])];
        for (nanos, parts) in others {
            assert_ne!(from_time(nanos, parts), of_time);
        }
    }

    #[test]
    fn an_id_has_the_form_of_those_that_are_generated_and_the_time_of_its_origin() {
        let time = |id: TaskId| id.as_uuid().get_timestamp().map(|time| time.to_unix());
        let parent = TaskId::generate();
        let millis = |id| time(id).map(|(seconds, nanos)| (seconds, nanos / 1_000_000));
        assert_eq!(millis(from_task(parent, &["a"])), millis(parent));
        let id = from_time(NANOS, &["a"]);
        assert_eq!((id.as_uuid().get_version_num(), time(id)), (7, Some((1_767_225_600, 0))));
        assert!(id < from_time(NANOS + NANOS_PER_MILLI, &["a"]));
        assert_eq!(time(from_time(-1, &["a"])), Some((0, 0)), "a time before 1970 has no id of its own");
    }
}
