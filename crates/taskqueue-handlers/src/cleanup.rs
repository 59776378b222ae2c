//! Cleanup: objects and versions that are no longer wanted are removed. It owns the handler; which of a listing go is
//! in `choose`.
//!
//! | `scope` | what goes |
//! |---|---|
//! | `object` (none given) | the object of `key` unless it was written after `requested_at`, or its version `version_id` for good |
//! | `objects` | the current objects under `prefix`, but for the `keep_count` newest of them and those that are younger than `older_than_seconds` |
//! | `versions` | the noncurrent versions under `prefix`, but for the `keep_count` newest of each key and those that are younger; noncurrent delete markers by their age only |
//!
//! An object that is to go is looked at first: one that was written since is another one and stays. The delete carries the
//! ETag that was seen, where the store knows conditions; one that does not is asked without, right after the look. Stores
//! tell times to the second: what is written within the second of `requested_at` counts as written before.
//!
//! Ages count back from the task's `requested_at`. Objects go a thousand at a time, in one request. A task looks at
//! [`PAGES_PER_TASK`] pages and completes together with a task for the rest, which begins behind the last key
//! (`continue_after`): a crash neither loses the rest nor makes two of it. A cleanup of `objects` with `keep_count` has
//! to see all before it knows the newest, and so is one task, which keeps no more than `keep_count` keys in memory.
//!
//! A batched delete of S3 takes no condition: what is overwritten between the listing and the delete, within seconds, is
//! deleted all the same. Where writers are at work, use a bucket with versions, or lifecycle tasks, which check.
//!
//! **A second run** of the same task lists again and finds what the first left; what is absent is deleted already, and
//! gets no further delete marker.

mod choose;

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use taskqueue_core::metrics::Metrics;
use taskqueue_core::payloads::{CleanupPayload, CleanupScope, types};
use taskqueue_core::{NewTask, Outcome};
use taskqueue_worker::{Handler, TaskContext, TaskError};

use self::choose::Chooser;
use crate::metrics::HandlerMetrics;
use crate::store::{
    Condition, ListObjects, ListVersions, ObjectInfo, ObjectRef, ObjectStore, StoreError, StoreErrorKind,
    Version, found,
};
use crate::{HandlerError, derived};

/// How many pages of a listing, of up to 1,000 entries, one task looks at.
pub const PAGES_PER_TASK: usize = 10;
/// The most that one request deletes.
const BATCH: usize = 1000;

/// Carries out tasks of type `cleanup` on an object store.
#[derive(Clone)]
pub struct CleanupHandler {
    store: Arc<dyn ObjectStore>,
    metrics: HandlerMetrics,
}

/// What one task removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Objects and versions.
    pub objects: u64,
    /// Their size, in bytes, as listed.
    pub bytes: u64,
    /// The key behind which the rest begins; none: nothing is left.
    pub continue_after: Option<String>,
}

/// A page of what is there, and where the next begins.
struct Page {
    entries: Vec<Version>,
    next: Option<(String, Option<String>)>,
}

impl CleanupHandler {
    /// A handler on `store`.
    pub fn new(store: Arc<dyn ObjectStore>, metrics: &Metrics) -> Self {
        Self { store, metrics: HandlerMetrics::new(metrics, types::CLEANUP) }
    }

    /// Carries out one task's share.
    ///
    /// # Errors
    /// Permanent for a payload that names neither a key nor a scope; else as the store says. What was removed before
    /// the error stays removed.
    pub async fn clean(&self, payload: &CleanupPayload) -> Result<Cleaned, HandlerError> {
        let cleaned = match payload.scope.unwrap_or_default() {
            CleanupScope::Object => self.one(payload).await?,
            scope => self.many(payload, scope).await?,
        };
        self.metrics.outcome(if cleaned.continue_after.is_some() { "continued" } else { "done" });
        Ok(cleaned)
    }

    async fn one(&self, payload: &CleanupPayload) -> Result<Cleaned, HandlerError> {
        if payload.key.is_empty() {
            return Err(HandlerError::permanent("cleanup names neither a key nor a scope"));
        }
        let object = ObjectRef::new(&payload.bucket, &payload.key).version(payload.version_id.clone());
        if object.version_id.is_some() {
            self.store.delete(&object, &Condition::Always).await?;
            return Ok(Cleaned { objects: 1, bytes: payload.size, continue_after: None });
        }
        // Deleting what is absent would leave one more delete marker in a bucket with versions.
        let Some(info) = found(self.store.head(&object).await)? else { return Ok(Cleaned::default()) };
        if info.last_modified > DateTime::<Utc>::from_timestamp_nanos(payload.requested_at) {
            return Ok(Cleaned::default());
        }
        let removed = self.delete_seen(&object, &info).await?;
        Ok(if removed {
            Cleaned { objects: 1, bytes: info.size, continue_after: None }
        } else {
            Cleaned::default()
        })
    }

    /// Deletes what was seen; `false`: somebody came in between.
    async fn delete_seen(&self, object: &ObjectRef, info: &ObjectInfo) -> Result<bool, StoreError> {
        let deleted = match self.store.delete(object, &Condition::IfMatch(info.etag.clone())).await {
            Err(error) if error.kind() == StoreErrorKind::NotSupported => {
                self.store.delete(object, &Condition::Always).await
            }
            deleted => deleted,
        };
        match deleted {
            Err(error) if error.kind() == StoreErrorKind::PreconditionFailed || error.is_not_found() => {
                Ok(false)
            }
            deleted => deleted.map(|()| true),
        }
    }

    async fn many(&self, payload: &CleanupPayload, scope: CleanupScope) -> Result<Cleaned, HandlerError> {
        let mut chooser = Chooser::new(scope, payload.keep_count.unwrap_or_default(), cutoff(payload));
        let mut cleaned = Cleaned::default();
        let mut after = payload.continue_after.clone().map(|key| (key, None));
        for number in 1.. {
            let page = self.page(payload, scope, after).await?;
            let whole = last_whole_key(&page.entries, scope);
            let chosen = page.entries.into_iter().filter_map(|entry| chooser.choose(entry)).collect();
            self.remove(payload, scope, chosen, &mut cleaned).await?;
            after = page.next;
            if after.is_none() {
                break;
            }
            if number >= PAGES_PER_TASK && chooser.can_pause() && whole.is_some() {
                cleaned.continue_after = whole;
                break;
            }
        }
        Ok(cleaned)
    }

    async fn page(
        &self,
        payload: &CleanupPayload,
        scope: CleanupScope,
        after: Option<(String, Option<String>)>,
    ) -> Result<Page, StoreError> {
        let (bucket, prefix) = (payload.bucket.clone(), payload.prefix.clone());
        if scope == CleanupScope::Versions {
            let page = self.store.list_versions(&ListVersions { bucket, prefix, after, limit: 0 }).await?;
            return Ok(Page { entries: page.versions, next: page.next });
        }
        let start_after = after.map(|(key, _)| key);
        let list = ListObjects { bucket, prefix, start_after, ..ListObjects::default() };
        let page = self.store.list(&list).await?;
        let last = page.objects.last().map(|object| (object.key.clone(), None));
        Ok(Page { entries: page.objects, next: last.filter(|_| page.continuation.is_some()) })
    }

    async fn remove(
        &self,
        payload: &CleanupPayload,
        scope: CleanupScope,
        chosen: Vec<Version>,
        cleaned: &mut Cleaned,
    ) -> Result<(), StoreError> {
        for batch in chosen.chunks(BATCH) {
            let object = |entry: &Version| {
                let version = entry.version_id.clone().filter(|_| scope == CleanupScope::Versions);
                ObjectRef::new(&payload.bucket, &entry.key).version(version)
            };
            let objects: Vec<_> = batch.iter().map(object).collect();
            let outcomes = self.store.delete_many(&payload.bucket, &objects).await?;
            let mut failed = None;
            for (entry, outcome) in batch.iter().zip(outcomes) {
                match outcome {
                    Ok(()) => {
                        cleaned.objects += 1;
                        cleaned.bytes += entry.size;
                    }
                    // One that a later attempt can mend says more about the task than one that none can.
                    Err(error) if error.kind().is_transient() => failed = Some(error),
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
            failed.map_or(Ok(()), Err)?;
        }
        Ok(())
    }
}

#[async_trait]
impl Handler for CleanupHandler {
    async fn handle(&self, cx: TaskContext) -> Result<Outcome, TaskError> {
        let payload: CleanupPayload = cx.payload().decode().map_err(TaskError::permanent)?;
        let cleaned = self.clean(&payload).await?;
        tracing::info!(objects = cleaned.objects, bytes = cleaned.bytes, "cleaned up {}", payload.bucket);
        let Some(key) = cleaned.continue_after else { return Ok(Outcome::done()) };
        let id = derived::from_task(cx.id(), &[&key]);
        let rest = CleanupPayload { continue_after: Some(key), ..payload };
        let rest = NewTask::new(&rest).map_err(TaskError::permanent)?;
        Ok(Outcome::done().then(derived::like(&cx, rest.id(id))))
    }
}

/// Of versions the last key's may go on in the next page, and what is kept of a key is counted from its newest.
fn last_whole_key(entries: &[Version], scope: CleanupScope) -> Option<String> {
    let last = entries.last()?;
    let is_whole = |entry: &&Version| scope != CleanupScope::Versions || entry.key != last.key;
    entries.iter().rev().find(is_whole).map(|entry| entry.key.clone())
}

fn cutoff(payload: &CleanupPayload) -> DateTime<Utc> {
    let requested = DateTime::<Utc>::from_timestamp_nanos(payload.requested_at);
    let age =
        i64::try_from(payload.older_than_seconds.unwrap_or_default()).ok().and_then(TimeDelta::try_seconds);
    age.and_then(|age| requested.checked_sub_signed(age)).unwrap_or(DateTime::<Utc>::MIN_UTC)
}
