//! The Redis sink against a server that TASKQUEUE_REDIS_URL names: Valkey, or Redis.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt;
use redis::aio::MultiplexedConnection;
use redis::streams::StreamRangeReply;
use redis::{AsyncCommands, Client};
use support::events::{deliver, key, keys, notification, unique, wait_until};
use support::proof::{self, Proof};
use taskqueue_conformance::Proxy;
use taskqueue_handlers::event::{EventSink, RedisConfig, RedisConfirmation, RedisSink, RedisTarget};

fn url() -> String {
    std::env::var("TASKQUEUE_REDIS_URL").expect("TASKQUEUE_REDIS_URL names a server of Redis or Valkey")
}

fn host() -> String {
    Client::open(url()).unwrap().get_connection_info().addr().to_string()
}

async fn connection() -> MultiplexedConnection {
    Client::open(url()).unwrap().get_multiplexed_async_connection().await.unwrap()
}

/// It tells the harness the server's name and version as well.
async fn shows(connection: &mut MultiplexedConnection, what: &'static str) -> Proof {
    let info: String = redis::cmd("INFO").arg("server").query_async(connection).await.unwrap();
    let of = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    let server = match (of("valkey_version:"), of("redis_version:")) {
        (Some(version), _) => format!("Valkey {version}"),
        (None, version) => format!("Redis {}", version.unwrap()),
    };
    println!("engine: redis {server}");
    proof::begin("event", what, &server)
}

fn to_stream(key: &str) -> RedisTarget {
    RedisTarget::Stream { key: key.to_owned(), length_max: None }
}

fn sink(target: RedisTarget) -> RedisSink {
    RedisSink::new(RedisConfig::new(url(), target)).unwrap()
}

/// `id` and `event` of each entry.
async fn entries(connection: &mut MultiplexedConnection, key: &str) -> Vec<(String, String)> {
    let range: StreamRangeReply = connection.xrange_all(key).await.unwrap();
    let field = |entry: &redis::streams::StreamId, name: &str| entry.get::<String>(name).unwrap();
    range.ids.iter().map(|entry| (field(entry, "id"), field(entry, "event"))).collect()
}

#[tokio::test]
async fn a_stream_has_the_notification_when_the_delivery_returns() {
    let (mut connection, key) = (connection().await, unique("events"));
    let _proof = shows(&mut connection, "stream: added before the delivery returns").await;
    let notification = notification("a");
    sink(to_stream(&key)).deliver(&notification).await.unwrap();
    let expected = (notification.id.to_string(), notification.json);
    assert_eq!(entries(&mut connection, &key).await, [expected]);
}

#[tokio::test]
async fn a_delivery_can_wait_until_the_entry_is_on_the_disk() {
    let (mut connection, key) = (connection().await, unique("events"));
    let _proof = shows(&mut connection, "stream: synced to the disk before the delivery returns").await;
    let config = RedisConfig::new(url(), to_stream(&key));
    let synced = config.clone().confirmation(RedisConfirmation::Synced { replicas: 0 });
    RedisSink::new(synced).unwrap().deliver(&notification("a")).await.unwrap();
    assert_eq!(entries(&mut connection, &key).await.len(), 1);
    // This server has no replica, so one that asks for two is never satisfied, and says so.
    let more =
        config.confirmation(RedisConfirmation::Synced { replicas: 2 }).timeout(Duration::from_millis(200));
    let error = RedisSink::new(more).unwrap().deliver(&notification("b")).await.unwrap_err();
    assert!(!error.is_permanent(), "{error}");
}

#[tokio::test]
async fn a_stream_is_kept_about_as_long_as_is_asked_for() {
    let (mut connection, key) = (connection().await, unique("events"));
    let sink = sink(RedisTarget::Stream { key: key.clone(), length_max: Some(100) });
    assert_eq!(deliver(1000, sink).await, 0);
    let length: usize = connection.xlen(&key).await.unwrap();
    assert!((100..500).contains(&length), "{length}");
}

#[tokio::test]
async fn who_is_subscribed_to_the_channel_gets_the_notification() {
    let (mut connection, channel) = (connection().await, unique("events"));
    let _proof = shows(&mut connection, "channel: who is subscribed gets it").await;
    let mut subscriber = Client::open(url()).unwrap().get_async_pubsub().await.unwrap();
    subscriber.subscribe(&channel).await.unwrap();
    assert_eq!(deliver(20, sink(RedisTarget::Channel(channel))).await, 0);
    let messages = subscriber.on_message().take(20);
    let received: BTreeSet<String> = messages.map(|message| key(message.get_payload_bytes())).collect().await;
    assert_eq!(received, keys(20));
}

#[tokio::test]
async fn a_key_that_is_no_stream_fails_for_good_and_a_refused_login_until_it_is_mended() {
    let (mut connection, key) = (connection().await, unique("text"));
    let () = connection.set(&key, "no stream").await.unwrap();
    let error = sink(to_stream(&key)).deliver(&notification("a")).await.unwrap_err();
    assert!(error.is_permanent() && error.to_string().contains("WRONGTYPE"), "{error}");
    let refused = format!("redis://nobody:hunter2@{}", host());
    let sink = RedisSink::new(RedisConfig::new(refused, to_stream("x"))).unwrap();
    let error = sink.deliver(&notification("a")).await.unwrap_err();
    assert!(!error.is_permanent() && !error.to_string().contains("hunter2"), "{error}");
}

/// Answers that are lost, a paused server, a killed one: deliveries fail, are tried again, and all arrive.
#[tokio::test]
async fn a_server_that_pauses_and_dies_in_mid_delivery_costs_nothing() {
    let (mut connection, stream) = (connection().await, unique("events"));
    let _proof = shows(&mut connection, "stream: paused and killed in mid-delivery, nothing is lost").await;
    let proxy = Proxy::before(&host()).await;
    let config = RedisConfig::new(format!("redis://{}", proxy.address()), to_stream(&stream));
    let sink = RedisSink::new(config.timeout(Duration::from_secs(2))).unwrap();
    sink.deliver(&notification("first")).await.unwrap();
    let () = connection.del(&stream).await.unwrap();
    proxy.lose_answers();
    let delivering = tokio::spawn(deliver(50, sink));
    wait_until(async || {
        let length: usize = connection.xlen(&stream).await.unwrap();
        length > 0
    })
    .await;
    proxy.hold();
    proxy.kill().await;
    proxy.resume();
    assert!(delivering.await.unwrap() > 0, "no attempt failed: nothing was broken");
    let arrived = entries(&mut connection, &stream).await;
    let arrived: BTreeSet<String> = arrived.iter().map(|(_, event)| key(event.as_bytes())).collect();
    assert_eq!(arrived, keys(50));
}
