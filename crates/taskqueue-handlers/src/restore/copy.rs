//! Restores of what the archive keeps elsewhere: a copy to where the object is, and the task that moves it back. It
//! replaces what is archived, and nothing else.

use chrono::{DateTime, Days, Utc};
use futures::TryStreamExt;
use sha2::{Digest, Sha256};
use taskqueue_core::payloads::{LifecycleAction, LifecyclePayload, RestorePayload};

use super::{RestoreHandler, Restored, is_archived};
use crate::HandlerError;
use crate::store::{
    Condition, CopyObject, GetObject, ObjectInfo, ObjectRef, StoreError, StoreErrorKind, found,
};

/// What is where the copy is to be.
enum Place {
    /// What the copy may replace while this holds.
    Free(Condition),
    /// The copy, which an earlier run made.
    Copied,
    /// Another object.
    Taken,
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
        let kept = self.store.head(&source).await?;
        match self.place(&target, &source, &kept).await? {
            Place::Copied => {}
            Place::Free(condition) => self.copy_if(source, &target, kept, condition).await?,
            Place::Taken => {
                let message = format!(
                    "{target} is not archived and holds other data than {source}: it was written since and is left alone"
                );
                return Err(HandlerError::permanent(message));
            }
        }
        let written = self.store.head(&target).await?;
        let expires = self.clock.now().checked_add_days(Days::new(payload.days.into()));
        let expires = expires.ok_or_else(|| HandlerError::permanent("days are out of range"))?;
        Ok(Restored::Copied { expires, back: Box::new(back(payload, &written, self.clock.now())) })
    }

    async fn place(
        &self,
        target: &ObjectRef,
        source: &ObjectRef,
        kept: &ObjectInfo,
    ) -> Result<Place, StoreError> {
        let Some(there) = found(self.store.head(target).await)? else {
            return Ok(Place::Free(Condition::IfAbsent));
        };
        if is_archived(&there) {
            return Ok(Place::Free(Condition::IfMatch(there.etag)));
        }
        let is_copied = there.etag == kept.etag
            || (there.size == kept.size && self.digest(target).await? == self.digest(source).await?);
        Ok(if is_copied { Place::Copied } else { Place::Taken })
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

    async fn copy_if(
        &self,
        source: ObjectRef,
        target: &ObjectRef,
        kept: ObjectInfo,
        condition: Condition,
    ) -> Result<(), HandlerError> {
        let size = kept.size;
        let mut copy = CopyObject {
            source,
            target: target.clone(),
            size,
            if_match: Some(kept.etag),
            condition,
            attributes: None,
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
        Ok(())
    }
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
