//! `federation_discovery`: one page of the external bucket becomes ingest tasks, and the next page a task of this type.
//! It owns what a page is; what becomes of an object is in `ingest`.
//!
//! The ingest tasks, the task of the next page and the completion of this one commit together, so a crash neither loses
//! a page nor lists one twice. Ids follow from the bucket, the key, the version, the ETag and the discovery's start, so a
//! discovery that is enqueued twice with the same start is one.
//!
//! With `include_versions` a page is counted in keys, and each key becomes one task, for its oldest version: the task
//! of a version is followed by that of the next newer one, so that ingest rebuilds the history in its order, whatever
//! the number of workers. Delete markers are part of the history. Their tasks have an empty ETag.
//!
//! While a bucket is paused its tasks are put off, by [`PAUSE_SNOOZE`] at a time.
//!
//! **A second run** of the same task lists the page anew. What it enqueues for objects that have not changed is there
//! already and changes nothing.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use taskqueue_core::metrics::Metrics;
use taskqueue_core::payloads::{
    DISCOVERY_BATCH_SIZE_DEFAULT, FederationDiscoveryPayload, FederationIngestPayload, types,
};
use taskqueue_core::{BATCH_MAX, Clock, NewTask, Outcome, SystemClock, Timestamp};
use taskqueue_worker::{Handler, TaskContext, TaskError};

use super::{ExternalStores, FederationConfig, FederationConfigStore, configured};
pub(super) use crate::derived::like;
use crate::store::{ListObjects, ListVersions, ObjectStore, Version};
use crate::{HandlerError, HandlerMetrics, derived};

/// How long a task of a paused bucket is put off.
pub const PAUSE_SNOOZE: Duration = Duration::from_secs(30);
/// The most keys of a batch: with the next page's task they still fit into one settle.
const BATCH_KEYS_MAX: u32 = BATCH_MAX as u32 - 1;
/// The most entries of a listing's page.
const PAGE_MAX: u32 = 1000;

/// Handles tasks of type `federation_discovery`.
#[derive(Clone)]
pub struct DiscoveryHandler {
    configs: Arc<dyn FederationConfigStore>,
    external: Arc<dyn ExternalStores>,
    clock: Arc<dyn Clock>,
    metrics: HandlerMetrics,
}

/// What a page holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Discovered {
    /// What is to be ingested, in the order of the keys.
    pub found: Vec<FederationIngestPayload>,
    /// The key behind which the next page begins; none: this is the last.
    pub next_after: Option<String>,
}

impl DiscoveryHandler {
    /// A handler for the buckets that `configs` knows.
    pub fn new(configs: impl FederationConfigStore, external: impl ExternalStores) -> Self {
        Self {
            configs: Arc::new(configs),
            external: Arc::new(external),
            clock: Arc::new(SystemClock),
            metrics: HandlerMetrics::new(&Metrics::default(), types::FEDERATION_DISCOVERY),
        }
    }

    /// Sets the clock that says when an object was found.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Sets the namespace of the counters.
    #[must_use]
    pub fn metrics(mut self, metrics: &Metrics) -> Self {
        self.metrics = HandlerMetrics::new(metrics, types::FEDERATION_DISCOVERY);
        self
    }

    /// Lists one page.
    ///
    /// # Errors
    /// What the external store says.
    pub async fn discover(
        &self,
        payload: &FederationDiscoveryPayload,
        config: &FederationConfig,
    ) -> Result<Discovered, HandlerError> {
        let store = self.external.open(&config.external).await?;
        let keys = match payload.batch_size {
            0 => DISCOVERY_BATCH_SIZE_DEFAULT,
            keys => keys.min(BATCH_KEYS_MAX),
        };
        let bucket = &config.external.bucket;
        let (entries, next_after) = if payload.include_versions {
            oldest_versions(&*store, bucket, payload, keys as usize).await?
        } else {
            current_objects(&*store, bucket, payload, keys).await?
        };
        let now = self.clock.now();
        let found = entries.into_iter().map(|entry| ingest_of(&payload.bucket, entry, now)).collect();
        Ok(Discovered { found, next_after })
    }

    fn follow_up(&self, cx: &TaskContext, page: &FederationDiscoveryPayload, found: Discovered) -> Outcome {
        let begin = page.started_at;
        let ingests = found.found.iter().map(|ingest| {
            let version = ingest.version_id.as_deref().unwrap_or_default();
            let id =
                derived::from_time(begin, &["ingest", &ingest.bucket, &ingest.key, version, &ingest.etag]);
            NewTask::new(ingest).map(|task| like(cx, task.id(id)))
        });
        let next = found.next_after.map(|after| {
            let prefix = page.prefix.as_deref().unwrap_or_default();
            let what = if page.include_versions { "versions" } else { "objects" };
            let id = derived::from_time(begin, &["discovery", &page.bucket, what, prefix, &after]);
            let next = FederationDiscoveryPayload { start_after: Some(after), ..page.clone() };
            NewTask::new(&next).map(|task| like(cx, task.id(id)))
        });
        ingests.chain(next).fold(Outcome::done(), |outcome, task| match task {
            Ok(task) => outcome.then(task),
            Err(error) => Outcome::permanent(error.to_string()),
        })
    }
}

#[async_trait]
impl Handler for DiscoveryHandler {
    async fn handle(&self, cx: TaskContext) -> Result<Outcome, TaskError> {
        let mut payload: FederationDiscoveryPayload = cx.decode()?;
        if payload.started_at == 0 {
            payload.started_at = nanos(cx.task().created_at);
        }
        let Some(config) = configured(&*self.configs, &payload.bucket).await? else {
            self.metrics.outcome("paused");
            return Ok(Outcome::snooze(PAUSE_SNOOZE));
        };
        let discovered = tokio::select! {
            discovered = self.discover(&payload, &config) => discovered?,
            () = cx.cancelled().cancelled() => return Ok(Outcome::Release),
        };
        self.metrics.outcome(if discovered.next_after.is_some() { "page" } else { "last_page" });
        tracing::debug!(
            bucket = payload.bucket,
            found = discovered.found.len(),
            is_last = discovered.next_after.is_none(),
            "listed a page of the external bucket"
        );
        Ok(self.follow_up(&cx, &payload, discovered))
    }
}

/// The task that ingests `entry`. A delete marker has no ETag.
pub(super) fn ingest_of(bucket: &str, entry: Version, found_at: Timestamp) -> FederationIngestPayload {
    FederationIngestPayload {
        bucket: bucket.to_owned(),
        key: entry.key,
        version_id: entry.version_id,
        size: entry.size,
        etag: if entry.is_delete_marker { String::new() } else { entry.etag },
        content_type: None,
        storage_class: entry.storage_class,
        last_modified: nanos(entry.last_modified),
        discovered_at: nanos(found_at),
        upload_id: None,
    }
}

/// Unix nanoseconds; times that they cannot say are as far away as they can.
pub(super) fn nanos(time: Timestamp) -> i64 {
    time.timestamp_nanos_opt().unwrap_or(if time.timestamp() < 0 { i64::MIN } else { i64::MAX })
}

type Page = (Vec<Version>, Option<String>);

async fn current_objects(
    store: &dyn ObjectStore,
    bucket: &str,
    payload: &FederationDiscoveryPayload,
    keys: u32,
) -> Result<Page, HandlerError> {
    let mut found: Vec<Version> = Vec::new();
    let mut continuation = None;
    loop {
        let missing = keys.saturating_sub(u32::try_from(found.len()).unwrap_or(u32::MAX));
        let list = ListObjects {
            bucket: bucket.to_owned(),
            prefix: payload.prefix.clone(),
            start_after: payload.start_after.clone(),
            continuation: continuation.take(),
            limit: missing.min(PAGE_MAX),
        };
        let page = store.list(&list).await?;
        found.extend(page.objects);
        continuation = page.continuation;
        if continuation.is_none() {
            return Ok((found, None));
        }
        if found.len() >= keys as usize {
            let last = found.last().map(|entry| entry.key.clone());
            return Ok((found, last));
        }
    }
}

/// The oldest version of each key. A key is whole only when another follows it or nothing does, so a page of the store
/// that ends within one is read on.
async fn oldest_versions(
    store: &dyn ObjectStore,
    bucket: &str,
    payload: &FederationDiscoveryPayload,
    keys: usize,
) -> Result<Page, HandlerError> {
    let mut oldest: Vec<Version> = Vec::new();
    let mut after = payload.start_after.clone().map(|key| (key, None));
    loop {
        let list = ListVersions {
            bucket: bucket.to_owned(),
            prefix: payload.prefix.clone(),
            after: after.take(),
            limit: PAGE_MAX,
        };
        let page = store.list_versions(&list).await?;
        for entry in page.versions {
            let is_full = oldest.len() == keys;
            match oldest.last_mut() {
                Some(last) if last.key == entry.key => *last = entry,
                Some(last) if is_full => {
                    let last = last.key.clone();
                    return Ok((oldest, Some(last)));
                }
                _ => oldest.push(entry),
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok((oldest, None));
        }
    }
}
