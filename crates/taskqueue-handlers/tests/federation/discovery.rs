//! Discovery: each page and its continuation commit with the completion, or not at all.

use std::collections::BTreeSet;
use std::time::Duration;

use taskqueue_core::payloads::FederationDiscoveryPayload;
use taskqueue_core::{
    ClaimRequest, NewTask, Outcome, Queue, Settled, Settlement, Status, TaskType, WorkerId,
};
use taskqueue_handlers::store::memory::{Fault, Operation};
use taskqueue_handlers::store::{StoreError, StoreErrorKind};

use super::World;

async fn world_of(keys: usize) -> World {
    let world = World::new();
    for number in 0..keys {
        world.put(&format!("key {number:03}+ü"), format!("data {number}")).await;
    }
    world
}

#[tokio::test]
async fn every_object_of_every_page_is_ingested_once() {
    let world = world_of(25).await;
    world.discover(10, false).await;
    let report = world.work().await;
    assert_eq!((report.completed, report.failed), (3 + 25, 0));
    let here = world.here("key 007+ü").await.unwrap();
    let there = super::read(&world.external, "old", "key 007+ü", None).await.unwrap();
    assert_eq!((&here.1, here.0.attributes), (&there.1, super::copied(&there.0)));
    assert_eq!(here.0.etag, there.0.etag);
    assert_eq!(world.keys_here().await.len(), 25);
}

#[tokio::test]
async fn a_crash_between_pages_neither_loses_a_page_nor_doubles_one() {
    let _proof = crate::proof::begin(
        "federation_discovery",
        "a crash between pages neither loses a page nor doubles one",
        "MemoryStore",
    );
    let world = world_of(30).await;
    world.discover(10, false).await;
    let discovery = TaskType::of::<FederationDiscoveryPayload>().unwrap();
    let doomed = ClaimRequest::new(WorkerId::new("doomed").unwrap(), [discovery], 1);
    let unavailable = StoreError::new(StoreErrorKind::Unavailable, "list: gone for now");
    let mut claims = Vec::new();
    for _ in 0..3 {
        // A worker that lists the page and dies before it settles.
        world.queue.promote_due(10).await.unwrap();
        let claim = world.queue.dequeue_many(&doomed).await.unwrap().pop().unwrap();
        let payload = claim.task.payload.decode().unwrap();
        let config = world.configs.0.lock().unwrap().clone();
        assert_eq!(world.discovery().discover(&payload, &config).await.unwrap().found.len(), 10);
        claims.push(claim);
        world.clock.advance(Duration::from_secs(3600));
        assert_eq!(world.queue.reclaim_stale(10).await.unwrap().total(), 1);
        // The next worker gets as far as the page after it.
        world.external.inject(Fault::fail(Operation::List, unavailable.clone()).after(1));
        world.work().await;
        world.clock.advance(Duration::from_secs(3600));
        if world.ingests().await.len() == 30 {
            break;
        }
    }
    world.work_through().await;
    let keys: BTreeSet<String> = world.ingests().await.into_iter().map(|(_, payload)| payload.key).collect();
    assert_eq!((keys.len(), world.ingests().await.len()), (30, 30), "each object has one task");
    // The dead worker comes back: what it would settle is refused, with all that was to follow.
    for claim in claims {
        let late = Outcome::done().then(NewTask::raw("federation_ingest", "{}").unwrap());
        let settled = world.queue.settle_many(vec![Settlement::new(claim.lease, late)]).await.unwrap();
        assert_eq!(settled, [Settled::LeaseLost]);
    }
    assert_eq!(world.ingests().await.len(), 30);
}

#[tokio::test]
async fn a_discovery_that_is_enqueued_twice_is_one_and_a_later_one_finds_all_present() {
    let world = world_of(5).await;
    world.discover(2, false).await;
    world.discover(2, false).await;
    world.work().await;
    assert_eq!(world.ingests().await.len(), 5, "the same start gives the same ids");
    let again =
        FederationDiscoveryPayload { bucket: "photos".into(), ..FederationDiscoveryPayload::default() };
    world.clock.advance(Duration::from_secs(1));
    world.queue.enqueue(again).await.unwrap();
    world.work().await;
    assert_eq!(world.ingests().await.len(), 10, "another start gives other ids");
    let puts = world.local.calls().into_iter().filter(|call| call.operation == Operation::Put).count();
    assert_eq!(puts, 5, "what is here is not written again");
}

#[tokio::test]
async fn a_prefix_and_a_start_bound_what_is_found() {
    let world = World::new();
    for key in ["a/1", "b/1", "b/2", "b/3", "c/1"] {
        world.put(key, key).await;
    }
    let payload = FederationDiscoveryPayload {
        bucket: "photos".into(),
        prefix: Some("b/".into()),
        start_after: Some("b/1".into()),
        batch_size: 1,
        ..FederationDiscoveryPayload::default()
    };
    world.queue.enqueue(payload).await.unwrap();
    world.work().await;
    assert_eq!(world.keys_here().await, ["b/2", "b/3"]);
}

#[tokio::test]
async fn a_paused_bucket_waits_and_goes_on_where_it_was() {
    let world = world_of(3).await;
    world.configure(|config| config.paused = true);
    let id = world.discover(10, false).await;
    let report = world.work().await;
    assert_eq!((report.snoozed, report.completed), (1, 0));
    assert_eq!(world.queue.get(id).await.unwrap().status, Status::Pending);
    world.configure(|config| config.paused = false);
    world.clock.advance(taskqueue_handlers::federation::PAUSE_SNOOZE);
    assert_eq!(world.work().await.completed, 1 + 3);
}

#[tokio::test]
async fn a_bucket_that_is_not_federated_is_a_dead_letter_at_once() {
    let world = World::new();
    let payload =
        FederationDiscoveryPayload { bucket: "other".into(), ..FederationDiscoveryPayload::default() };
    let id = world.queue.enqueue(payload).await.unwrap();
    assert_eq!(world.work().await.dead_lettered, 1);
    let error = world.queue.get(id).await.unwrap().last_error.unwrap();
    assert!(error.contains("\"other\" is not configured as federated"), "{error}");
}
