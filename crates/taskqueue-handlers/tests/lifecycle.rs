//! Lifecycle actions on a store in memory: what a second run leaves alone, and what a second scan enqueues.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use taskqueue_core::metrics::Metrics;
use taskqueue_core::payloads::{LifecycleAction, LifecyclePayload};
use taskqueue_core::{Clock, Enqueued, ManualClock, Outcome, Queue, TaskType, WorkerId};
use taskqueue_handlers::lifecycle::rules::Rules;
use taskqueue_handlers::lifecycle::{LifecycleHandler, LifecycleOutcome, LifecycleScan};
use taskqueue_handlers::store::{Attributes, Condition, MemoryStore, ObjectRef, ObjectStore};
use taskqueue_memory::MemoryQueue;

struct World {
    clock: ManualClock,
    store: MemoryStore,
}

impl World {
    fn new() -> Self {
        let clock = ManualClock::default();
        Self { store: MemoryStore::with_clock(clock.clone()).bucket("b"), clock }
    }

    /// Writes the object, and gives its ETag.
    async fn put(&self, data: &'static [u8]) -> String {
        let (object, body) = (ObjectRef::new("b", "k"), Bytes::from_static(data).into());
        self.store.put(&object, &Attributes::default(), &Condition::Always, body).await.unwrap().etag
    }

    /// What a rule that is evaluated now asks for.
    fn asks(&self, action: LifecycleAction) -> LifecyclePayload {
        LifecyclePayload {
            bucket: "b".to_owned(),
            key: "k".to_owned(),
            version_id: None,
            action,
            storage_class: Some("GLACIER".to_owned()),
            rule_id: "r".to_owned(),
            evaluated_at: self.clock.now().timestamp_nanos_opt().unwrap(),
            expected_etag: None,
            expected_mod_time: None,
            upload_id: None,
        }
    }

    async fn act(&self, payload: &LifecyclePayload) -> LifecycleOutcome {
        let handler = LifecycleHandler::new(Arc::new(self.store.clone()), &Metrics::default());
        handler.act(payload).await.unwrap()
    }

    async fn is_there(&self) -> bool {
        self.store.head(&ObjectRef::new("b", "k")).await.is_ok()
    }
}

#[tokio::test]
async fn a_second_run_leaves_what_was_written_since_alone() {
    for knows_etag in [false, true] {
        let world = World::new();
        let etag = world.put(b"data").await;
        let asked = world.asks(LifecycleAction::Delete);
        let payload = LifecyclePayload { expected_etag: knows_etag.then_some(etag), ..asked };
        assert_eq!(world.act(&payload).await, LifecycleOutcome::Done);
        world.clock.advance(Duration::from_secs(1));
        world.put(b"data").await;
        assert_eq!(world.act(&payload).await, LifecycleOutcome::Changed);
        assert!(world.is_there().await);
    }
}

#[tokio::test]
async fn what_was_written_within_the_second_of_the_rule_goes() {
    let world = World::new();
    let payload = world.asks(LifecycleAction::Delete);
    world.clock.advance(Duration::from_millis(999));
    world.put(b"data").await;
    assert_eq!(world.act(&payload).await, LifecycleOutcome::Done);
}

#[tokio::test]
async fn an_object_goes_whichever_it_is_where_nobody_says_when_the_rule_was_evaluated() {
    let world = World::new();
    world.put(b"data").await;
    let payload = LifecyclePayload { evaluated_at: 0, ..world.asks(LifecycleAction::Delete) };
    assert_eq!(world.act(&payload).await, LifecycleOutcome::Done);
    assert!(!world.is_there().await);
}

#[tokio::test]
async fn an_object_of_the_expected_time_goes_although_the_clock_of_the_rule_is_behind() {
    let world = World::new();
    let asked = world.asks(LifecycleAction::Delete);
    world.clock.advance(Duration::from_secs(60));
    world.put(b"data").await;
    let expected_mod_time = world.clock.now().timestamp_nanos_opt();
    let payload = LifecyclePayload { expected_mod_time, ..asked };
    assert_eq!(world.act(&payload).await, LifecycleOutcome::Done);
}

#[tokio::test]
async fn a_second_run_finds_its_own_copy_in_the_class_already() {
    let world = World::new();
    world.put(b"data").await;
    let payload = world.asks(LifecycleAction::Transition);
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(world.act(&payload).await, LifecycleOutcome::Done);
    assert_eq!(world.act(&payload).await, LifecycleOutcome::AlreadyThere);
}

#[tokio::test]
async fn a_second_scan_enqueues_nothing_that_is_under_way_and_all_that_is_finished_and_still_due() {
    let world = World::new();
    world.put(b"data").await;
    world.clock.advance(Duration::from_secs(3 * 24 * 60 * 60));
    let queue = MemoryQueue::new();
    let rules = r#"{"Rules": [{"ID": "r", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}]}"#;
    let scan = async || {
        let rules = Rules::parse(rules).unwrap();
        let mut scan = LifecycleScan::new(Arc::new(world.store.clone()), rules, "b", world.clock.now());
        let found = scan.step().await.unwrap().unwrap();
        let tasks = found.payloads.iter().map(|it| LifecycleScan::task(it).unwrap()).collect();
        queue.enqueue_many(tasks).await.unwrap()
    };
    let (worker, lifecycle) = (WorkerId::new("w").unwrap(), TaskType::of::<LifecyclePayload>().unwrap());
    for outcome in [Outcome::permanent("AccessDenied"), Outcome::done(), Outcome::done()] {
        assert!(matches!(scan().await[..], [Enqueued::Created(_)]), "nothing is under way");
        assert!(matches!(scan().await[..], [Enqueued::Duplicate(_)]));
        let claim = queue.dequeue(&worker, std::slice::from_ref(&lifecycle)).await.unwrap().unwrap();
        assert!(matches!(scan().await[..], [Enqueued::Duplicate(_)]), "nor while it runs");
        queue.settle(claim.lease, outcome).await.unwrap();
    }
}
