//! Where events go, made of the sections `event.destinations` of the file of `--config`. It owns how a section becomes
//! a sink, and what is said of one that this program was built without; what a sink does is the handlers' crate's.

use std::time::Duration;

use taskqueue_handlers::event::{Destinations, Durability, EventSink, FileSink, WebhookSink};
use taskqueue_handlers::webhook::{AddressPolicy, Endpoint, SigningSecret, WebhookConfig, WebhookSender};

use super::config::{
    Destination, FileDurability, FileLines, HandlersFile, Kafka, Nats, Receiver, Redis, Secret,
};
use crate::failure::{Failure, Outcome};

/// Every destination of the file.
pub(super) async fn destinations(file: &HandlersFile) -> Outcome<Destinations> {
    let named = &file.config.event.destinations;
    if named.is_empty() {
        return Err(
            file.wrong("event.destinations", "expected at least one section [event.destinations.NAME.KIND]")
        );
    }
    let mut destinations = Destinations::new();
    for (name, destination) in named {
        let sink = sink(file, &format!("event.destinations.{name}"), destination).await?;
        destinations = destinations.with(name, sink);
    }
    Ok(destinations)
}

/// How deliveries are made to the endpoint of a section, and that endpoint.
pub(super) fn receiver(
    file: &HandlersFile,
    key: &str,
    receiver: &Receiver,
) -> Outcome<(WebhookSender, Endpoint)> {
    let Receiver { url, allow_private, secret, timeout_seconds } = receiver;
    let mut config = webhooks(file, key, *allow_private, secret.as_ref())?;
    if let Some(timeout) = seconds(*timeout_seconds) {
        config = config.timeout(timeout);
    }
    let key = format!("{key}.url");
    let endpoint = Endpoint::parse(&file.text(&key, url)?).map_err(|error| file.wrong(&key, error))?;
    Ok((WebhookSender::new(config).map_err(Failure::from)?, endpoint))
}

/// How webhooks are delivered, as the section `key` says.
pub(super) fn webhooks(
    file: &HandlersFile,
    key: &str,
    allow_private: bool,
    secret: Option<&Secret>,
) -> Outcome<WebhookConfig> {
    let addresses = if allow_private { AddressPolicy::Any } else { AddressPolicy::PublicOnly };
    let config = WebhookConfig::default().addresses(addresses);
    let Some(secret) = secret else { return Ok(config) };
    Ok(config.secret(signing(file, &format!("{key}.secret"), secret)?))
}

/// What signs deliveries.
pub(super) fn signing(file: &HandlersFile, key: &str, secret: &Secret) -> Outcome<SigningSecret> {
    SigningSecret::parse(&file.secret(key, secret)?).map_err(|error| file.wrong(key, error))
}

async fn sink(file: &HandlersFile, key: &str, destination: &Destination) -> Outcome<Box<dyn EventSink>> {
    match destination {
        Destination::Webhook(section) => {
            let (sender, endpoint) = receiver(file, &format!("{key}.webhook"), section)?;
            Ok(Box::new(WebhookSink::new(sender, endpoint)))
        }
        Destination::File(section) => lines(file, &format!("{key}.file"), section),
        Destination::Nats(section) => nats(file, &format!("{key}.nats"), section).await,
        Destination::Redis(section) => redis(file, &format!("{key}.redis"), section),
        Destination::Kafka(section) => kafka(file, &format!("{key}.kafka"), section),
    }
}

fn lines(file: &HandlersFile, key: &str, section: &FileLines) -> Outcome<Box<dyn EventSink>> {
    let durability = match section.durability {
        FileDurability::Synced => Durability::Synced,
        FileDurability::Buffered => Durability::Buffered,
    };
    let sink = FileSink::open(&section.path, durability);
    let cannot = |error| format!("cannot open {}: {error}", section.path.display());
    Ok(Box::new(sink.map_err(|error| file.wrong(&format!("{key}.path"), cannot(error)))?))
}

#[cfg(feature = "nats")]
async fn nats(file: &HandlersFile, key: &str, section: &Nats) -> Outcome<Box<dyn EventSink>> {
    use taskqueue_handlers::event::{NatsConfig, NatsMode, NatsSink};

    use super::config::NatsWay;

    let servers = file.text(&format!("{key}.servers"), &section.servers)?;
    let mode = match section.mode {
        NatsWay::JetStream => NatsMode::JetStream,
        NatsWay::Core => NatsMode::Core,
    };
    let mut config = NatsConfig::new(servers, &section.subject).mode(mode);
    if let Some(timeout) = seconds(section.timeout_seconds) {
        config = config.timeout(timeout);
    }
    Ok(Box::new(NatsSink::connect(config).await.map_err(|error| file.wrong(key, error))?))
}

#[cfg(not(feature = "nats"))]
#[expect(clippy::unused_async, reason = "it stands in for one that connects")]
async fn nats(file: &HandlersFile, key: &str, _: &Nats) -> Outcome<Box<dyn EventSink>> {
    Err(built_without(file, key, "NATS", "nats"))
}

#[cfg(feature = "redis")]
fn redis(file: &HandlersFile, key: &str, section: &Redis) -> Outcome<Box<dyn EventSink>> {
    use taskqueue_handlers::event::{RedisConfig, RedisConfirmation, RedisSink, RedisTarget};

    let target = match (&section.stream, &section.channel) {
        (Some(stream), None) => {
            RedisTarget::Stream { key: stream.key.clone(), length_max: stream.length_max }
        }
        (None, Some(channel)) => RedisTarget::Channel(channel.clone()),
        // The file was checked for this.
        _ => return Err(file.wrong(key, "expected either stream or channel")),
    };
    let mut config = RedisConfig::new(file.text(&format!("{key}.url"), &section.url)?, target);
    if let Some(replicas) = section.synced_replicas {
        if section.channel.is_some() {
            return Err(file.wrong(&format!("{key}.synced_replicas"), "a channel keeps nothing to sync"));
        }
        config = config.confirmation(RedisConfirmation::Synced { replicas });
    }
    if let Some(timeout) = seconds(section.timeout_seconds) {
        config = config.timeout(timeout);
    }
    Ok(Box::new(RedisSink::new(config).map_err(|error| file.wrong(key, error))?))
}

#[cfg(not(feature = "redis"))]
fn redis(file: &HandlersFile, key: &str, _: &Redis) -> Outcome<Box<dyn EventSink>> {
    Err(built_without(file, key, "Redis", "redis"))
}

#[cfg(feature = "kafka")]
fn kafka(file: &HandlersFile, key: &str, section: &Kafka) -> Outcome<Box<dyn EventSink>> {
    use taskqueue_handlers::event::{KafkaConfig, KafkaSink};

    use super::config::Text;

    let mut config = KafkaConfig::new(&section.brokers, &section.topic);
    if let Some(timeout) = seconds(section.timeout_seconds) {
        config = config.timeout(timeout);
    }
    for (setting, value) in &section.client {
        let key = format!("{key}.client.{setting:?}");
        let is_secret = ["password", "secret", "key.pem"].iter().any(|word| setting.contains(word));
        if is_secret && matches!(value, Text::Plain(_)) {
            let expected = "a secret in the file: expected { env = \"NAME\" } or { file = \"PATH\" }";
            return Err(file.wrong(&key, expected));
        }
        config = config.client(setting, file.text(&key, value)?);
    }
    Ok(Box::new(KafkaSink::new(config).map_err(|error| file.wrong(key, error))?))
}

#[cfg(not(feature = "kafka"))]
fn kafka(file: &HandlersFile, key: &str, _: &Kafka) -> Outcome<Box<dyn EventSink>> {
    Err(built_without(file, key, "Kafka", "kafka"))
}

/// What the section at `key` asks for and this program cannot.
#[cfg(not(all(feature = "nats", feature = "redis", feature = "kafka")))]
fn built_without(file: &HandlersFile, key: &str, what: &str, feature: &str) -> Failure {
    file.wrong(key, format!("this program was built without {what}: build it with `--features {feature}`"))
}

fn seconds(seconds: Option<u64>) -> Option<Duration> {
    seconds.map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    async fn of(section: &str) -> Result<String, String> {
        let file = HandlersFile::parse(Path::new("handlers.toml"), section).expect("its form is right");
        let made = destinations(&file).await;
        let said = |failure: Failure| failure.message().unwrap_or_default().to_owned();
        made.map(|made| format!("{made:?}")).map_err(said)
    }

    #[tokio::test]
    async fn a_destination_has_the_name_of_its_section() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("events.jsonl");
        let text = format!(
            "[event.destinations.log.file]\npath = {path:?}\n\
             [event.destinations.\"arn:aws:sns:r:1:hook\".webhook]\nurl = \"https://example.org/hook\"\n"
        );
        assert_eq!(of(&text).await.as_deref(), Ok("{\"arn:aws:sns:r:1:hook\", \"log\"}"));
    }

    #[tokio::test]
    async fn what_makes_no_sink_is_refused_by_its_key() {
        let cases = [
            ("", "event.destinations: expected at least one section [event.destinations.NAME.KIND]"),
            (
                "[event.destinations.log.file]\npath = \"/no/such/folder/events\"\n",
                "event.destinations.log.file.path: cannot open /no/such/folder/events: No such file or directory \
                 (os error 2)",
            ),
            (
                "[event.destinations.hook.webhook]\nurl = \"example.org\"\n",
                "event.destinations.hook.webhook.url: webhook: the endpoint is not an absolute http or https URL",
            ),
        ];
        for (section, expected) in cases {
            assert_eq!(of(section).await, Err(format!("handlers.toml: {expected}")));
        }
    }

    const NATS: &str =
        "[event.destinations.q.nats]\nservers = \"nats://127.0.0.1:1\"\nsubject = \"events\"\n";
    const REDIS: &str = "[event.destinations.q.redis]\nurl = \"redis://127.0.0.1:1\"\n";
    const KAFKA: &str = "[event.destinations.q.kafka]\nbrokers = \"127.0.0.1:1\"\ntopic = \"events\"\n";

    #[cfg(not(feature = "nats"))]
    #[tokio::test]
    async fn nats_is_refused_by_a_program_that_was_built_without_it() {
        let expected = "handlers.toml: event.destinations.q.nats: this program was built without NATS: build it with \
                        `--features nats`";
        assert_eq!(of(NATS).await, Err(expected.to_owned()));
    }

    #[cfg(not(feature = "redis"))]
    #[tokio::test]
    async fn redis_is_refused_by_a_program_that_was_built_without_it() {
        let redis = format!("{REDIS}channel = \"c\"\n");
        let expected = "handlers.toml: event.destinations.q.redis: this program was built without Redis: build it \
                        with `--features redis`";
        assert_eq!(of(&redis).await, Err(expected.to_owned()));
    }

    #[cfg(not(feature = "kafka"))]
    #[tokio::test]
    async fn kafka_is_refused_by_a_program_that_was_built_without_it() {
        let expected = "handlers.toml: event.destinations.q.kafka: this program was built without Kafka: build it \
                        with `--features kafka`";
        assert_eq!(of(KAFKA).await, Err(expected.to_owned()));
    }

    #[cfg(feature = "nats")]
    #[tokio::test]
    async fn nats_is_a_destination_although_nobody_is_there_yet() {
        assert!(of(NATS).await.is_ok());
        let wildcard = NATS.replace("\"events\"", "\"events.*\"");
        assert!(of(&wildcard).await.is_err_and(|said| {
            said.contains("event.destinations.q.nats: event: nats: subject \"events.*\"")
        }));
    }

    #[cfg(feature = "redis")]
    #[tokio::test]
    async fn redis_takes_either_a_stream_or_a_channel() {
        assert!(of(&format!("{REDIS}channel = \"c\"\n")).await.is_ok());
        assert!(
            of(&format!("{REDIS}stream = {{ key = \"s\", length_max = 9 }}\nsynced_replicas = 1\n"))
                .await
                .is_ok()
        );
        let synced = of(&format!("{REDIS}channel = \"c\"\nsynced_replicas = 1\n")).await;
        assert!(synced.is_err_and(|said| said.contains("a channel keeps nothing")));
    }

    #[cfg(feature = "kafka")]
    #[tokio::test]
    async fn kafka_takes_passwords_from_elsewhere_only() {
        assert!(of(&format!("{KAFKA}client = {{ \"client.id\" = \"taskqueue\" }}\n")).await.is_ok());
        let said = of(&format!("{KAFKA}client = {{ \"sasl.password\" = \"hunter2\" }}\n")).await;
        let said = said.expect_err("a secret in the file");
        assert!(
            said.contains("event.destinations.q.kafka.client.\"sasl.password\": a secret in the file"),
            "{said}"
        );
        assert!(!said.contains("hunter2"), "{said}");
    }
}
