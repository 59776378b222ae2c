//! The Kafka sink against the brokers that librdkafka brings for tests: they run in this process and speak the protocol.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::message::{Headers, Message, OwnedMessage};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use support::events::{deliver, key, keys, notification};
use support::proof;
use taskqueue_handlers::event::{EventSink, KafkaConfig, KafkaSink};

const TOPIC: &str = "events";

type Cluster = MockCluster<'static, DefaultProducerContext>;

fn cluster() -> Cluster {
    let cluster = MockCluster::new(3).unwrap();
    cluster.create_topic(TOPIC, 4, 3).unwrap();
    cluster
}

fn shows(what: &'static str) -> proof::Proof {
    let (_, version) = rdkafka::util::get_rdkafka_version();
    proof::begin("event", what, &format!("the Kafka brokers in librdkafka {version}"))
}

fn sink(cluster: &Cluster) -> KafkaSink {
    let config = KafkaConfig::new(cluster.bootstrap_servers(), TOPIC).timeout(Duration::from_secs(5));
    KafkaSink::new(config.client("reconnect.backoff.max.ms", "200")).unwrap()
}

/// All that is in the topic, once it holds at least so many.
async fn produced(cluster: &Cluster, count: usize) -> Vec<OwnedMessage> {
    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("group.id", "test")
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    consumer.subscribe(&[TOPIC]).unwrap();
    let mut messages = Vec::new();
    while messages.len() < count {
        let next = tokio::time::timeout(Duration::from_secs(30), consumer.recv()).await;
        messages.push(next.expect("nothing more came, and some are missing").unwrap().detach());
    }
    messages
}

#[tokio::test]
async fn the_topic_has_the_notification_with_its_key_and_id_when_the_delivery_returns() {
    let _proof = shows("produced with acks=all, keyed by bucket and key");
    let (cluster, notification) = (cluster(), notification("a"));
    sink(&cluster).deliver(&notification).await.unwrap();
    let messages = produced(&cluster, 1).await;
    assert_eq!(messages[0].payload(), Some(notification.json.as_bytes()));
    assert_eq!(messages[0].key(), Some(b"photos/a".as_slice()));
    let id = messages[0].headers().unwrap().get(0);
    assert_eq!((id.key, id.value), ("id", Some(notification.id.to_string().as_bytes())));
}

#[tokio::test]
async fn events_of_one_object_stay_in_one_partition_and_in_their_order() {
    let cluster = cluster();
    let sink = sink(&cluster);
    let sent: Vec<_> = (0..10).map(|_| notification("same")).collect();
    for notification in &sent {
        sink.deliver(notification).await.unwrap();
    }
    let messages = produced(&cluster, 10).await;
    assert_eq!(messages.iter().map(Message::partition).collect::<BTreeSet<_>>().len(), 1);
    let id = |message: &OwnedMessage| {
        String::from_utf8(message.headers().unwrap().get(0).value.unwrap().to_vec()).unwrap()
    };
    let expected: Vec<_> = sent.iter().map(|it| it.id.to_string()).collect();
    assert_eq!(messages.iter().map(id).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn brokers_that_are_down_for_a_while_cost_nothing() {
    let _proof = shows("brokers down in mid-delivery, nothing is lost");
    let cluster = cluster();
    let config = KafkaConfig::new(cluster.bootstrap_servers(), TOPIC).timeout(Duration::from_secs(5));
    let sink = KafkaSink::new(config.client("reconnect.backoff.max.ms", "100")).unwrap();
    sink.deliver(&notification("first")).await.unwrap();
    for broker in 1..=3 {
        cluster.broker_down(broker).unwrap();
    }
    let delivering = tokio::spawn(deliver(20, sink.clone()));
    let error = sink.deliver(&notification("late")).await.unwrap_err();
    assert!(!error.is_permanent(), "{error}");
    for broker in 1..=3 {
        cluster.broker_up(broker).unwrap();
    }
    assert!(delivering.await.unwrap() > 0, "no attempt failed: nothing was broken");
    let arrived = produced(&cluster, 21).await;
    let events = arrived.iter().filter_map(Message::payload).filter(|payload| payload.starts_with(b"{\"Rec"));
    assert_eq!(events.map(key).collect::<BTreeSet<_>>(), keys(20));
}

/// What the brokers say to every attempt of the client, which gives up after this time.
async fn refused(answer: RDKafkaRespErr, timeout: Duration) -> taskqueue_handlers::HandlerError {
    let cluster = cluster();
    let config = KafkaConfig::new(cluster.bootstrap_servers(), TOPIC).timeout(timeout);
    let sink = KafkaSink::new(config).unwrap();
    cluster.request_errors(RDKafkaApiKey::Produce, &[answer; 50]);
    sink.deliver(&notification("a")).await.unwrap_err()
}

#[tokio::test]
async fn a_refusal_that_stands_fails_for_good_and_one_that_passes_is_tried_again() {
    let permanent = [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
    ];
    for answer in permanent {
        // It is told at once, as soon as the client has found its brokers.
        let error = refused(answer, Duration::from_secs(30)).await;
        assert!(error.is_permanent(), "{answer:?}: {error}");
    }
    let passes = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS;
    let error = refused(passes, Duration::from_secs(2)).await;
    assert!(!error.is_permanent(), "{error}");
}

#[tokio::test]
async fn a_producer_that_failed_for_good_is_replaced() {
    let cluster = cluster();
    let sink = sink(&cluster);
    sink.deliver(&notification("first")).await.unwrap();
    // An idempotent producer that is told this takes nothing more.
    cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER],
    );
    assert!(deliver(5, sink).await > 0, "no attempt failed: nothing was broken");
    let arrived = produced(&cluster, 6).await;
    let events = arrived.iter().filter_map(Message::payload).filter(|payload| payload.starts_with(b"{\"Rec"));
    assert_eq!(events.map(key).collect::<BTreeSet<_>>(), keys(5));
}

#[tokio::test]
async fn settings_that_the_promise_rests_on_are_refused_and_no_value_is_shown() {
    for setting in ["acks", "enable.idempotence", "message.timeout.ms", "bootstrap.servers"] {
        assert!(
            KafkaSink::new(KafkaConfig::new("localhost", TOPIC).client(setting, "1")).is_err(),
            "{setting}"
        );
    }
    let config = KafkaConfig::new("localhost", TOPIC)
        .client("sasl.password", "hunter2")
        .client("linger.ms", "hunter2");
    let shown = format!("{config:?} {}", KafkaSink::new(config.clone()).unwrap_err());
    assert!(!shown.contains("hunter2") && shown.contains("linger.ms"), "{shown}");
}
