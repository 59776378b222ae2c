//! Lifecycle rules, carried out: a rule applied to an object, and this applies its action if the object is still what
//! it was. It owns the handler; which rules apply to what is in `rules`, who applies them to a bucket in `scan`.
//!
//! | action | what is done | bytes counted |
//! |---|---|---|
//! | `delete` | the object is deleted: behind a delete marker in a bucket with versions | |
//! | `delete_version` | the version is deleted for good, unless it has become the current one | |
//! | `abort_mpu` | the upload and its parts are forgotten | |
//! | `transition`, `promote` | the object is copied onto itself in the other storage class | the object's |
//!
//! Before it acts the handler looks whether the object has the `expected_etag` and, within one second, the
//! `expected_mod_time`. Without an `expected_mod_time` it looks whether the object was written after `evaluated_at`, compared
//! to the second, by the clocks of the store and of whoever evaluated the rule: then it is another one. With neither time (an
//! `evaluated_at` of 0) nobody can tell, and the action is carried out on whichever object has the key.
//!
//! Deletes and copies carry the ETag that it saw as a condition, so that a store that knows conditions checks and acts in
//! one step; one that answers that it does not is asked without, right after the look. `delete_version` has no such condition to give: a version never changes, and that it is not the current one is only
//! looked at before. The Ceph gateway honours conditions on deletes and on a copy's source, and not on its target.
//!
//! S3 has no way to change the class of a version in place. In a bucket with versions a transition therefore makes a
//! new version of the current object and deletes the one that it came from; a noncurrent version cannot be moved, and
//! its task fails for good. Copies keep the content, its type, metadata and tags, and not an ACL of the object's own.
//! Of an object that is larger than one copy may be, the tags are read apart (`s3:GetObjectTagging`); where that is denied the copy fails.
//!
//! **A second run** of the same task finds the work done and changes nothing: what is absent is deleted, what is in the
//! class already stays. Where the first died between the copy and the deletion of the version that it came from, that
//! version stays as a noncurrent one, for the rules on those.

pub mod rules;
mod scan;

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use taskqueue_core::Outcome;
use taskqueue_core::metrics::Metrics;
use taskqueue_core::payloads::{LifecycleAction, LifecyclePayload, types};
use taskqueue_worker::{Handler, TaskContext, TaskError};

pub use self::scan::{Found, LifecycleScan};
use crate::HandlerError;
use crate::metrics::HandlerMetrics;
use crate::store::{
    Condition, CopyObject, ObjectInfo, ObjectRef, ObjectStore, StoreError, StoreErrorKind, Upload, found,
};

/// How far the modification time may be off: listings and answers of S3 differ in their precision.
const MOD_TIME_TOLERANCE: TimeDelta = TimeDelta::seconds(1);
/// What a store calls the class that others leave out.
const STANDARD: &str = "STANDARD";

/// Carries out tasks of type `lifecycle` on an object store.
#[derive(Clone)]
pub struct LifecycleHandler {
    store: Arc<dyn ObjectStore>,
    metrics: HandlerMetrics,
}

/// How a task ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LifecycleOutcome {
    /// The action was carried out.
    Done,
    /// There is no such object: nothing is left to do.
    Absent,
    /// The object is in that storage class already.
    AlreadyThere,
    /// The object is no longer what the rule applied to, and was left alone.
    Changed,
}

impl LifecycleOutcome {
    /// The label of the metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Absent => "absent",
            Self::AlreadyThere => "already_there",
            Self::Changed => "skipped_changed",
        }
    }
}

type Acted = Result<LifecycleOutcome, HandlerError>;

impl LifecycleHandler {
    /// A handler on `store`.
    pub fn new(store: Arc<dyn ObjectStore>, metrics: &Metrics) -> Self {
        Self { store, metrics: HandlerMetrics::new(metrics, types::LIFECYCLE) }
    }

    /// Carries out one action.
    ///
    /// # Errors
    /// Permanent for a payload that lacks what its action needs, and for a noncurrent version that is to move; else as
    /// the store says.
    pub async fn act(&self, payload: &LifecyclePayload) -> Acted {
        let acted = match payload.action {
            LifecycleAction::Delete => self.delete(payload).await,
            LifecycleAction::DeleteVersion => self.delete_version(payload).await,
            LifecycleAction::AbortMpu => self.abort(payload).await,
            LifecycleAction::Transition | LifecycleAction::Promote => self.move_class(payload).await,
        }?;
        self.metrics.outcome(acted.as_str());
        Ok(acted)
    }

    async fn delete(&self, payload: &LifecyclePayload) -> Acted {
        let object = ObjectRef::new(&payload.bucket, &payload.key);
        let Some(info) = self.look(&object).await? else { return Ok(LifecycleOutcome::Absent) };
        if is_changed(payload, &info) {
            return Ok(LifecycleOutcome::Changed);
        }
        let condition = Condition::IfMatch(info.etag);
        let deleted = match self.store.delete(&object, &condition).await {
            Err(error) if error.kind() == StoreErrorKind::NotSupported => {
                self.store.delete(&object, &Condition::Always).await
            }
            deleted => deleted,
        };
        unless_changed(deleted)
    }

    async fn delete_version(&self, payload: &LifecyclePayload) -> Acted {
        let version = needed(payload.version_id.as_ref(), "version_id", payload)?;
        let current = ObjectRef::new(&payload.bucket, &payload.key);
        let object = current.clone().version(Some(version.clone()));
        // A delete marker is not found either, and is deleted by its id all the same.
        let info = self.look(&object).await?;
        if info.as_ref().is_some_and(|info| is_changed(payload, info)) {
            return Ok(LifecycleOutcome::Changed);
        }
        if info.is_some() {
            // What came after it may have been deleted: then this is what readers get.
            let now_current = self.look(&current).await?.and_then(|info| info.version_id);
            if now_current.as_ref() == Some(version) {
                return Ok(LifecycleOutcome::Changed);
            }
        }
        unless_changed(self.store.delete(&object, &Condition::Always).await)
    }

    async fn abort(&self, payload: &LifecyclePayload) -> Acted {
        let id = needed(payload.upload_id.as_ref(), "upload_id", payload)?.clone();
        let object = ObjectRef::new(&payload.bucket, &payload.key);
        self.store.abort_upload(&Upload { object, id }).await?;
        Ok(LifecycleOutcome::Done)
    }

    async fn move_class(&self, payload: &LifecyclePayload) -> Acted {
        let class = needed(payload.storage_class.as_ref(), "storage_class", payload)?;
        let object = ObjectRef::new(&payload.bucket, &payload.key);
        let Some(info) = self.look(&object).await? else { return Ok(LifecycleOutcome::Absent) };
        if payload.version_id.is_some() && payload.version_id != info.version_id {
            return self.noncurrent(payload).await;
        }
        // First, as the copy of an earlier run was written after the rule was evaluated.
        if info.attributes.storage_class.as_deref().unwrap_or(STANDARD) == class {
            return Ok(LifecycleOutcome::AlreadyThere);
        }
        if is_changed(payload, &info) {
            return Ok(LifecycleOutcome::Changed);
        }
        let moved = unless_changed(self.copy_onto_itself(&object, &info, class).await)?;
        if moved == LifecycleOutcome::Done {
            self.metrics.bytes(info.size);
        }
        Ok(moved)
    }

    async fn noncurrent(&self, payload: &LifecyclePayload) -> Acted {
        let version = ObjectRef::new(&payload.bucket, &payload.key).version(payload.version_id.clone());
        if self.look(&version).await?.is_none() {
            return Ok(LifecycleOutcome::Absent);
        }
        let message = format!("{version} is not the current version: S3 cannot change the class of another");
        Err(HandlerError::permanent(message))
    }

    async fn copy_onto_itself(
        &self,
        object: &ObjectRef,
        info: &ObjectInfo,
        class: &str,
    ) -> Result<(), StoreError> {
        let mut copy = CopyObject {
            source: object.clone(),
            target: object.clone(),
            size: info.size,
            if_match: Some(info.etag.clone()),
            condition: Condition::IfMatch(info.etag.clone()),
            attributes: None,
            storage_class: Some(class.to_owned()),
        };
        let written = match self.store.copy(&copy).await {
            Err(error) if error.kind() == StoreErrorKind::NotSupported => {
                copy.condition = Condition::Always;
                self.store.copy(&copy).await?
            }
            written => written?,
        };
        // In a bucket with versions the copy is one more; in others it took the place of its source.
        let Some(old) = &info.version_id else { return Ok(()) };
        let new = match written.version_id {
            Some(new) => Some(new),
            // Ceph does not say what it made.
            None => self.store.head(object).await?.version_id,
        };
        if new.is_none_or(|new| new == *old) {
            return Ok(());
        }
        self.store.delete(&object.clone().version(Some(old.clone())), &Condition::Always).await
    }

    async fn look(&self, object: &ObjectRef) -> Result<Option<ObjectInfo>, StoreError> {
        found(self.store.head(object).await)
    }
}

#[async_trait]
impl Handler for LifecycleHandler {
    async fn handle(&self, cx: TaskContext) -> Result<Outcome, TaskError> {
        let payload: LifecyclePayload = cx.decode()?;
        let outcome = self.act(&payload).await?;
        tracing::debug!(
            action = payload.action.as_str(),
            rule = payload.rule_id,
            outcome = outcome.as_str(),
            "lifecycle action on {}/{}",
            payload.bucket,
            payload.key
        );
        Ok(Outcome::done())
    }
}

fn needed<'a>(
    field: Option<&'a String>,
    name: &str,
    payload: &LifecyclePayload,
) -> Result<&'a String, HandlerError> {
    field.ok_or_else(|| HandlerError::permanent(format!("{} needs a {name}", payload.action.as_str())))
}

fn is_changed(payload: &LifecyclePayload, info: &ObjectInfo) -> bool {
    let is_other = |etag: &String| etag.trim_matches('"') != info.etag;
    payload.expected_etag.as_ref().is_some_and(is_other) || is_of_other_time(payload, info.last_modified)
}

fn is_of_other_time(payload: &LifecyclePayload, last_modified: DateTime<Utc>) -> bool {
    match (payload.expected_mod_time, payload.evaluated_at) {
        // It says more than the time of the rule, which another clock may have given.
        (Some(expected), _) => {
            let expected = DateTime::<Utc>::from_timestamp_nanos(expected);
            (last_modified - expected).abs() > MOD_TIME_TOLERANCE
        }
        // Compared with a time that nobody gave, every object would be a later one.
        (None, 0) => false,
        (None, evaluated) => {
            last_modified.trunc_subsecs(0) > DateTime::<Utc>::from_timestamp_nanos(evaluated)
        }
    }
}

/// A condition that did not hold means that somebody came between the look and the act.
fn unless_changed(acted: Result<(), StoreError>) -> Acted {
    match acted {
        Ok(()) => Ok(LifecycleOutcome::Done),
        Err(error) if error.kind() == StoreErrorKind::PreconditionFailed => Ok(LifecycleOutcome::Changed),
        // Gone meanwhile.
        Err(error) if error.is_not_found() => Ok(LifecycleOutcome::Absent),
        Err(error) => Err(error.into()),
    }
}
