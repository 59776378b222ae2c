//! Lifecycle rules over a whole bucket, page by page: what is to be done, as tasks. It enqueues nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use taskqueue_core::payloads::LifecyclePayload;
use taskqueue_core::{NewTask, Result};

use super::rules::{Decision, Rules, Tags};
use crate::derived;
use crate::store::{ListObjects, ListVersions, MultipartUpload, ObjectRef, ObjectStore, StoreError, Version};

/// A walk over a bucket. Each step reads a page; the whole takes one request for each thousand versions, and one for
/// each object whose tags a rule asks for.
pub struct LifecycleScan {
    store: Arc<dyn ObjectStore>,
    rules: Rules,
    bucket: String,
    now: DateTime<Utc>,
    /// Versions of a key that the page after may continue.
    rest: Vec<Version>,
    stage: Stage,
}

enum Stage {
    Versions(Option<(String, Option<String>)>),
    Uploads(Option<String>),
    Ended,
}

/// What one step found.
#[derive(Debug, Default)]
pub struct Found {
    /// How many versions, delete markers and uploads were looked at.
    pub seen: u64,
    /// What is to be done.
    pub payloads: Vec<LifecyclePayload>,
}

impl LifecycleScan {
    /// A walk over `bucket`, in which the rules are applied as of `now`.
    pub fn new(
        store: Arc<dyn ObjectStore>,
        rules: Rules,
        bucket: impl Into<String>,
        now: DateTime<Utc>,
    ) -> Self {
        Self { store, rules, bucket: bucket.into(), now, rest: Vec::new(), stage: Stage::Versions(None) }
    }

    /// The next page; none at the end.
    ///
    /// # Errors
    /// As the store says. The same page is read again by the next call.
    ///
    /// # Cancel safety
    /// A step that is dropped is as if it had not been made.
    pub async fn step(&mut self) -> Result<Option<Found>, StoreError> {
        match &self.stage {
            Stage::Versions(after) => {
                let after = after.clone();
                self.versions(after).await.map(Some)
            }
            Stage::Uploads(continuation) => {
                let continuation = continuation.clone();
                self.uploads(continuation).await.map(Some)
            }
            Stage::Ended => Ok(None),
        }
    }

    async fn versions(&mut self, after: Option<(String, Option<String>)>) -> Result<Found, StoreError> {
        let list = ListVersions { bucket: self.bucket.clone(), after, ..ListVersions::default() };
        let page = self.store.list_versions(&list).await?;
        let seen = page.versions.len() as u64;
        let mut versions: VecDeque<Version> = self.rest.iter().cloned().chain(page.versions).collect();
        // The last key's versions may go on in the next page.
        let mut rest = Vec::new();
        if page.next.is_some() {
            let last = versions.back().map(|version| version.key.clone());
            while let Some(version) = versions.pop_back_if(|version| Some(&version.key) == last.as_ref()) {
                rest.push(version);
            }
            rest.reverse();
        }
        let payloads = self.decided(versions.make_contiguous()).await?;
        self.rest = rest;
        self.stage = match page.next {
            Some(next) => Stage::Versions(Some(next)),
            None => Stage::Uploads(None),
        };
        Ok(Found { seen, payloads })
    }

    async fn decided(&self, versions: &[Version]) -> Result<Vec<LifecyclePayload>, StoreError> {
        let mut payloads = Vec::new();
        for of_key in versions.chunk_by(|one, other| one.key == other.key) {
            let tags = self.tags(of_key).await?;
            payloads.extend(
                self.rules.apply(of_key, &tags, self.now).into_iter().filter_map(|it| self.of_version(&it)),
            );
        }
        Ok(payloads)
    }

    async fn tags(&self, versions: &[Version]) -> Result<BTreeMap<Option<String>, Tags>, StoreError> {
        let mut tags = BTreeMap::new();
        for version in versions.iter().filter(|version| self.rules.needs_tags(version)) {
            let object = ObjectRef::new(&self.bucket, &version.key).version(version.version_id.clone());
            match self.store.tags(&object).await {
                Ok(found) => drop(tags.insert(version.version_id.clone(), found)),
                // Deleted since it was listed: no rule has anything left to do.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(tags)
    }

    async fn uploads(&mut self, continuation: Option<String>) -> Result<Found, StoreError> {
        let list = ListObjects { bucket: self.bucket.clone(), continuation, ..ListObjects::default() };
        let page = self.store.list_uploads(&list).await?;
        let due = page
            .uploads
            .iter()
            .filter_map(|upload| Some((upload, self.rules.apply_to_upload(upload, self.now)?)));
        let payloads = due.map(|(upload, decision)| self.of_upload(upload, &decision)).collect();
        let found = Found { seen: page.uploads.len() as u64, payloads };
        self.stage = page.continuation.map_or(Stage::Ended, |next| Stage::Uploads(Some(next)));
        Ok(found)
    }

    fn of_version(&self, decision: &Decision<'_>) -> Option<LifecyclePayload> {
        let version = decision.version?;
        // The current version is named by its key: in a bucket without versions it has no id of its own.
        let version_id =
            version.version_id.clone().filter(|_| !version.is_latest || version.is_delete_marker);
        Some(LifecyclePayload {
            key: version.key.clone(),
            version_id,
            storage_class: decision.storage_class.map(str::to_owned),
            expected_etag: Some(version.etag.clone()).filter(|etag| !etag.is_empty()),
            expected_mod_time: version.last_modified.timestamp_nanos_opt(),
            ..self.payload(decision)
        })
    }

    fn of_upload(&self, upload: &MultipartUpload, decision: &Decision<'_>) -> LifecyclePayload {
        LifecyclePayload {
            key: upload.upload.object.key.clone(),
            upload_id: Some(upload.upload.id.clone()),
            // For the task's unique key; the upload's own id is what is checked.
            expected_mod_time: upload.initiated.timestamp_nanos_opt(),
            ..self.payload(decision)
        }
    }

    fn payload(&self, decision: &Decision<'_>) -> LifecyclePayload {
        LifecyclePayload {
            bucket: self.bucket.clone(),
            key: String::new(),
            version_id: None,
            action: decision.action,
            storage_class: None,
            rule_id: decision.rule_id.to_owned(),
            evaluated_at: self.now.timestamp_nanos_opt().unwrap_or_default(),
            expected_etag: None,
            expected_mod_time: None,
            upload_id: None,
        }
    }

    /// The task of a payload. Its unique key follows from the object's state and the action: a second scan of the same
    /// state enqueues nothing while the task of the first is not finished. After that it does, as the state is there still,
    /// or again: the task became a dead letter, or a delete marker that it left was removed.
    ///
    /// # Errors
    /// As [`NewTask::new`].
    pub fn task(payload: &LifecyclePayload) -> Result<NewTask> {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let (version, upload) = (text(&payload.version_id), text(&payload.upload_id));
        let (etag, class) = (text(&payload.expected_etag), text(&payload.storage_class));
        let action = payload.action.as_str();
        let parts: [&str; 7] = [&payload.bucket, &payload.key, &version, &upload, &etag, &class, action];
        let state = derived::from_time(payload.expected_mod_time.unwrap_or_default(), &parts);
        Ok(NewTask::new(payload)?.unique_key(state))
    }
}
