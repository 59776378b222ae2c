//! Audit records, shipped to where they are kept. It owns the handler and what it takes from a task; records that wait
//! for one another are `batch`'s business, where a batch goes is `destination`'s.
//!
//! A task is one record and a delivery is many, so tasks that run at the same time wait for each other: the first
//! record of a batch opens it, and it is written when it has enough records or bytes, or is old enough. Each task
//! completes only after the write that holds its record was confirmed: **at least once**, whatever dies in between.
//!
//! **A second run** ships the record again, in another batch: a reader drops it by its `record_id`. A batch of the same
//! records has the same name, so that a write whose answer was lost and that is repeated as it was replaces itself.
//!
//! How many records a batch gets is bounded by how many tasks run at once: give the worker a concurrency of some
//! hundreds for this type. A waiting task costs a slot and nothing else.

mod batch;
mod destination;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use taskqueue_core::payloads::{AuditLogPayload, types};
use taskqueue_core::{Error, Outcome, Result};
use taskqueue_worker::{Handler, Metrics, TaskContext, TaskError};

use self::batch::{Batcher, Record};
pub use self::destination::{AuditBatch, AuditDestination, HttpAudit, ObjectAudit};
use crate::{HandlerError, HandlerMetrics};

/// When a batch is written. Whatever comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditConfig {
    /// With this many records. 10,000 by default; at least 1.
    pub records_max: usize,
    /// With this many bytes of JSON, before compression. 8 MiB by default; at least 1.
    pub bytes_max: usize,
    /// This long after its first record. 1 s by default; zero: each record by itself.
    pub age_max: Duration,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self { records_max: 10_000, bytes_max: 8 * 1024 * 1024, age_max: Duration::from_secs(1) }
    }
}

impl AuditConfig {
    /// Sets with how many records a batch is written.
    #[must_use]
    pub fn records_max(mut self, records: usize) -> Self {
        self.records_max = records;
        self
    }

    /// Sets with how many bytes of JSON a batch is written.
    #[must_use]
    pub fn bytes_max(mut self, bytes: usize) -> Self {
        self.bytes_max = bytes;
        self
    }

    /// Sets how long after its first record a batch is written.
    #[must_use]
    pub fn age_max(mut self, age: Duration) -> Self {
        self.age_max = age;
        self
    }

    /// Checks what was set.
    ///
    /// # Errors
    /// `InvalidInput` for a batch of no records or no bytes.
    pub fn validate(&self) -> Result<()> {
        if self.records_max == 0 {
            return Err(Error::invalid_input("audit_log", "records_max is 0: no batch could hold a record"));
        }
        if self.bytes_max == 0 {
            return Err(Error::invalid_input("audit_log", "bytes_max is 0: no batch could hold a record"));
        }
        Ok(())
    }
}

/// Ships tasks of type `audit_log`. Cheap to clone; clones share their batches.
#[derive(Debug, Clone)]
pub struct AuditLogHandler {
    batcher: Arc<Batcher>,
    metrics: HandlerMetrics,
}

impl AuditLogHandler {
    /// A handler that ships to `destination`.
    ///
    /// # Errors
    /// As [`AuditConfig::validate`].
    pub fn new(destination: impl AuditDestination, config: AuditConfig) -> Result<Self> {
        config.validate()?;
        let metrics = HandlerMetrics::new(&Metrics::default(), types::AUDIT_LOG);
        Ok(Self { batcher: Arc::new(Batcher::new(destination, config)), metrics })
    }

    /// Sets the names under which is counted: the outcome `shipped`, and bytes before compression.
    #[must_use]
    pub fn metrics(mut self, metrics: &Metrics) -> Self {
        self.metrics = HandlerMetrics::new(metrics, types::AUDIT_LOG);
        self
    }

    /// Ships one record, given as its JSON text, and returns once the batch that holds it is written.
    ///
    /// # Errors
    /// Permanent for what is no record or has no id; else what the destination says of the batch.
    ///
    /// # Cancel safety
    /// When the future is dropped the record is shipped all the same, if the process lives on.
    pub async fn ship(&self, json: &str) -> std::result::Result<(), HandlerError> {
        let record = Record::parse(json)?;
        let bytes = record.bytes();
        self.batcher.write(record).await?;
        self.metrics.outcome("shipped");
        self.metrics.bytes(bytes);
        Ok(())
    }
}

#[async_trait]
impl Handler for AuditLogHandler {
    async fn handle(&self, cx: TaskContext) -> std::result::Result<Outcome, TaskError> {
        self.ship(cx.payload().as_str()).await?;
        Ok(Outcome::done())
    }
}

impl Record {
    /// Its line is the payload as it came, but for line ends between its tokens: whatever a producer added is kept.
    fn parse(json: &str) -> std::result::Result<Self, HandlerError> {
        let invalid = |what: String| HandlerError::permanent(format!("audit record: {what}"));
        let payload: AuditLogPayload =
            serde_json::from_str(json).map_err(|error| invalid(error.to_string()))?;
        if payload.record_id.is_empty() {
            return Err(invalid("record_id is empty".to_owned()));
        }
        // Within strings JSON has no line ends, only escapes of them.
        let line = json.replace(['\n', '\r'], " ");
        Ok(Self { id: payload.record_id, hour: payload.timestamp.div_euclid(3_600_000_000_000), line })
    }
}
