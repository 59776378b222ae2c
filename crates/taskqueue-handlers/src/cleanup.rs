//! Cleanup: objects and versions that are no longer wanted are removed. It owns the handler; which of a listing go is
//! in `choose`.
//!
//! | `scope` | what goes |
//! |---|---|
//! | `object` (none given) | the object of `key` unless it was written after `requested_at`, or its version `version_id` for good |
//! | `objects` | the current objects under `prefix`, but for the `keep_count` newest of them and those that are younger than `older_than_seconds` |
//! | `versions` | the noncurrent versions under `prefix`, but for the `keep_count` newest of each key and those that are younger; noncurrent delete markers by their age only |
//!
//! A payload that contradicts itself is refused for good, before anything is deleted: one object with a `prefix`, an age, a
//! `keep_count` or a `continue_after`, and a wider scope with a `key` or a `version_id`. Either may mean the other.
//!
//! One object that is to go is looked up in the bucket's listing first, so that a bucket that is missing is an error: the
//! worker needs the right to list. One that was written since is another one and stays. The delete carries the ETag that was
//! seen, where the store knows conditions; one that does not is asked without, right after the look. What is compared are
//! the clocks of the store and of whoever asked, to the second: what is written within the second of `requested_at` counts
//! as written before. By a clock that is behind the store's an object that was just written counts as written since, and
//! stays. With a `requested_at` of 0 nobody looks: the object of the key is deleted, whichever it is.
//!
//! | outcome | what it means |
//! |---|---|
//! | `done` | what was to go is gone |
//! | `continued` | a task for the rest follows |
//! | `skipped_changed` | the object was written after `requested_at`, and was left alone |
//! | `refused` | some objects may not be deleted (they are locked), the others are gone; the task fails for good unless a task for the rest follows |
//!
//! Ages count back from the task's `requested_at`, and what was written after it stays; where that is 0, from when the task was
//! enqueued. Objects go a thousand at a time, in one request. A task looks at
//! [`PAGES_PER_TASK`] pages and completes together with a task for the rest, which begins behind the last key
//! (`continue_after`): a crash neither loses the rest nor makes two of it. A cleanup of `objects` with `keep_count` has
//! to see all before it knows the newest, and so is one task, which keeps no more than `keep_count` keys in memory.
//!
//! A batched delete of S3 takes no condition: what is overwritten between the listing and the delete, within seconds, is
//! deleted all the same. Where writers are at work, use a bucket with versions, or lifecycle tasks, which check.
//!
//! **A second run** of the same task lists again and finds what the first left; what is absent is deleted already, and
//! gets no further delete marker (but one object with a `requested_at` of 0 does, as nobody looks).

mod choose;

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use taskqueue_core::metrics::Metrics;
use taskqueue_core::payloads::{CleanupPayload, CleanupScope, types};
use taskqueue_core::{NewTask, Outcome};
use taskqueue_worker::{Handler, TaskContext, TaskError};

use self::choose::Chooser;
use crate::metrics::HandlerMetrics;
use crate::store::{
    Condition, ListObjects, ListVersions, ObjectRef, ObjectStore, StoreError, StoreErrorKind, Version,
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

/// What one task removed, and what it could not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Objects and versions.
    pub objects: u64,
    /// Their size, in bytes, as listed.
    pub bytes: u64,
    /// Objects and versions that may not be deleted: locked ones, for example.
    pub refused: u64,
    /// The key behind which the rest begins; none: nothing is left.
    pub continue_after: Option<String>,
}

/// What became of one object.
enum One {
    Removed { bytes: u64 },
    Absent,
    Changed,
}

/// A page of what is there, and where the next begins.
struct Page {
    entries: Vec<Version>,
    next: Option<Place>,
}

/// Where a page begins.
enum Place {
    Start,
    /// Behind this key, and this version of it if one is given.
    Behind(String, Option<String>),
    /// Where the page of objects before it ended, as the store calls it: a page without entries has no last key.
    Continuation(String),
}

impl CleanupHandler {
    /// A handler on `store`.
    pub fn new(store: Arc<dyn ObjectStore>, metrics: &Metrics) -> Self {
        Self { store, metrics: HandlerMetrics::new(metrics, types::CLEANUP) }
    }

    /// Carries out one task's share.
    ///
    /// # Errors
    /// Permanent for a payload that names neither a key nor a scope, or that contradicts itself, for a wider scope with a
    /// `requested_at` of 0 (the handler takes the time of the task's enqueue), and for objects that may not be deleted, once
    /// all others are gone; else as the store says. What was removed before the error stays removed.
    pub async fn clean(&self, payload: &CleanupPayload) -> Result<Cleaned, HandlerError> {
        check(payload)?;
        let (cleaned, outcome) = match payload.scope.unwrap_or_default() {
            CleanupScope::Object => match self.one(payload).await? {
                One::Removed { bytes } => (Cleaned { objects: 1, bytes, ..Cleaned::default() }, "done"),
                One::Absent => (Cleaned::default(), "done"),
                One::Changed => (Cleaned::default(), "skipped_changed"),
            },
            scope => {
                let (cleaned, refusal) = self.many(payload, scope).await?;
                if let Some(refusal) = refusal {
                    self.metrics.outcome("refused");
                    return refused(payload, cleaned, &refusal);
                }
                let outcome = if cleaned.continue_after.is_some() { "continued" } else { "done" };
                (cleaned, outcome)
            }
        };
        self.metrics.outcome(outcome);
        Ok(cleaned)
    }

    async fn one(&self, payload: &CleanupPayload) -> Result<One, HandlerError> {
        if payload.key.is_empty() {
            return Err(HandlerError::permanent("cleanup names neither a key nor a scope"));
        }
        let object = ObjectRef::new(&payload.bucket, &payload.key).version(payload.version_id.clone());
        // Compared with a time that nobody gave, every object would be a later one.
        if object.version_id.is_some() || payload.requested_at == 0 {
            self.store.delete(&object, &Condition::Always).await?;
            return Ok(One::Removed { bytes: payload.size });
        }
        // Deleting what is absent would leave one more delete marker in a bucket with versions.
        let Some(seen) = self.look(payload).await? else { return Ok(One::Absent) };
        // Listings may tell fractions of a second, where other answers do not.
        if seen.last_modified.trunc_subsecs(0) > DateTime::<Utc>::from_timestamp_nanos(payload.requested_at) {
            return Ok(One::Changed);
        }
        Ok(self.delete_seen(&object, seen).await?)
    }

    /// The object as it is listed. The answer to a HEAD does not tell a missing bucket from a missing object.
    async fn look(&self, payload: &CleanupPayload) -> Result<Option<Version>, StoreError> {
        let (bucket, prefix) = (payload.bucket.clone(), Some(payload.key.clone()));
        let mut list = ListObjects { bucket, prefix, limit: 1, ..ListObjects::default() };
        loop {
            let page = self.store.list(&list).await?;
            // Of the keys that begin with this one it is the first. A page may be empty and not the last.
            if let Some(first) = page.objects.into_iter().next() {
                return Ok(Some(first).filter(|object| object.key == payload.key));
            }
            if page.continuation.is_none() {
                return Ok(None);
            }
            list.continuation = page.continuation;
        }
    }

    async fn delete_seen(&self, object: &ObjectRef, seen: Version) -> Result<One, StoreError> {
        let deleted = match self.store.delete(object, &Condition::IfMatch(seen.etag)).await {
            Err(error) if error.kind() == StoreErrorKind::NotSupported => {
                self.store.delete(object, &Condition::Always).await
            }
            deleted => deleted,
        };
        match deleted {
            Err(error) if error.kind() == StoreErrorKind::PreconditionFailed => Ok(One::Changed),
            Err(error) if error.is_not_found() => Ok(One::Absent),
            deleted => deleted.map(|()| One::Removed { bytes: seen.size }),
        }
    }

    /// What this task's share came to, and the first of what may not be deleted.
    async fn many(
        &self,
        payload: &CleanupPayload,
        scope: CleanupScope,
    ) -> Result<(Cleaned, Option<StoreError>), StoreError> {
        let mut chooser = Chooser::new(scope, payload.keep_count.unwrap_or_default(), cutoff(payload));
        let (mut cleaned, mut refusal) = (Cleaned::default(), None);
        let after = payload.continue_after.clone();
        let mut place = after.map_or(Place::Start, |key| Place::Behind(key, None));
        let mut whole = None;
        for number in 1.. {
            let page = self.page(payload, scope, place).await?;
            whole = last_whole_key(&page.entries, scope).or(whole);
            let chosen = page.entries.into_iter().filter_map(|entry| chooser.choose(entry)).collect();
            let refused = self.remove(payload, scope, chosen, &mut cleaned).await?;
            refusal = refusal.or(refused);
            let Some(next) = page.next else { break };
            if number >= PAGES_PER_TASK && chooser.can_pause() && whole.is_some() {
                cleaned.continue_after = whole;
                break;
            }
            place = next;
        }
        Ok((cleaned, refusal))
    }

    async fn page(
        &self,
        payload: &CleanupPayload,
        scope: CleanupScope,
        place: Place,
    ) -> Result<Page, StoreError> {
        let (bucket, prefix) = (payload.bucket.clone(), payload.prefix.clone());
        let (after, continuation) = match place {
            Place::Start => (None, None),
            Place::Behind(key, version) => (Some((key, version)), None),
            Place::Continuation(continuation) => (None, Some(continuation)),
        };
        if scope == CleanupScope::Versions {
            let page = self.store.list_versions(&ListVersions { bucket, prefix, after, limit: 0 }).await?;
            let next = page.next.map(|(key, version)| Place::Behind(key, version));
            return Ok(Page { entries: page.versions, next });
        }
        let start_after = after.map(|(key, _)| key);
        let list = ListObjects { bucket, prefix, start_after, continuation, limit: 0 };
        let page = self.store.list(&list).await?;
        Ok(Page { entries: page.objects, next: page.continuation.map(Place::Continuation) })
    }

    /// Gives the first of what may not be deleted: it is no reason to keep the others.
    async fn remove(
        &self,
        payload: &CleanupPayload,
        scope: CleanupScope,
        chosen: Vec<Version>,
        cleaned: &mut Cleaned,
    ) -> Result<Option<StoreError>, StoreError> {
        let mut refusal = None;
        for batch in chosen.chunks(BATCH) {
            let object = |entry: &Version| {
                let version = entry.version_id.clone().filter(|_| scope == CleanupScope::Versions);
                ObjectRef::new(&payload.bucket, &entry.key).version(version)
            };
            let objects: Vec<_> = batch.iter().map(object).collect();
            let outcomes = self.store.delete_many(&payload.bucket, &objects).await?;
            let mut passing = None;
            for (entry, outcome) in batch.iter().zip(outcomes) {
                match outcome {
                    Ok(()) => {
                        cleaned.objects += 1;
                        cleaned.bytes += entry.size;
                    }
                    Err(error) if error.kind().is_transient() => passing = Some(error),
                    Err(error) => {
                        cleaned.refused += 1;
                        refusal = refusal.or(Some(error));
                    }
                }
            }
            passing.map_or(Ok(()), Err)?;
        }
        Ok(refusal)
    }
}

#[async_trait]
impl Handler for CleanupHandler {
    async fn handle(&self, cx: TaskContext) -> Result<Outcome, TaskError> {
        let mut payload: CleanupPayload = cx.decode()?;
        if is_wide(&payload) && payload.requested_at == 0 {
            payload.requested_at = cx.task().created_at.timestamp_nanos_opt().unwrap_or_default();
        }
        let cleaned = self.clean(&payload).await?;
        tracing::info!(objects = cleaned.objects, bytes = cleaned.bytes, "cleaned up {}", payload.bucket);
        let Some(key) = cleaned.continue_after else { return Ok(Outcome::done()) };
        let id = derived::from_task(cx.id(), &[&key]);
        let rest = CleanupPayload { continue_after: Some(key), ..payload };
        let rest = NewTask::new(&rest).map_err(TaskError::permanent)?;
        Ok(Outcome::done().then(derived::like(&cx, rest.id(id))))
    }
}

/// The end of a task that met what may not be deleted. The rest has its own task, which is not to wait for that.
fn refused(payload: &CleanupPayload, cleaned: Cleaned, first: &StoreError) -> Result<Cleaned, HandlerError> {
    let Cleaned { objects, refused, .. } = cleaned;
    tracing::warn!(objects, refused, error = %first, "some of {} may not be deleted", payload.bucket);
    if cleaned.continue_after.is_some() {
        return Ok(cleaned);
    }
    let message = format!("cleanup of {}: {refused} may not be deleted, the first: {first}", payload.bucket);
    Err(HandlerError::permanent(message))
}

/// A field that the scope does not have may mean that another scope was meant, which would delete something else.
fn check(payload: &CleanupPayload) -> Result<(), HandlerError> {
    let scope = payload.scope.unwrap_or_default();
    let is_given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let foreign: &[(&str, bool)] = match scope {
        CleanupScope::Object => &[
            ("prefix", is_given(&payload.prefix)),
            ("older_than_seconds", payload.older_than_seconds.unwrap_or_default() > 0),
            ("keep_count", payload.keep_count.unwrap_or_default() > 0),
            ("continue_after", is_given(&payload.continue_after)),
        ],
        CleanupScope::Objects | CleanupScope::Versions => {
            &[("key", !payload.key.is_empty()), ("version_id", is_given(&payload.version_id))]
        }
    };
    let name = scope.as_str();
    let message = match foreign.iter().find(|(_, is_given)| *is_given) {
        Some((field, _)) => format!("has a {field}: expected none, or another scope"),
        // Nothing is older than that: it would seem to be done.
        None if is_wide(payload) && payload.requested_at == 0 => {
            "has a requested_at of 0: expected when it was asked for".to_owned()
        }
        None => return Ok(()),
    };
    Err(HandlerError::permanent(format!("cleanup with scope {name:?} {message}")))
}

fn is_wide(payload: &CleanupPayload) -> bool {
    payload.scope.unwrap_or_default() != CleanupScope::Object
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
