//! `replication`: a change of an object in one region is repeated in another. It owns the decision whether a change is
//! still the one to repeat; how data is sent is in `transfer`.
//!
//! What is repeated is the state of the source, not its history: a `PUT` or `COPY` whose object has been overwritten or
//! deleted since is left to the task of that later change. Content type and metadata are those of the source.
//!
//! An older change never replaces a newer one: each copy says in its metadata, under [`CHANGE_KEY`], which change it
//! repeats, and changes are compared by their `requested_at`. An object that says nothing was written there by itself,
//! and stays if it was modified later than the change was made; the two regions' clocks are compared then. Writes and
//! deletes are conditional on the destination being as it was looked at.
//!
//! | outcome | what it means |
//! |---|---|
//! | `copied` | the object is there now |
//! | `deleted` | the object is deleted there now |
//! | `present` | this change had been repeated already |
//! | `superseded` | there is a later change, here or there: nothing to do |
//! | `gone` | the object is not in the source region any more: the task of its deletion says what follows |
//!
//! **A second run** of the same task finds the change repeated and writes nothing. A large object that was interrupted is
//! sent from its start; its upload is aborted, unless the process died: then the bucket's lifecycle rules abort it.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::DateTime;
use taskqueue_core::metrics::Metrics;
use taskqueue_core::payloads::{ReplicationOperation, ReplicationPayload, types};
use taskqueue_core::{Outcome, Result};
use taskqueue_worker::{Handler, TaskContext, TaskError};

use crate::store::{
    Condition, ListObjects, ObjectInfo, ObjectRef, ObjectStore, StoreError, StoreErrorKind, found,
};
use crate::transfer::{self, SOURCE_ETAG_KEY, Source, TransferConfig, TransferError};
use crate::{HandlerError, HandlerMetrics};

/// The metadata under which a copy says which change it repeats: its `requested_at`, in Unix nanoseconds.
pub const CHANGE_KEY: &str = "taskqueue-change";
/// How often one attempt looks again because the destination has changed under it.
const LOOKS_MAX: usize = 4;

/// The stores of the regions, by the names that payloads give them.
pub type Regions = BTreeMap<String, Arc<dyn ObjectStore>>;

/// Handles tasks of type `replication`.
#[derive(Clone)]
pub struct ReplicationHandler {
    regions: Regions,
    transfer: TransferConfig,
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
        Ok(Self { regions, transfer, metrics })
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
    pub async fn replicate(&self, payload: &ReplicationPayload) -> Result<Replicated, HandlerError> {
        let target = self.region(&payload.destination_region)?;
        for _ in 0..LOOKS_MAX {
            let there = Self::destination(payload);
            let found = found(target.head(&there).await)?;
            let condition = match decide(found.as_ref(), payload) {
                Decision::Leave(replicated) => return Ok(replicated),
                Decision::Change(condition) => condition,
            };
            let done = match payload.operation {
                ReplicationOperation::Delete => delete(&**target, &there, &condition).await,
                ReplicationOperation::Put | ReplicationOperation::Copy => {
                    self.copy(payload, &**target, &there, &condition).await
                }
            };
            match done {
                Err(error) if error.target_has_changed() => {}
                done => return Ok(done?),
            }
        }
        Err(HandlerError::transient(format!("{} keeps changing", Self::destination(payload))))
    }

    async fn copy(
        &self,
        payload: &ReplicationPayload,
        target: &dyn ObjectStore,
        there: &ObjectRef,
        condition: &Condition,
    ) -> Result<Replicated, TransferError> {
        let store = self.regions.get(&payload.source_region);
        let store =
            Arc::clone(store.ok_or_else(|| TransferError::Source(no_region(&payload.source_region)))?);
        let current = ObjectRef::new(&payload.source_bucket, &payload.source_key);
        let info = match store.head(&current).await {
            Err(error) if error.is_not_found() => return gone(&*store, &payload.source_bucket).await,
            info => info.map_err(TransferError::Source)?,
        };
        let is_other_version = payload.version_id.is_some() && payload.version_id != info.version_id;
        if info.etag != payload.etag || is_other_version {
            return Ok(Replicated::Superseded);
        }
        let source = Source {
            store: Arc::clone(&store),
            object: current,
            size: info.size,
            etag: info.etag.clone(),
            etag_is_md5: true,
        };
        let mark = (CHANGE_KEY, payload.requested_at.to_string());
        let written = if self.transfer.in_parts(info.size, &info.etag) {
            self.send(&source, &info, target, there, condition, mark).await
        } else {
            transfer::put(&source, target, there, condition, Some(mark)).await.map(drop)
        };
        match written {
            Ok(()) => Ok(Replicated::Copied { bytes: info.size }),
            Err(error) if error.source_is_gone() => gone(&*store, &payload.source_bucket).await,
            Err(error) if error.source_has_changed() => Ok(Replicated::Superseded),
            Err(error) => Err(error),
        }
    }

    /// Sends a large object in parts; what was sent of one that fails is thrown away.
    async fn send(
        &self,
        source: &Source,
        info: &ObjectInfo,
        target: &dyn ObjectStore,
        there: &ObjectRef,
        condition: &Condition,
        mark: (&'static str, String),
    ) -> Result<(), TransferError> {
        let mut attributes = info.attributes.clone();
        attributes.metadata.insert(mark.0.to_owned(), mark.1);
        let upload =
            transfer::begin(source, &attributes, target, there).await.map_err(TransferError::Target)?;
        let sent = match transfer::send_parts(source, target, &upload, &self.transfer).await {
            Ok(parts) => {
                target.complete_upload(&upload, &parts, condition).await.map_err(TransferError::Target)
            }
            Err(error) => Err(error),
        };
        if sent.is_err()
            && let Err(error) = target.abort_upload(&upload).await
        {
            tracing::warn!(key = there.key, %error, "an upload that is given up was not aborted");
        }
        sent.map(drop)
    }

    fn destination(payload: &ReplicationPayload) -> ObjectRef {
        ObjectRef::new(&payload.destination_bucket, &payload.destination_key)
    }

    fn region(&self, name: &str) -> Result<&Arc<dyn ObjectStore>, HandlerError> {
        self.regions.get(name).ok_or_else(|| no_region(name).into())
    }
}

#[async_trait]
impl Handler for ReplicationHandler {
    async fn handle(&self, cx: TaskContext) -> Result<Outcome, TaskError> {
        let payload: ReplicationPayload = cx.payload().decode().map_err(TaskError::permanent)?;
        let replicated = tokio::select! {
            replicated = self.replicate(&payload) => replicated?,
            () = cx.cancelled().cancelled() => return Ok(Outcome::Release),
        };
        self.metrics.outcome(replicated.as_str());
        if let Replicated::Copied { bytes } = replicated {
            self.metrics.bytes(bytes);
        }
        Ok(Outcome::done())
    }
}

/// What is to be done with the destination.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    Leave(Replicated),
    Change(Condition),
}

fn decide(there: Option<&ObjectInfo>, payload: &ReplicationPayload) -> Decision {
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

async fn delete(
    target: &dyn ObjectStore,
    there: &ObjectRef,
    condition: &Condition,
) -> Result<Replicated, TransferError> {
    match target.delete(there, condition).await {
        Err(error) if !error.is_not_found() => Err(TransferError::Target(error)),
        _ => Ok(Replicated::Deleted),
    }
}

/// The end of a change whose object is not in the source region, unless it is the bucket that is missing.
async fn gone(store: &dyn ObjectStore, bucket: &str) -> Result<Replicated, TransferError> {
    let list = ListObjects { bucket: bucket.to_owned(), limit: 1, ..ListObjects::default() };
    match store.list(&list).await {
        Ok(_) => Ok(Replicated::Gone),
        Err(error) => Err(TransferError::Source(error)),
    }
}

fn no_region(name: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Invalid, format!("no store is configured for region {name:?}"))
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
