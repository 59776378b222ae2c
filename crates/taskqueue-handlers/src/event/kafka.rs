//! The sink that produces to a Kafka topic. It knows nothing of records.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::util::Timeout;
use taskqueue_core::{Error, ErrorKind, Result};

use super::{EventNotification, EventSink};
use crate::HandlerError;

/// What the sink's promise rests on, and nobody may set otherwise.
const OURS: [&str; 4] = ["bootstrap.servers", "acks", "enable.idempotence", "message.timeout.ms"];

/// How notifications are produced. `Debug` hides the values of `client`.
#[derive(Clone)]
#[non_exhaustive]
pub struct KafkaConfig {
    /// The brokers to begin with: `host:9092,host:9092`.
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// How long one delivery may take, with all retries of the client. 10 s by default; not zero.
    pub timeout: Duration,
    /// Further settings of librdkafka, such as `security.protocol`; none by default. Those that the promise rests on
    /// (`acks`, `enable.idempotence`, `message.timeout.ms`, `bootstrap.servers`) are refused.
    pub client: BTreeMap<String, String>,
}

impl KafkaConfig {
    /// To `topic`, with the defaults of everything else.
    pub fn new(brokers: impl Into<String>, topic: impl Into<String>) -> Self {
        let timeout = Duration::from_secs(10);
        Self { brokers: brokers.into(), topic: topic.into(), timeout, client: BTreeMap::new() }
    }

    /// Sets how long one delivery may take.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Adds a setting of librdkafka.
    #[must_use]
    pub fn client(mut self, setting: impl Into<String>, value: impl Into<String>) -> Self {
        self.client.insert(setting.into(), value.into());
        self
    }

    fn validate(&self) -> Result<()> {
        let invalid = |message: String| Err(Error::invalid_input("event", format!("kafka: {message}")));
        if self.timeout.as_millis() == 0 {
            return invalid("timeout is zero: no delivery could succeed".to_owned());
        }
        if self.brokers.is_empty() {
            return invalid("brokers are empty: expected host:9092,host:9092".to_owned());
        }
        if self.topic.is_empty() {
            return invalid("topic is empty".to_owned());
        }
        if let Some(setting) = OURS.iter().find(|setting| self.client.contains_key(**setting)) {
            return invalid(format!("the setting {setting} is the sink's own"));
        }
        Ok(())
    }

    fn producer(&self) -> Result<FutureProducer> {
        let mut settings = ClientConfig::new();
        settings.extend(self.client.clone());
        settings.set("bootstrap.servers", &self.brokers).set("acks", "all").set("enable.idempotence", "true");
        settings.set("message.timeout.ms", self.timeout.as_millis().to_string());
        settings.create().map_err(|error: KafkaError| {
            // The text of a configuration error holds the value, which may be a password.
            let setting = match error {
                KafkaError::ClientConfig(_, _, setting, _) => setting,
                _ => "the client cannot be made".to_owned(),
            };
            Error::new(ErrorKind::InvalidInput, "event", format!("kafka: {setting}"))
        })
    }
}

impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaConfig")
            .field("brokers", &self.brokers)
            .field("topic", &self.topic)
            .field("timeout", &self.timeout)
            .field("client", &self.client.keys())
            .finish()
    }
}

/// Produces each notification to one topic and waits until all replicas in sync have it (`acks=all`; how many that are
/// at least is the topic's `min.insync.replicas`). The producer is idempotent: its own retries neither repeat nor swap.
///
/// The key is `bucket/key`, so that the events of one object stay in one partition and in their order; the header `id`
/// is the task's, by which a reader tells a repetition. It reconnects by itself; cheap to clone.
#[derive(Clone)]
pub struct KafkaSink {
    config: KafkaConfig,
    producer: Arc<Mutex<FutureProducer>>,
}

impl KafkaSink {
    /// A sink with this configuration. Nobody has to be there yet.
    ///
    /// # Errors
    /// `InvalidInput` for settings that librdkafka does not take; the message does not repeat their values.
    pub fn new(config: KafkaConfig) -> Result<Self> {
        config.validate()?;
        let producer = Arc::new(Mutex::new(config.producer()?));
        Ok(Self { config, producer })
    }

    /// The producer, or a new one: after a fatal error an idempotent producer takes nothing more.
    fn producer(&self) -> Result<FutureProducer, HandlerError> {
        let mut producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        if producer.client().fatal_error().is_some() {
            *producer = self.config.producer().map_err(|error| HandlerError::transient(error.to_string()))?;
        }
        Ok(producer.clone())
    }

    fn failed(&self, error: &KafkaError) -> HandlerError {
        let what = error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string());
        let message = format!("produce to Kafka at {} failed: {what}", self.config.brokers);
        if is_permanent(error) { HandlerError::permanent(message) } else { HandlerError::transient(message) }
    }
}

#[async_trait]
impl EventSink for KafkaSink {
    async fn deliver(&self, notification: &EventNotification) -> Result<(), HandlerError> {
        let producer = self.producer()?;
        let id = notification.id.to_string();
        let headers = OwnedHeaders::new().insert(Header { key: "id", value: Some(&id) });
        let record = FutureRecord::to(&self.config.topic)
            .key(&notification.subject)
            .payload(&notification.json)
            .headers(headers);
        let sent = producer.send(record, Timeout::After(self.config.timeout)).await;
        sent.map(|_| ()).map_err(|(error, _)| self.failed(&error))
    }
}

impl fmt::Debug for KafkaSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSink").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Whether the brokers will say the same the next time. A topic that is not there may be made yet.
fn is_permanent(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    let Some(code) = error.rdkafka_error_code() else { return false };
    matches!(
        code,
        Code::MessageSizeTooLarge
            | Code::InvalidMessageSize
            | Code::InvalidRecord
            | Code::InvalidTopic
            | Code::PolicyViolation
            | Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::UnsupportedForMessageFormat
    )
}
