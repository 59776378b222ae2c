//! Whether a change is still the one to repeat, by what is at the destination. Pure; it asks no store.

use chrono::DateTime;
use taskqueue_core::payloads::{ReplicationOperation, ReplicationPayload};

use super::{CHANGE_KEY, Replicated};
use crate::store::{Condition, ObjectInfo};
use crate::transfer::SOURCE_ETAG_KEY;

/// What is to be done with the destination.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Leave(Replicated),
    Change(Condition),
}

pub(super) fn decide(there: Option<&ObjectInfo>, payload: &ReplicationPayload) -> Decision {
    let is_delete = payload.operation == ReplicationOperation::Delete;
    let Some(there) = there else {
        return if is_delete {
            Decision::Leave(Replicated::Present)
        } else {
            Decision::Change(Condition::IfAbsent)
        };
    };
    let metadata = &there.attributes.metadata;
    let is_later = match metadata.get(CHANGE_KEY).and_then(|change| change.parse::<i64>().ok()) {
        Some(change) if change == payload.requested_at && !is_delete && is_copy(there, payload) => {
            return Decision::Leave(Replicated::Present);
        }
        Some(change) => change > payload.requested_at,
        None => there.last_modified > DateTime::from_timestamp_nanos(payload.requested_at),
    };
    if is_later {
        return Decision::Leave(Replicated::Superseded);
    }
    Decision::Change(Condition::IfMatch(there.etag.clone()))
}

fn is_copy(there: &ObjectInfo, payload: &ReplicationPayload) -> bool {
    there.size == payload.size
        && (there.etag == payload.etag
            || there.attributes.metadata.get(SOURCE_ETAG_KEY) == Some(&payload.etag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Attributes, RestoreState};

    #[test]
    fn a_change_is_made_only_while_the_destination_is_as_it_was_looked_at() {
        let json = r#"{"operation":"PUT","source_region":"n","source_bucket":"b","source_key":"k",
            "destination_region":"s","destination_bucket":"b","destination_key":"k","etag":"new","size":1,
            "requested_at":1}"#;
        let payload: ReplicationPayload = serde_json::from_str(json).expect("it is whole");
        let there = ObjectInfo {
            size: 1,
            etag: "old".to_owned(),
            etag_is_opaque: false,
            last_modified: DateTime::UNIX_EPOCH,
            version_id: None,
            attributes: Attributes::default(),
            restore: RestoreState::None,
        };
        assert_eq!(decide(None, &payload), Decision::Change(Condition::IfAbsent));
        let as_it_was = Decision::Change(Condition::IfMatch("old".to_owned()));
        assert_eq!(decide(Some(&there), &payload), as_it_was);
    }
}
