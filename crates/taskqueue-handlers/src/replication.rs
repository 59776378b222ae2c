//! `replication`: a change of an object in one region is repeated in another. It owns what is looked at and when; whether a
//! change is still the one to repeat is in `decide`, how data is sent in `transfer`.
//!
//! What is repeated is the state of the source, not its history: a `PUT` or `COPY` whose object has been overwritten or
//! deleted since is left to the task of that later change. Content type and metadata are those of the source.
//!
//! An older change never replaces a newer one: each copy says in its metadata, under [`CHANGE_KEY`], which change it
//! repeats, and changes are compared by their `requested_at`. An object that says nothing was written there by itself,
//! and stays if it was modified later than the change was made; the two regions' clocks are compared then. Writes and
//! deletes are conditional on the destination being as it was looked at; a store that does not know such a condition is
//! asked without, right after one more look.
//!
//! The deletion of the source's object may be repeated while a copy is still on its way, and finds nothing to delete: the
//! copy stays. Where deletions are repeated, set [`follows_deletes`](ReplicationHandler::follows_deletes): then the source
//! is looked at again once the copy is there, and a copy whose source is gone goes as well. It is off by default, as the
//! destination may be the archive of objects that are not meant to stay. A worker that dies right after such a removal leaves
//! no copy, although the source may be back by then: its next change brings one.
//!
//! | outcome | what it means |
//! |---|---|
//! | `copied` | the object is there now |
//! | `deleted` | the object is deleted there now |
//! | `present` | this change had been repeated already |
//! | `superseded` | there is a later change, here or there: nothing to do |
//! | `gone` | the object is not in the source region any more: nothing to copy; an earlier copy is left to the task of the deletion, but with `follows_deletes` the copy that this change made is deleted |
//!
//! **A second run** of the same task finds the change repeated and writes nothing; with `follows_deletes` it deletes the
//! copy if the source is gone by then. A large object that was interrupted is sent from its start; its upload is aborted,
//! also when the worker stops or the type's timeout is near (an attempt ends a tenth of the timeout before it, at most 5 s),
//! unless the process died: then the bucket's lifecycle rules abort it.

mod decide;
mod destination;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use taskqueue_core::metrics::Metrics;
use taskqueue_core::payloads::{ReplicationOperation, ReplicationPayload, types};
use taskqueue_core::{Outcome, Result};
use taskqueue_worker::{Handler, TaskContext, TaskError};
use tokio::time::{Instant, sleep_until};

use self::decide::{Decision, decide};
use self::destination::Destination;
use crate::store::{
    Condition, ListObjects, ObjectInfo, ObjectRef, ObjectStore, StoreError, StoreErrorKind, found,
};
use crate::transfer::{self, Source, TransferConfig, TransferError};
use crate::{HandlerError, HandlerMetrics};

/// The metadata under which a copy says which change it repeats: its `requested_at`, in Unix nanoseconds.
pub const CHANGE_KEY: &str = "taskqueue-change";
/// How often one attempt looks again because the destination has changed under it.
const LOOKS_MAX: usize = 4;
/// How long before the type's timeout an attempt ends, at most: behind it nothing can be aborted.
const ABORT_PERIOD_MAX: Duration = Duration::from_secs(5);

/// The stores of the regions, by the names that payloads give them.
pub type Regions = BTreeMap<String, Arc<dyn ObjectStore>>;

/// Handles tasks of type `replication`.
#[derive(Clone)]
pub struct ReplicationHandler {
    regions: Regions,
    transfer: TransferConfig,
    follows_deletes: bool,
    etag_is_md5: bool,
    metrics: HandlerMetrics,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the table of this module says what each means")]
#[non_exhaustive]
pub enum Replicated {
    Copied { bytes: u64 },
    Deleted,
    Present,
    Superseded,
    Gone,
}

/// What a look at the destination came to.
enum Step {
    Done(Replicated),
    LookAgain,
    /// The copy was deleted, as its source was gone.
    Removed,
}

impl Replicated {
    /// The name in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Copied { .. } => "copied",
            Self::Deleted => "deleted",
            Self::Present => "present",
            Self::Superseded => "superseded",
            Self::Gone => "gone",
        }
    }
}

impl ReplicationHandler {
    /// A handler between these regions.
    ///
    /// # Errors
    /// As [`TransferConfig::validate`].
    pub fn new(regions: Regions, transfer: TransferConfig) -> Result<Self> {
        transfer.validate()?;
        let metrics = HandlerMetrics::new(&Metrics::default(), types::REPLICATION);
        Ok(Self { regions, transfer, follows_deletes: false, etag_is_md5: true, metrics })
    }

    /// Sets whether a copy is deleted whose source is found gone by the task that made it, in this run or a second one;
    /// default `false`. Set it where tasks of `DELETE` are enqueued: one of them may run while the copy is on its way.
    /// Where deletions are not repeated it would remove the copy that is to outlive its source.
    #[must_use]
    pub fn follows_deletes(mut self, follows_deletes: bool) -> Self {
        self.follows_deletes = follows_deletes;
        self
    }

    /// Sets whether ETags that look like an MD5 are one; default `true`. Set it to `false` where a source's store encrypts with
    /// customers' keys and does not say so: else no copy of it is ever whole.
    #[must_use]
    pub fn etag_is_md5(mut self, etag_is_md5: bool) -> Self {
        self.etag_is_md5 = etag_is_md5;
        self
    }

    /// Sets the namespace of the counters.
    #[must_use]
    pub fn metrics(mut self, metrics: &Metrics) -> Self {
        self.metrics = HandlerMetrics::new(metrics, types::REPLICATION);
        self
    }

    /// Repeats one change.
    ///
    /// # Errors
    /// What the stores say; permanent for a region that is not configured.
    ///
    /// # Cancel safety
    /// When the future is dropped no object is half written; the upload of a large one is left behind, which the handler's
    /// task aborts.
    pub async fn replicate(&self, payload: &ReplicationPayload) -> Result<Replicated, HandlerError> {
        self.replicate_to(&self.destination(payload)?, payload).await
    }

    async fn replicate_to(
        &self,
        there: &Destination<'_>,
        payload: &ReplicationPayload,
    ) -> Result<Replicated, HandlerError> {
        let mut payload = Cow::Borrowed(payload);
        for _ in 0..LOOKS_MAX {
            match self.step(&payload, there).await {
                Ok(Step::Done(replicated)) => return Ok(replicated),
                Ok(Step::LookAgain) => {}
                Ok(Step::Removed) => match self.as_it_is(&payload).await? {
                    Some(change) => payload = Cow::Owned(change),
                    None => return Ok(Replicated::Gone),
                },
                Err(error) if error.target_has_changed() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(HandlerError::transient(format!("{} keeps changing", there.object)))
    }

    async fn step(
        &self,
        payload: &ReplicationPayload,
        there: &Destination<'_>,
    ) -> Result<Step, TransferError> {
        let found = found(there.store.head(&there.object).await).map_err(TransferError::Target)?;
        match (decide(found.as_ref(), payload), found) {
            // By an attempt that may have died before its second look at the source.
            (Decision::Leave(Replicated::Present), Some(copy)) => {
                self.unless_gone(payload, there, &copy.etag, Replicated::Present).await
            }
            (Decision::Leave(replicated), _) => Ok(Step::Done(replicated)),
            (Decision::Change(condition), _) if payload.operation == ReplicationOperation::Delete => {
                there.delete(&condition).await.map(|()| Step::Done(Replicated::Deleted))
            }
            (Decision::Change(condition), _) => self.copy(payload, there, &condition).await,
        }
    }

    /// The change that the source has seen last, as far as it tells; none: its object is gone. For after a removal: what
    /// was removed may have been the copy of a later change, which no condition told from the one of `payload`, and whose
    /// task is done.
    async fn as_it_is(
        &self,
        payload: &ReplicationPayload,
    ) -> Result<Option<ReplicationPayload>, TransferError> {
        let info = self.look_at_source(payload).await?;
        Ok(info.map(|info| ReplicationPayload {
            etag: info.etag,
            size: info.size,
            version_id: payload.version_id.as_ref().and(info.version_id),
            // Else the deletion in between, whose task may still come, would be the later change.
            requested_at: info
                .last_modified
                .timestamp_nanos_opt()
                .unwrap_or_default()
                .max(payload.requested_at),
            ..payload.clone()
        }))
    }

    /// Copies the object as it is now.
    async fn copy(
        &self,
        payload: &ReplicationPayload,
        there: &Destination<'_>,
        condition: &Condition,
    ) -> Result<Step, TransferError> {
        let Some(info) = self.look_at_source(payload).await? else {
            return Ok(Step::Done(Replicated::Gone));
        };
        let is_other_version = payload.version_id.is_some() && payload.version_id != info.version_id;
        if info.etag != payload.etag || is_other_version {
            return Ok(Step::Done(Replicated::Superseded));
        }
        let source = Source {
            store: Arc::clone(self.source(payload)?),
            object: ObjectRef::new(&payload.source_bucket, &payload.source_key),
            size: info.size,
            etag: info.etag.clone(),
            etag_is_md5: self.etag_is_md5,
        };
        let mark = (CHANGE_KEY, payload.requested_at.to_string());
        let written = if self.transfer.in_parts(info.size, &info.etag) {
            let mut attributes = info.attributes;
            attributes.metadata.insert(mark.0.to_owned(), mark.1);
            there.send(&source, &attributes, condition, &self.transfer).await
        } else {
            transfer::put(&source, there.store, &there.object, condition, Some(mark)).await
        };
        match written {
            Ok(written) => {
                let copied = Replicated::Copied { bytes: info.size };
                self.unless_gone(payload, there, &written.etag, copied).await
            }
            // The next look says whether it is the object or the bucket.
            Err(error) if error.source_is_gone() => Ok(Step::LookAgain),
            Err(error) if error.source_has_changed() => Ok(Step::Done(Replicated::Superseded)),
            Err(error) => Err(error),
        }
    }

    /// What a change comes to whose copy is there.
    async fn unless_gone(
        &self,
        payload: &ReplicationPayload,
        there: &Destination<'_>,
        etag: &str,
        replicated: Replicated,
    ) -> Result<Step, TransferError> {
        if !self.follows_deletes || self.look_at_source(payload).await?.is_some() {
            return Ok(Step::Done(replicated));
        }
        there.delete(&Condition::IfMatch(etag.to_owned())).await.map(|()| Step::Removed)
    }

    /// The source as it is now. None is there only if its bucket is: else every object would seem to be gone.
    async fn look_at_source(
        &self,
        payload: &ReplicationPayload,
    ) -> Result<Option<ObjectInfo>, TransferError> {
        let store = self.source(payload)?;
        let object = ObjectRef::new(&payload.source_bucket, &payload.source_key);
        let info = found(store.head(&object).await).map_err(TransferError::Source)?;
        if info.is_none() {
            let list = ListObjects { bucket: object.bucket, limit: 1, ..ListObjects::default() };
            store.list(&list).await.map_err(TransferError::Source)?;
        }
        Ok(info)
    }

    fn source(&self, payload: &ReplicationPayload) -> Result<&Arc<dyn ObjectStore>, TransferError> {
        let name = &payload.source_region;
        self.regions.get(name).ok_or_else(|| TransferError::Source(no_region(name)))
    }

    fn destination(&self, payload: &ReplicationPayload) -> Result<Destination<'_>, HandlerError> {
        let store = self.region(&payload.destination_region)?;
        let object = ObjectRef::new(&payload.destination_bucket, &payload.destination_key);
        Ok(Destination::new(&**store, object))
    }

    fn region(&self, name: &str) -> Result<&Arc<dyn ObjectStore>, HandlerError> {
        self.regions.get(name).ok_or_else(|| no_region(name).into())
    }
}

#[async_trait]
impl Handler for ReplicationHandler {
    async fn handle(&self, cx: TaskContext) -> Result<Outcome, TaskError> {
        let payload: ReplicationPayload = cx.decode()?;
        let there = self.destination(&payload)?;
        let replicated = tokio::select! {
            replicated = self.replicate_to(&there, &payload) => replicated?,
            outcome = stopped(&cx) => {
                there.abort().await;
                return outcome;
            }
        };
        self.metrics.outcome(replicated.as_str());
        if let Replicated::Copied { bytes } = replicated {
            self.metrics.bytes(bytes);
        }
        Ok(Outcome::done())
    }
}

/// What becomes of an attempt that has to stop: once it is told to, or its time is nearly up, which it is told only when
/// it is too late to abort an upload.
async fn stopped(cx: &TaskContext) -> Result<Outcome, TaskError> {
    let nearly_up = async {
        let Some(deadline) = cx.deadline() else { return std::future::pending().await };
        let left = deadline.saturating_duration_since(Instant::now());
        sleep_until(deadline - (left / 10).min(ABORT_PERIOD_MAX)).await;
    };
    tokio::select! {
        () = cx.cancelled().cancelled() => Ok(Outcome::Release),
        () = nearly_up => {
            let message = "the timeout of this type is over before the object was there: expected one that is long enough";
            Err(HandlerError::transient(message).into())
        }
    }
}

fn no_region(name: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Invalid, format!("no store is configured for region {name:?}"))
}
