//! The program against an S3 server, whose URL is in `TASKQUEUE_S3_URL`: every object of one bucket is brought into
//! another by discovery and ingest, by three worker processes of which two are killed, and the buckets are compared
//! object by object, version by version. It knows nothing of the program's inside.
//!
//! `TASKQUEUE_S3_OBJECTS` says how many objects are moved: 600 unless it is set, 10,000 for the run that counts.

mod moving;
#[path = "../../../taskqueue-handlers/tests/support/proof.rs"]
mod proof;
#[path = "../support/mod.rs"]
mod support;
mod world;

use support::Program;

#[test]
fn two_kills_neither_lose_nor_double_an_object() {
    let shows = "every object and version of a bucket, three workers, two SIGKILLs, compared one by one";
    let _discovery = proof::begin("federation_discovery", shows, "Ceph RGW 20");
    let _ingest = proof::begin("federation_ingest", shows, "Ceph RGW 20");
    moving::with_two_kills(&Program::new(), 600);
}

#[test]
fn the_demo_moves_a_bucket_across_a_kill() {
    let program = Program::new();
    let text = program.ok(&["demo", "s3", "--objects", "300"]);
    assert!(text.contains("Nothing was lost and nothing was doubled"), "{text}");
    assert!(text.contains("Killed worker 1 (SIGKILL"), "{text}");
}
