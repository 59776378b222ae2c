//! Events that `taskqueue work` produces to Kafka: to the brokers that librdkafka brings for tests, which run in the
//! test's process and speak the protocol to that of the program. It knows nothing of the program's inside.

#[path = "support/event.rs"]
mod event;
#[path = "../../taskqueue-handlers/tests/support/proof.rs"]
mod proof;
mod support;

use std::time::Duration;

use event::Destination;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::mocking::MockCluster;
use support::{Program, WAIT_MAX};

const TOPIC: &str = "events";

#[test]
fn an_event_is_produced_with_its_key_and_the_tasks_id() {
    let (_, version) = rdkafka::util::get_rdkafka_version();
    let shows = "by `taskqueue work`: produced with acks=all";
    let _proof = proof::begin("event", shows, &format!("the Kafka brokers in librdkafka {version}"));
    let cluster = MockCluster::new(3).expect("brokers on loopback ports");
    cluster.create_topic(TOPIC, 4, 3).expect("a topic");
    let brokers = cluster.bootstrap_servers();
    let client = "{ \"client.id\" = \"taskqueue\" }";
    let settings = format!("brokers = {brokers:?}\ntopic = {TOPIC:?}\nclient = {client}");
    let destination = Destination { name: "produced", kind: "kafka", settings };
    let tasks = event::tell(&Program::new(), &[destination]);

    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &brokers)
        .set("group.id", "test")
        .set("auto.offset.reset", "earliest")
        .create()
        .expect("a consumer");
    consumer.subscribe(&[TOPIC]).expect("a topic can be subscribed to");
    // A poll also ends without a record, when the client has learnt something.
    let polls = (0..WAIT_MAX.as_secs()).map(|_| consumer.poll(Duration::from_secs(1)));
    let record = polls.flatten().next().expect("a record comes").expect("it can be read");
    event::assert_is_record(record.payload().expect("it has a payload"), "produced");
    assert_eq!(record.key(), Some(b"photos/in/a b.jpg".as_slice()));
    let id = record.headers().expect("it has headers").get(0);
    assert_eq!((id.key, id.value), ("id", Some(tasks[0].as_bytes())));
}
