//! Versions: the history of a key is rebuilt in its order, delete markers included.

use taskqueue_core::Queue;
use taskqueue_handlers::federation::Conflict;
use taskqueue_handlers::store::memory::{Fault, Operation};
use taskqueue_handlers::store::{
    Condition, ListVersions, MemoryStore, ObjectRef, ObjectStore, StoreError, StoreErrorKind,
};

use super::{MIB, World, data, put_in_parts, read};

/// What each version of each key holds, the oldest first; `None` is a delete marker.
async fn history(store: &MemoryStore, bucket: &str) -> Vec<(String, Option<(usize, u8)>)> {
    let mut versions = Vec::new();
    let mut after = None;
    loop {
        let list = ListVersions { bucket: bucket.into(), after, limit: 2, ..ListVersions::default() };
        let page = store.list_versions(&list).await.unwrap();
        versions.extend(page.versions);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let mut history = Vec::new();
    for version in versions.into_iter().rev() {
        let body = read(store, bucket, &version.key, version.version_id).await;
        let shown = body.map(|(_, bytes)| (bytes.len(), bytes.first().copied().unwrap_or_default()));
        assert_eq!(shown.is_none(), version.is_delete_marker);
        history.push((version.key, shown));
    }
    history
}

async fn delete(world: &World, key: &str) {
    world.clock.advance(std::time::Duration::from_secs(60));
    world.external.delete(&ObjectRef::new("old", key), &Condition::Always).await.unwrap();
}

/// Several keys: with the same content twice, deleted and made again, deleted for now, in parts.
async fn world_with_history() -> World {
    let world = World::versioned();
    for text in ["a", "b", "a"] {
        world.put("k", text).await;
    }
    world.put("k/longer", "x").await;
    world.put("again", "1").await;
    delete(&world, "again").await;
    world.put("again", "2").await;
    delete(&world, "only-marker").await;
    world.put("deleted", "y").await;
    delete(&world, "deleted").await;
    world.put("large", data(7 * MIB)).await;
    world.put("large", data(7 * MIB + 1)).await;
    world
}

#[tokio::test]
async fn the_history_of_every_key_is_rebuilt_in_its_order() {
    for batch_size in [1, 2, 100] {
        let world = world_with_history().await;
        world.discover(batch_size, true).await;
        world.work().await;
        assert_eq!(history(&world.local, "photos").await, history(&world.external, "old").await);
        assert_eq!(world.queue.stats().await.unwrap().dead_letter, 0);
    }
}

#[tokio::test]
async fn a_second_discovery_adds_no_version_and_brings_what_is_new() {
    let world = world_with_history().await;
    world.discover(100, true).await;
    world.work().await;
    let before = history(&world.local, "photos").await;
    for started_at in [1, 2] {
        let payload = taskqueue_core::payloads::FederationDiscoveryPayload {
            bucket: "photos".into(),
            include_versions: true,
            started_at,
            ..Default::default()
        };
        world.queue.enqueue(payload).await.unwrap();
        world.work().await;
        match started_at {
            1 => assert_eq!(history(&world.local, "photos").await, before),
            _ => assert_eq!(history(&world.local, "photos").await, history(&world.external, "old").await),
        }
        world.put("k", "b").await;
    }
}

#[tokio::test]
async fn a_version_that_fails_holds_the_later_ones_back() {
    let world = World::versioned();
    for text in ["1", "22", "333"] {
        world.put("k", text).await;
    }
    let unavailable = StoreError::new(StoreErrorKind::Unavailable, "put: no answer");
    world.local.inject(Fault::fail(Operation::Put, unavailable).after(1));
    world.discover(100, true).await;
    world.work_through().await;
    assert_eq!(history(&world.local, "photos").await, history(&world.external, "old").await);
}

/// A small object is sent in one request, and so has another ETag here than one that was sent in small parts.
#[tokio::test]
async fn versions_whose_etags_are_others_here_are_all_brought_once() {
    for conflict in [Conflict::KeepNewer, Conflict::Overwrite] {
        let world = World::versioned();
        world.configure(|config| config.conflict = conflict);
        for text in ["abcdef", "ghijkl", "mnopqr"] {
            world.clock.advance(std::time::Duration::from_secs(60));
            put_in_parts(&world, "k", text.as_bytes(), 3).await;
        }
        delete(&world, "k").await;
        for started_at in [1, 2] {
            world.clock.advance(std::time::Duration::from_secs(60));
            let payload = taskqueue_core::payloads::FederationDiscoveryPayload {
                bucket: "photos".into(),
                include_versions: true,
                started_at,
                ..Default::default()
            };
            world.queue.enqueue(payload).await.unwrap();
            world.work().await;
            assert_eq!(history(&world.local, "photos").await, history(&world.external, "old").await);
        }
    }
}

#[tokio::test]
async fn a_bucket_that_keeps_no_versions_is_said_and_not_filled_over_and_over() {
    let mut world = World::versioned();
    world.local = MemoryStore::with_clock(world.clock.clone()).bucket("photos");
    world.put("k", "1").await;
    world.put("k", "2").await;
    delete(&world, "only-marker").await;
    world.discover(100, true).await;
    assert_eq!(world.work().await.dead_lettered, 2);
    let errors = world.ingests().await.into_iter().map(|(task, _)| task.last_error.unwrap());
    errors.for_each(|error| assert!(error.contains("keeps no versions"), "{error}"));
}
