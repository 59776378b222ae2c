//! S3 event notifications: an [`EventPayload`] becomes the record that S3 sends, and sinks deliver it. It owns the
//! handler of a single sink; [`EventRouter`] asks a bucket's notification configuration who is to be told. The record's
//! form is in `record`, each sink in a file of its name.
//!
//! **A second run** of the same task delivers the same record again, byte for byte: deliveries are at least once.
//! A receiver tells a repetition by the record's key, version and sequencer, or by the task's id, which goes along as
//! `webhook-id`, `Nats-Msg-Id`, or a field or header named `id`.

mod file;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "nats")]
mod nats;
mod notification;
mod record;
#[cfg(feature = "redis")]
mod redis;
mod router;
mod sink;
mod store;

use async_trait::async_trait;
use taskqueue_core::payloads::EventPayload;
use taskqueue_core::{Outcome, TaskId};
use taskqueue_worker::{Handler, TaskContext, TaskError};

pub use self::file::{Durability, FileSink};
#[cfg(feature = "kafka")]
pub use self::kafka::{KafkaConfig, KafkaSink};
#[cfg(feature = "nats")]
pub use self::nats::{NatsConfig, NatsMode, NatsSink};
pub use self::notification::{Match, NotificationConfiguration, NotificationRule, RuleKind};
pub use self::record::{REGION_DEFAULT, RecordConfig};
#[cfg(feature = "redis")]
pub use self::redis::{RedisConfig, RedisConfirmation, RedisSink, RedisTarget};
pub use self::router::{Destinations, EventRouter};
pub use self::sink::{EventNotification, EventSink, WebhookSink};
pub use self::store::{CachedConfigs, NotificationConfigStore};
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
        let subject = format!("{}/{}", payload.bucket, payload.key);
        self.sink.deliver(&EventNotification::new(id, json).subject(subject)).await
    }
}

#[async_trait]
impl<S: EventSink> Handler for EventHandler<S> {
    async fn handle(&self, cx: TaskContext) -> Result<Outcome, TaskError> {
        let payload = cx.decode()?;
        self.deliver(cx.id(), cx.task().region.as_deref(), &payload).await?;
        Ok(Outcome::done())
    }
}
