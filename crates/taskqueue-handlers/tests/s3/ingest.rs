//! The ingest handler between two buckets of the gateway, over networks that break off.

use bytes::Bytes;

use crate::bucket::{Bucket, upstream};
use crate::federated::{Federated, KEY, data, parts, put_external};
use crate::proof;
use crate::proxy::{Fate, proxy};

const MIB: usize = 1 << 20;

async fn cut_after(bytes: usize) -> String {
    proxy(upstream(), bytes as u64, Fate::Cut).await
}

struct World {
    external: Bucket,
    local: Bucket,
    data: Bytes,
    etag: String,
    federated: Federated,
}

impl World {
    async fn with_object(bytes: usize) -> Self {
        let (external, local, data) = (Bucket::new().await, Bucket::new().await, data(bytes));
        let etag = put_external(&external, &data).await;
        let federated = Federated::with_task(&external, &local, (bytes, &etag)).await;
        Self { external, local, data, etag, federated }
    }
}

#[tokio::test]
async fn an_interrupted_upload_is_gone_on_with_and_sends_only_what_is_missing() {
    let shows = "an interrupted upload is gone on with, and only what is missing is sent";
    let _proof = proof::begin("federation_ingest", shows, "Ceph RGW 20");
    let World { external, local, data, etag, federated } = World::with_object(17 * MIB + 5).await;
    // Of four parts two pass.
    let network = cut_after(12 * MIB).await;
    let report = federated.work(external.store.clone(), local.through(&network)).await;
    assert_eq!((report.completed, report.failed), (1, 1), "the upload was begun, and broke off");
    assert_eq!(federated.failed().await.attempts, 1, "it is to be tried again");
    let sent: Vec<u32> = parts(&local).await.unwrap().iter().map(|part| part.number).collect();
    assert_eq!(sent, [1, 2]);

    federated.later();
    // Enough for the two others and not for all four.
    let network = cut_after(9 * MIB).await;
    let report = federated.work(external.store.clone(), local.through(&network)).await;
    assert_eq!((report.completed, report.failed), (1, 0));
    federated.assert_brought_over(&local, (&data, &etag)).await;
}

#[tokio::test]
async fn a_body_that_ends_early_leaves_no_object_and_is_read_again() {
    let shows = "a body that ends early leaves no object";
    let _proof = proof::begin("federation_ingest", shows, "Ceph RGW 20");
    let World { external, local, data, etag, federated } = World::with_object(300_000).await;
    let network = cut_after(100_000).await;
    let report = federated.work(external.through(&network), local.store.clone()).await;
    assert_eq!((report.completed, report.failed), (0, 1));
    assert_eq!(federated.failed().await.attempts, 1, "it is to be tried again");
    assert!(local.read(KEY).await.unwrap_err().is_not_found());

    federated.later();
    let report = federated.work(external.store.clone(), local.store.clone()).await;
    assert_eq!((report.completed, report.failed), (1, 0));
    federated.assert_brought_over(&local, (&data, &etag)).await;
}
