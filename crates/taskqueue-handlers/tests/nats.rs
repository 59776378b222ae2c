//! The NATS sink against a NATS server with JetStream, which TASKQUEUE_NATS_URL names.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::jetstream::{self, stream};
use async_nats::{Client, Subscriber};
use futures::StreamExt;
use support::events::{deliver, key, keys, notification, unique, wait_until};
use support::proof::{self, Proof};
use taskqueue_conformance::Proxy;
use taskqueue_handlers::event::{EventSink, NatsConfig, NatsMode, NatsSink};

/// How long a delivery may take where the server is broken. The first one has to do with one that works.
const TIMEOUT: Duration = Duration::from_secs(2);

fn url() -> String {
    std::env::var("TASKQUEUE_NATS_URL").expect("TASKQUEUE_NATS_URL names a NATS server with JetStream")
}

fn host() -> String {
    url().trim_start_matches("nats://").trim_end_matches('/').to_owned()
}

async fn client() -> Client {
    async_nats::connect(url()).await.unwrap()
}

/// It tells the harness the server's version as well.
fn shows(client: &Client, what: &'static str) -> Proof {
    let version = client.server_info().version;
    println!("engine: nats {version}");
    proof::begin("event", what, &format!("NATS {version}"))
}

/// A stream of its own for each test, in memory.
async fn stream(client: &Client, subject: &str) -> stream::Stream {
    let config = stream::Config {
        name: subject.to_owned(),
        subjects: vec![subject.to_owned()],
        storage: stream::StorageType::Memory,
        ..stream::Config::default()
    };
    jetstream::new(client.clone()).create_stream(config).await.unwrap()
}

/// What a subscriber has got, until nothing more is missing.
async fn received(subscriber: &mut Subscriber, expected: &BTreeSet<String>) -> Vec<String> {
    let mut keys = Vec::new();
    while !expected.iter().all(|key| keys.contains(key)) {
        let next = tokio::time::timeout(Duration::from_secs(10), subscriber.next()).await;
        keys.push(key(&next.expect("nothing more came, and some are missing").unwrap().payload));
    }
    keys
}

#[tokio::test]
async fn a_stream_has_the_notification_when_the_delivery_returns_and_drops_a_second_one() {
    let (client, subject) = (client().await, unique("events"));
    let _proof = shows(&client, "JetStream: stored before the delivery returns, a repetition is dropped");
    let mut stream = stream(&client, &subject).await;
    let sink = NatsSink::connect(NatsConfig::new(url(), &subject)).await.unwrap();
    let notification = notification("a");
    for _ in 0..2 {
        sink.deliver(&notification).await.unwrap();
        assert_eq!(stream.info().await.unwrap().state.messages, 1);
    }
    let message = stream.get_raw_message(1).await.unwrap();
    assert_eq!(message.payload, notification.json.as_bytes());
    let id = message.headers.get("Nats-Msg-Id").unwrap().as_str();
    assert_eq!(id, notification.id.to_string());
}

#[tokio::test]
async fn a_subject_that_no_stream_takes_is_worth_another_attempt_and_never_a_delivery() {
    let sink = NatsSink::connect(NatsConfig::new(url(), unique("events"))).await.unwrap();
    let error = sink.deliver(&notification("a")).await.unwrap_err();
    assert!(!error.is_permanent() && error.to_string().contains("no stream"), "{error}");
}

#[tokio::test]
async fn a_notification_that_is_too_large_for_the_server_fails_for_good() {
    let (client, subject) = (client().await, unique("events"));
    stream(&client, &subject).await;
    let large = "x".repeat(client.server_info().max_payload + 1);
    for mode in [NatsMode::JetStream, NatsMode::Core] {
        let sink = NatsSink::connect(NatsConfig::new(url(), &subject).mode(mode)).await.unwrap();
        wait_until(async || sink.is_connected()).await;
        let error = sink.deliver(&notification(&large)).await.unwrap_err();
        assert!(error.is_permanent(), "{mode:?}: {error}");
    }
}

#[tokio::test]
async fn who_is_subscribed_gets_what_is_published_by_the_core_protocol() {
    let (client, subject) = (client().await, unique("events"));
    let _proof = shows(&client, "core protocol: who is subscribed gets it");
    let mut subscriber = client.subscribe(subject.clone()).await.unwrap();
    client.flush().await.unwrap();
    let sink = NatsSink::connect(NatsConfig::new(url(), &subject).mode(NatsMode::Core)).await.unwrap();
    assert_eq!(deliver(20, sink).await, 0);
    assert_eq!(received(&mut subscriber, &keys(20)).await.len(), 20);
}

/// Answers that are lost, a paused server, a killed one: deliveries fail, are tried again, and all arrive.
#[tokio::test]
async fn a_server_that_pauses_and_dies_in_mid_delivery_costs_a_stream_nothing() {
    let (client, subject) = (client().await, unique("events"));
    let _proof = shows(&client, "JetStream: paused and killed in mid-delivery, nothing is lost or doubled");
    let mut stream = stream(&client, &subject).await;
    let proxy = Proxy::before(&host()).await;
    let config = NatsConfig::new(format!("nats://{}", proxy.address()), &subject);
    let sink = NatsSink::connect(config.timeout(TIMEOUT)).await.unwrap();
    wait_until(async || sink.is_connected()).await;
    sink.deliver(&notification("first")).await.unwrap();
    proxy.lose_answers();
    let delivering = tokio::spawn(deliver(50, sink));
    wait_until(async || stream.info().await.unwrap().state.messages > 1).await;
    proxy.hold();
    proxy.kill().await;
    proxy.resume();
    assert!(delivering.await.unwrap() > 0, "no attempt failed: nothing was broken");
    let mut arrived = stored_events(&mut stream).await;
    arrived.sort();
    assert_eq!(arrived, keys(50).into_iter().collect::<Vec<_>>());
}

/// Without the one that only made the connection.
async fn stored_events(stream: &mut stream::Stream) -> Vec<String> {
    stream.purge().sequence(2).await.unwrap();
    let info = stream.info().await.unwrap().state.clone();
    let mut keys = Vec::new();
    for sequence in info.first_sequence..=info.last_sequence {
        keys.push(key(&stream.get_raw_message(sequence).await.unwrap().payload));
    }
    keys
}

#[tokio::test]
async fn a_server_that_pauses_and_dies_in_mid_delivery_costs_a_subscriber_nothing() {
    let (client, subject) = (client().await, unique("events"));
    let _proof = shows(&client, "core protocol: paused and killed in mid-delivery, nothing is lost");
    let mut subscriber = client.subscribe(subject.clone()).await.unwrap();
    client.flush().await.unwrap();
    let proxy = Proxy::before(&host()).await;
    let config = NatsConfig::new(format!("nats://{}", proxy.address()), &subject).mode(NatsMode::Core);
    let sink = NatsSink::connect(config.timeout(TIMEOUT)).await.unwrap();
    wait_until(async || sink.is_connected()).await;
    proxy.hold();
    let delivering = tokio::spawn(deliver(50, sink));
    // A second connection's time-out says that the first ones' have passed as well.
    let late = NatsConfig::new(format!("nats://{}", proxy.address()), &subject).mode(NatsMode::Core);
    let late = NatsSink::connect(late.timeout(TIMEOUT + Duration::from_secs(1))).await.unwrap();
    assert!(!late.deliver(&notification("late")).await.unwrap_err().is_permanent());
    drop(late);
    proxy.kill().await;
    proxy.resume();
    assert!(delivering.await.unwrap() > 0, "no attempt failed: nothing was broken");
    received(&mut subscriber, &keys(50)).await;
}
