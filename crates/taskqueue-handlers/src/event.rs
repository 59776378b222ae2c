//! S3 event notifications: an [`EventPayload`] becomes the record that S3 sends, and a sink delivers it. It owns
//! the handler; the record's form is in `record`, the sinks in `sink` and `file`.
//!
//! **A second run** of the same task delivers the same record again, byte for byte: deliveries are at least once.
//! A receiver tells a repetition by the record's key, version and sequencer, and with a webhook by the
//! `webhook-id` header.

mod file;
mod record;
mod sink;

use async_trait::async_trait;
use taskqueue_core::payloads::EventPayload;
use taskqueue_core::{Outcome, TaskId};
use taskqueue_worker::{Handler, TaskContext, TaskError};

pub use self::file::{Durability, FileSink};
pub use self::record::{REGION_DEFAULT, RecordConfig};
pub use self::sink::{EventNotification, EventSink, WebhookSink};
use crate::HandlerError;

/// Delivers tasks of type `event` to a sink.
#[derive(Debug, Clone)]
pub struct EventHandler<S> {
    sink: S,
    config: RecordConfig,
}

impl<S: EventSink> EventHandler<S> {
    /// A handler that delivers to `sink`.
    pub fn new(sink: S) -> Self {
        Self { sink, config: RecordConfig::default() }
    }

    /// Sets what records say that is not in the payload.
    #[must_use]
    pub fn record(mut self, config: RecordConfig) -> Self {
        self.config = config;
        self
    }

    /// Makes the record and delivers it. `region` is that of the task, if it has one.
    ///
    /// # Errors
    /// Permanent for a timestamp that is no time; else what the sink says.
    pub async fn deliver(
        &self,
        id: TaskId,
        region: Option<&str>,
        payload: &EventPayload,
    ) -> Result<(), HandlerError> {
        let json = record::notification(payload, region, &self.config)?;
        self.sink.deliver(&EventNotification { id, json }).await
    }
}

#[async_trait]
impl<S: EventSink> Handler for EventHandler<S> {
    async fn handle(&self, cx: TaskContext) -> Result<Outcome, TaskError> {
        let payload = cx.payload().decode().map_err(TaskError::permanent)?;
        self.deliver(cx.id(), cx.task().region.as_deref(), &payload).await?;
        Ok(Outcome::done())
    }
}
