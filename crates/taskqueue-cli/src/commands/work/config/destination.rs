//! The section `event` of the file of `--config`: where events go, by name. It owns the form of each kind of
//! destination; what is made of it is in `sinks`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use taskqueue_handlers::event::REGION_DEFAULT;

use super::{AT_LEAST_ONE, HandlersFile, Secret, Text};
use crate::failure::Outcome;

/// Where events go.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::commands::work) struct Event {
    /// What records of tasks without a region say.
    pub(in crate::commands::work) region: String,
    /// How old what is known of a bucket's notification configuration may be; 0: it is read for each event.
    pub(in crate::commands::work) configurations_age_max_seconds: u64,
    /// By the names that notification configurations use.
    pub(in crate::commands::work) destinations: BTreeMap<String, Destination>,
}

impl Default for Event {
    fn default() -> Self {
        Self {
            region: REGION_DEFAULT.to_owned(),
            configurations_age_max_seconds: 5,
            destinations: BTreeMap::new(),
        }
    }
}

/// One destination. Its kind is the last part of the section's name: so an error has the line it is on.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::commands::work) enum Destination {
    Webhook(Receiver),
    File(FileLines),
    Nats(Nats),
    Redis(Redis),
    Kafka(Kafka),
}

/// Who takes POSTs. Its secret is its own: one that several receivers know lets each sign for us to the others.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::commands::work) struct Receiver {
    pub(in crate::commands::work) url: Text,
    #[serde(default)]
    pub(in crate::commands::work) allow_private: bool,
    pub(in crate::commands::work) secret: Option<Secret>,
    pub(in crate::commands::work) timeout_seconds: Option<u64>,
}

/// A file of JSON lines.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::commands::work) struct FileLines {
    pub(in crate::commands::work) path: PathBuf,
    #[serde(default)]
    pub(in crate::commands::work) durability: FileDurability,
}

/// What of a line is sure when its delivery is done.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::commands::work) enum FileDurability {
    #[default]
    Synced,
    Buffered,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(feature = "nats"), expect(dead_code, reason = "only the sink reads them"))]
pub(in crate::commands::work) struct Nats {
    pub(in crate::commands::work) servers: Text,
    pub(in crate::commands::work) subject: String,
    #[serde(default)]
    pub(in crate::commands::work) mode: NatsWay,
    pub(in crate::commands::work) timeout_seconds: Option<u64>,
}

/// What a delivery waits for.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::commands::work) enum NatsWay {
    #[default]
    JetStream,
    Core,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "only the sink reads them"))]
pub(in crate::commands::work) struct Redis {
    pub(in crate::commands::work) url: Text,
    pub(in crate::commands::work) stream: Option<RedisStream>,
    pub(in crate::commands::work) channel: Option<String>,
    /// How many replicas have synced an entry too; none: nobody's disk is waited for.
    pub(in crate::commands::work) synced_replicas: Option<u32>,
    pub(in crate::commands::work) timeout_seconds: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "only the sink reads them"))]
pub(in crate::commands::work) struct RedisStream {
    pub(in crate::commands::work) key: String,
    pub(in crate::commands::work) length_max: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(feature = "kafka"), expect(dead_code, reason = "only the sink reads them"))]
pub(in crate::commands::work) struct Kafka {
    pub(in crate::commands::work) brokers: String,
    pub(in crate::commands::work) topic: String,
    pub(in crate::commands::work) timeout_seconds: Option<u64>,
    /// Further settings of librdkafka.
    #[serde(default)]
    pub(in crate::commands::work) client: BTreeMap<String, Text>,
}

impl HandlersFile {
    pub(super) fn check_destinations(&self) -> Outcome {
        for (name, destination) in &self.config.event.destinations {
            let (kind, timeout) = match destination {
                Destination::Webhook(section) => ("webhook", section.timeout_seconds),
                Destination::File(_) => ("file", None),
                Destination::Nats(section) => ("nats", section.timeout_seconds),
                Destination::Redis(section) => ("redis", section.timeout_seconds),
                Destination::Kafka(section) => ("kafka", section.timeout_seconds),
            };
            let key = format!("event.destinations.{name}.{kind}");
            self.check_timeout(&key, timeout)?;
            if let Destination::Redis(Redis { stream, channel, .. }) = destination {
                self.one_of(&key, ["stream", "channel"], [stream.is_some(), channel.is_some()])?;
            }
        }
        Ok(())
    }

    pub(super) fn check_timeout(&self, section: &str, seconds: Option<u64>) -> Outcome {
        seconds
            .map_or(Ok(()), |found| self.in_range(&format!("{section}.timeout_seconds"), found, AT_LEAST_ONE))
    }
}
