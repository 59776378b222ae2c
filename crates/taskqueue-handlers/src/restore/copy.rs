//! Restores of what the archive keeps elsewhere: a copy to where the object is, and the task that moves it back. It
//! replaces what is archived or a copy that ends too early, and nothing else.

use std::time::Duration;

use chrono::{DateTime, Days, Utc};
use futures::TryStreamExt;
use sha2::{Digest, Sha256};
use taskqueue_core::payloads::{LifecycleAction, LifecyclePayload, RestorePayload};

use super::{RestoreHandler, Restored, is_archived};
use crate::HandlerError;
use crate::store::{
    Condition, CopyObject, GetObject, ObjectInfo, ObjectRef, StoreError, StoreErrorKind, found,
};

/// In a copy's metadata: until when it stays (RFC 3339).
pub const RESTORED_UNTIL_KEY: &str = "taskqueue-restored-until";
/// How much younger than the copy before it a copy has to be for the task that moves that one back to tell them apart:
/// their data and ETag are the same, and times are told to the second and compared to the second.
const COPY_AGE_MIN: Duration = Duration::from_secs(3);
/// The version of what was written before a bucket had versions.
const NULL_VERSION: &str = "null";

/// What is where the copy is to be.
enum Place {
    /// What the copy may replace while this holds.
    Free(Condition),
    /// A copy, which an earlier run or another request made.
    Copied(Box<ObjectInfo>),
    /// Another object; why it stays.
    Taken(String),
}

impl RestoreHandler {
    pub(super) async fn copy(
        &self,
        payload: &RestorePayload,
        reference: &str,
    ) -> Result<Restored, HandlerError> {
        let Some((bucket, key)) =
            reference.split_once('/').filter(|(bucket, key)| !bucket.is_empty() && !key.is_empty())
        else {
            return Err(HandlerError::permanent(format!("transitioned_ref {reference:?} is no bucket/key")));
        };
        let (source, target) = (ObjectRef::new(bucket, key), ObjectRef::new(&payload.bucket, &payload.key));
        let mut kept = self.store.head(&source).await?;
        let condition = match self.place(payload, &target, &source, &kept).await? {
            Place::Free(condition) => condition,
            Place::Taken(why) => return Err(HandlerError::permanent(why)),
            Place::Copied(there) => {
                if let Some(expires) = until(&there).filter(|until| *until >= wanted(payload)) {
                    return Ok(self.copied(payload, expires, &there));
                }
                let age = (self.clock.now() - there.last_modified).abs().to_std().unwrap_or_default();
                if age < COPY_AGE_MIN {
                    return Ok(Restored::After(COPY_AGE_MIN));
                }
                // Written anew, so that the task that would move it back earlier finds it changed.
                kept.attributes = there.attributes;
                Condition::IfMatch(there.etag)
            }
        };
        let wrote = self.copy_if(payload, source, &target, kept, condition).await?;
        let written = self.store.head(&target).await?;
        // Of another request, which had looked before this copy was there: the next attempt extends it.
        let expires = until(&written).filter(|until| *until >= wrote);
        let expires = expires
            .ok_or_else(|| HandlerError::transient(format!("{target} was written anew behind its copy")))?;
        Ok(self.copied(payload, expires, &written))
    }

    fn copied(&self, payload: &RestorePayload, expires: DateTime<Utc>, there: &ObjectInfo) -> Restored {
        Restored::Copied { expires, back: Box::new(back(payload, there, self.clock.now())) }
    }

    async fn place(
        &self,
        payload: &RestorePayload,
        target: &ObjectRef,
        source: &ObjectRef,
        kept: &ObjectInfo,
    ) -> Result<Place, StoreError> {
        let there = found(self.store.head(target).await)?;
        if let Some(there) = there.as_ref().filter(|there| !is_archived(there)) {
            let is_copied = there.etag == kept.etag
                || (there.size == kept.size && self.digest(target).await? == self.digest(source).await?);
            return Ok(if is_copied {
                Place::Copied(Box::new(there.clone()))
            } else {
                Place::Taken(format!(
                    "{target} is not archived and holds other data than {source}: it was written since and is left alone"
                ))
            });
        }
        let current = there.as_ref().map(|there| there.version_id.as_deref().unwrap_or(NULL_VERSION));
        if let Some(version) = payload.version_id.as_deref().filter(|version| current != Some(version)) {
            return Ok(Place::Taken(if current.is_none() {
                format!(
                    "{target} has no current version, and a copy of {version} would be one: nothing is copied"
                )
            } else {
                format!(
                    "{target} has another current version than {version}, and a copy would take its place: it is left alone"
                )
            }));
        }
        Ok(Place::Free(there.map_or(Condition::IfAbsent, |there| Condition::IfMatch(there.etag))))
    }

    async fn digest(&self, object: &ObjectRef) -> Result<[u8; 32], StoreError> {
        let get = GetObject { object: object.clone(), range: None, if_match: None };
        let mut data = self.store.get(&get).await?.data;
        let mut digest = Sha256::new();
        while let Some(piece) = data.try_next().await? {
            digest.update(&piece);
        }
        Ok(digest.finalize().into())
    }

    /// Copies, and says until when the copy stays.
    async fn copy_if(
        &self,
        payload: &RestorePayload,
        source: ObjectRef,
        target: &ObjectRef,
        kept: ObjectInfo,
        condition: Condition,
    ) -> Result<DateTime<Utc>, HandlerError> {
        let expires = self.clock.now().checked_add_days(Days::new(payload.days.into()));
        let expires = expires.ok_or_else(|| HandlerError::permanent("days are out of range"))?;
        let (size, mut attributes) = (kept.size, kept.attributes);
        attributes.metadata.insert(RESTORED_UNTIL_KEY.to_owned(), expires.to_rfc3339());
        let mut copy = CopyObject {
            source,
            target: target.clone(),
            size,
            if_match: Some(kept.etag),
            condition,
            attributes: Some(attributes),
            storage_class: None,
        };
        let copied = match self.store.copy(&copy).await {
            Err(error) if error.kind() == StoreErrorKind::NotSupported => {
                copy.condition = Condition::Always;
                self.store.copy(&copy).await
            }
            copied => copied,
        };
        copied.map_err(|error| match error.kind() {
            // Somebody came between the look and the copy: the next attempt looks anew.
            StoreErrorKind::PreconditionFailed => HandlerError::transient(error.to_string()),
            _ => error.into(),
        })?;
        self.metrics.bytes(size);
        Ok(expires)
    }
}

/// Until when a copy stays.
fn until(there: &ObjectInfo) -> Option<DateTime<Utc>> {
    let until = there.attributes.metadata.get(RESTORED_UNTIL_KEY)?;
    DateTime::parse_from_rfc3339(until).ok().map(|until| until.to_utc())
}

/// How long a copy has to stay for this request. Counted from the request, so that a second run finds what the first
/// one made, which counted from then on, to be enough.
fn wanted(payload: &RestorePayload) -> DateTime<Utc> {
    let requested = DateTime::<Utc>::from_timestamp_nanos(payload.requested_at);
    requested.checked_add_days(Days::new(payload.days.into())).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

fn back(payload: &RestorePayload, written: &ObjectInfo, now: DateTime<Utc>) -> LifecyclePayload {
    LifecyclePayload {
        bucket: payload.bucket.clone(),
        key: payload.key.clone(),
        version_id: None,
        action: LifecycleAction::Transition,
        storage_class: Some(payload.storage_class.clone()),
        rule_id: format!("restore {}", payload.request_id),
        evaluated_at: now.timestamp_nanos_opt().unwrap_or_default(),
        expected_etag: Some(written.etag.clone()),
        expected_mod_time: written.last_modified.timestamp_nanos_opt(),
        upload_id: None,
    }
}
