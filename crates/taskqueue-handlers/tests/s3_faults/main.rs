//! Ingest while a gateway is killed or paused in mid-transfer: real servers in containers of the tests' own, beside the
//! one that TASKQUEUE_S3_URL names and nobody touches. What is done to a container is Docker's doing, so these tests
//! need its program; TASKQUEUE_SERVERS names the program that starts containers.
//!
//! ```sh
//! cargo build -p taskqueue-servers
//! export TASKQUEUE_SERVERS=$PWD/target/debug/taskqueue-servers
//! TASKQUEUE_S3_URL=http://access:secret@127.0.0.1:7480 cargo nextest run -p taskqueue-handlers --features server-tests --test s3_faults
//! ```
//!
//! The gateway keeps everything in memory and makes itself anew when it starts: a killed one has lost all that it had,
//! so another takes its place, and what it lost is what a real one would have lost with its disks. Of a source that is
//! the object, which the test writes again; of a destination the bucket and the parts that were sent.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[allow(dead_code, reason = "the other tests on the gateway use the rest")]
#[path = "../s3/bucket.rs"]
mod bucket;
#[path = "../s3/engine.rs"]
mod engine;
#[allow(dead_code, reason = "the other tests on the gateway use the rest")]
#[path = "../s3/federated.rs"]
mod federated;
mod gate;
#[path = "../support/proof.rs"]
mod proof;
mod server;

use std::sync::Arc;
use std::time::Duration;

use bucket::Bucket;
use bytes::Bytes;
use federated::{Federated, data, parts, put_external};
use gate::Gate;
use server::Server;
use taskqueue_core::TaskId;
use taskqueue_handlers::store::{S3Config, S3Store};
use taskqueue_worker::Report;

const MIB: usize = 1 << 20;
/// Four parts.
const SIZE: usize = 17 * MIB + 5;
/// Within the third of them, whatever the requests and answers around the data take.
const IN_THE_THIRD_PART: u64 = 12 * MIB as u64;
/// Enough for the last two parts, and not for all four.
const FOR_TWO_PARTS: u64 = 9 * MIB as u64;
/// How long a transfer may stand still here, and an answer take.
const STALL: Duration = Duration::from_secs(4);

fn name() -> String {
    format!("s3-{}", TaskId::generate())
}

/// The way to a bucket's gateway through a gate, given up soon when nothing moves.
fn through(gate: &Gate, bucket: &Bucket) -> Arc<S3Store> {
    let endpoint = Some(format!("http://{}", gate.address()));
    let config = bucket.config.clone();
    Arc::new(
        S3Store::new(S3Config { endpoint, stall_timeout: STALL, answer_timeout: STALL, ..config }).unwrap(),
    )
}

fn counts(report: &Report) -> (u64, u64) {
    assert_eq!((report.dead_lettered, report.leases_lost), (0, 0), "{report:?}");
    (report.completed, report.failed)
}

async fn numbers(local: &Bucket) -> Vec<u32> {
    parts(local).await.unwrap().iter().map(|part| part.number).collect()
}

/// An object outside, and the task that is to bring it over.
async fn object_and_task(external: &Bucket, local: &Bucket) -> (Bytes, String, Arc<Federated>) {
    let data = data(SIZE);
    let etag = put_external(external, &data).await;
    let federated = Federated::with_task(external, local, (SIZE, &etag)).await;
    (data, etag, Arc::new(federated))
}

/// An attempt in which `harm` is done to a server once the gate has closed in the third part.
async fn attempt_with(
    harm: impl FnOnce(),
    gate: &Gate,
    federated: &Arc<Federated>,
    (external, local): (Arc<S3Store>, Arc<S3Store>),
) -> Report {
    gate.close_after(IN_THE_THIRD_PART);
    let working = Arc::clone(federated);
    let attempt = tokio::spawn(async move { working.work(external, local).await });
    gate.wait_until_closed().await;
    harm();
    gate.open();
    attempt.await.unwrap()
}

/// A paused gateway answers nothing and closes nothing: the attempt is given up by its own limits. What was sent before
/// is there when it goes on, so that only the rest is sent.
#[tokio::test]
async fn a_destination_that_is_paused_in_mid_transfer_gets_the_rest_once_it_goes_on() {
    let shows = "the destination is paused in mid-transfer: a later attempt sends the rest";
    let _proof = proof::begin("federation_ingest", shows, "Ceph RGW 20");
    let server = Server::start();
    let gate = Gate::before(server.address()).await;
    let (external, local) = (Bucket::new().await, Bucket::named(&name(), server.config()).await);
    let (data, etag, federated) = object_and_task(&external, &local).await;
    let ways = (external.store.clone(), through(&gate, &local));
    let report = attempt_with(|| server.pause(), &gate, &federated, ways).await;
    assert_eq!(counts(&report), (1, 1), "the upload was begun, and failed");
    let error = federated.failed().await.last_error.unwrap();
    assert!(error.contains("nothing came for") || error.contains("nothing went for"), "{error}");

    server.unpause();
    assert!(numbers(&local).await.starts_with(&[1, 2]));
    federated.later();
    gate.close_after(FOR_TWO_PARTS);
    let report = federated.work(external.store.clone(), through(&gate, &local)).await;
    assert_eq!(counts(&report), (1, 0));
    federated.assert_brought_over(&local, (&data, &etag)).await;
}

/// The killed gateway has lost the bucket and the parts. While there is none, attempts fail as transient; the one that
/// takes its place knows no such upload, and the object is sent from its start.
#[tokio::test]
async fn a_destination_that_is_killed_in_mid_transfer_gets_the_whole_object_when_another_takes_its_place() {
    let shows = "the destination is killed in mid-transfer and loses everything: a later attempt begins anew";
    let _proof = proof::begin("federation_ingest", shows, "Ceph RGW 20");
    let server = Server::start();
    let gate = Gate::before(server.address()).await;
    let (external, local) = (Bucket::new().await, Bucket::named(&name(), server.config()).await);
    let (data, etag, federated) = object_and_task(&external, &local).await;
    let way = through(&gate, &local);
    let ways = (external.store.clone(), way.clone());
    let report = attempt_with(|| server.kill(), &gate, &federated, ways).await;
    assert_eq!(counts(&report), (1, 1), "the upload was begun, and failed");
    federated.later();
    let report = federated.work(external.store.clone(), way.clone()).await;
    assert_eq!(counts(&report), (0, 1), "there is no server");

    let server = Server::start();
    let local = Bucket::named(&local.name, server.config()).await;
    gate.lead_to(server.address());
    federated.later();
    let report = federated.work(external.store.clone(), way).await;
    assert_eq!(counts(&report), (3, 0), "the upload is gone, another is begun, and finished");
    federated.assert_brought_over(&local, (&data, &etag)).await;
}

/// The parts that were sent are at the destination. The test writes the object again into the gateway that takes the
/// killed one's place: the same data, so of the same ETag, and the upload is gone on with.
#[tokio::test]
async fn an_upload_whose_source_is_killed_in_mid_transfer_is_gone_on_with_when_the_object_is_back() {
    let shows = "the source is killed in mid-transfer: a later attempt goes on with the upload";
    let _proof = proof::begin("federation_ingest", shows, "Ceph RGW 20");
    let server = Server::start();
    let gate = Gate::before(server.address()).await;
    let (external, local) = (Bucket::named(&name(), server.config()).await, Bucket::new().await);
    let (data, etag, federated) = object_and_task(&external, &local).await;
    let way = through(&gate, &external);
    let ways = (way.clone(), local.store.clone());
    let report = attempt_with(|| server.kill(), &gate, &federated, ways).await;
    assert_eq!(counts(&report), (1, 1), "the upload was begun, and failed");
    assert!(numbers(&local).await.starts_with(&[1, 2]));

    let server = Server::start();
    let external = Bucket::named(&external.name, server.config()).await;
    assert_eq!(put_external(&external, &data).await, etag);
    gate.lead_to(server.address());
    federated.later();
    let before_the_rest = Gate::before(&bucket::upstream()).await;
    before_the_rest.close_after(FOR_TWO_PARTS);
    let report = federated.work(way, through(&before_the_rest, &local)).await;
    assert_eq!(counts(&report), (1, 0), "what is missing was sent, and not all of it again");
    federated.assert_brought_over(&local, (&data, &etag)).await;
}
