//! `federation_ingest`: one object of the external bucket becomes an object here. It owns the handler and its outcomes;
//! the steps of one attempt are in `attempt`.
//!
//! What is read is what was listed: every request names the listed ETag. The size is checked, and the MD5 where the ETag
//! is one, before the copy can be seen. Content type, encoding, disposition, language, cache control and the user's
//! metadata come along; the storage class does not, as it is this store's to choose.
//!
//! | outcome | what it means |
//! |---|---|
//! | `copied` | the object is here now |
//! | `present` | it was here already |
//! | `gone` | it is not outside any more: nothing to do |
//! | `kept_newer` | the object here is newer, and stays ([`Conflict::KeepNewer`](super::Conflict::KeepNewer)) |
//! | `deleted` | the external delete marker is one here now |
//! | `begun` | a large object: an upload was begun; the task that follows this one sends it |
//! | `restarted` | the upload is gone or has parts of another size, or the object has changed: the task that follows begins anew |
//!
//! A large object takes two tasks: the first begins the upload, and completes with a second one that names it. So the
//! queue knows whose upload it is, and an attempt after a crash sends only the parts that are missing. An upload that is
//! given up is aborted. One is left behind when a process dies between beginning it and committing that, or when a task
//! is cancelled: let the bucket's lifecycle rules abort what is days old.
//!
//! A copy can have another ETag than its source: where either was sent in parts of no common size, or either store
//! encrypts. [`SOURCE_ETAG_KEY`](super::SOURCE_ETAG_KEY) in its metadata says what it is a copy of.
//!
//! A task with a version brings that version over, or the next newer one that is missing here, and is followed by the
//! task of the one after it, until all are here: from the task of the oldest version on the history is rebuilt in its
//! order. It stops at a version that becomes a dead letter, and goes on when that is redriven. The local bucket must
//! keep versions. A version that was removed here comes back with the next discovery.
//!
//! **A second run** of the same task finds the object here and writes nothing. Two runs at once, when a worker lost its
//! lease and did not notice yet: writes are conditional on the object here being as it was looked at, so that one of them
//! fails and is repeated. A store that does not know such a condition is asked without, right after one more look: two runs
//! within that moment both write. No condition tells a version from the one before it with the same content: of such a pair two
//! runs at once can write the second one twice. Nor is Ceph's check of a condition one with the write in a bucket with
//! versions: there, two runs that write within the same few milliseconds can both succeed, and leave a version twice.

use std::sync::Arc;

use async_trait::async_trait;
use taskqueue_core::metrics::Metrics;
use taskqueue_core::payloads::{FederationIngestPayload, types};
use taskqueue_core::{Clock, NewTask, Outcome, Result, SystemClock};
use taskqueue_worker::{Handler, TaskContext, TaskError};

use super::attempt::Attempt;
use super::discovery::{PAUSE_SNOOZE, like};
use super::{ExternalStores, FederationConfig, FederationConfigStore, TransferConfig, configured};
use crate::derived;
use crate::store::ObjectStore;
use crate::{HandlerError, HandlerMetrics};

/// Handles tasks of type `federation_ingest`.
#[derive(Clone)]
pub struct IngestHandler {
    configs: Arc<dyn FederationConfigStore>,
    external: Arc<dyn ExternalStores>,
    local: Arc<dyn ObjectStore>,
    transfer: TransferConfig,
    clock: Arc<dyn Clock>,
    metrics: HandlerMetrics,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the table of this module says what each means")]
#[non_exhaustive]
pub enum How {
    Copied,
    Present,
    Gone,
    KeptNewer,
    Deleted,
    Begun,
    Restarted,
}

/// What an attempt did, and what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingested {
    /// How it ended.
    pub how: How,
    /// The size of what was written.
    pub bytes: u64,
    /// The task that follows: the parts of an upload, or the next version.
    pub next: Option<FederationIngestPayload>,
}

impl How {
    /// The name in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Copied => "copied",
            Self::Present => "present",
            Self::Gone => "gone",
            Self::KeptNewer => "kept_newer",
            Self::Deleted => "deleted",
            Self::Begun => "begun",
            Self::Restarted => "restarted",
        }
    }
}

impl IngestHandler {
    /// A handler that copies into `local` what `configs` says is federated.
    ///
    /// # Errors
    /// As [`TransferConfig::validate`].
    pub fn new(
        configs: impl FederationConfigStore,
        external: impl ExternalStores,
        local: Arc<dyn ObjectStore>,
        transfer: TransferConfig,
    ) -> Result<Self> {
        transfer.validate()?;
        Ok(Self {
            configs: Arc::new(configs),
            external: Arc::new(external),
            local,
            transfer,
            clock: Arc::new(SystemClock),
            metrics: HandlerMetrics::new(&Metrics::default(), types::FEDERATION_INGEST),
        })
    }

    /// Sets the clock that says when a version was found.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Sets the namespace of the counters.
    #[must_use]
    pub fn metrics(mut self, metrics: &Metrics) -> Self {
        self.metrics = HandlerMetrics::new(metrics, types::FEDERATION_INGEST);
        self
    }

    /// Makes one attempt. After a failure that no other attempt follows, the payload's upload is aborted.
    ///
    /// # Errors
    /// What the stores say; permanent when the local bucket keeps no versions and versions are asked for.
    ///
    /// # Cancel safety
    /// When the future is dropped no object is half written, and another attempt goes on where this one was.
    pub async fn ingest(
        &self,
        payload: &FederationIngestPayload,
        config: &FederationConfig,
        is_last_attempt: bool,
    ) -> Result<Ingested, HandlerError> {
        let external = self.external.open(&config.external).await?;
        let attempt = Attempt {
            payload,
            config,
            external,
            local: Arc::clone(&self.local),
            transfer: self.transfer,
            now: self.clock.now(),
        };
        let ingested = attempt.run().await;
        if ingested.as_ref().is_err_and(|error| is_last_attempt || error.is_permanent()) {
            attempt.drop_upload().await;
        }
        ingested
    }
}

#[async_trait]
impl Handler for IngestHandler {
    async fn handle(&self, cx: TaskContext) -> Result<Outcome, TaskError> {
        let payload: FederationIngestPayload = cx.decode()?;
        let Some(config) = configured(&*self.configs, &payload.bucket).await? else {
            self.metrics.outcome("paused");
            return Ok(Outcome::snooze(PAUSE_SNOOZE));
        };
        let Ingested { how, bytes, next } = tokio::select! {
            ingested = self.ingest(&payload, &config, cx.is_last_attempt()) => ingested?,
            () = cx.cancelled().cancelled() => return Ok(Outcome::Release),
        };
        self.metrics.outcome(how.as_str());
        self.metrics.bytes(bytes);
        tracing::debug!(bucket = payload.bucket, key = payload.key, bytes, "ingested: {}", how.as_str());
        let Some(next) = next else { return Ok(Outcome::done()) };
        let [version, upload] =
            [&next.version_id, &next.upload_id].map(|id| id.as_deref().unwrap_or_default());
        // From this task's id and no other: a task completes once, so what follows it is enqueued once.
        let id = derived::from_task(cx.id(), &[version, upload]);
        Ok(Outcome::done().then(like(&cx, NewTask::new(&next).map_err(TaskError::permanent)?.id(id))))
    }
}
