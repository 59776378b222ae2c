//! As `two_buckets`, with the queue on the PostgreSQL server whose URL is in `TASKQUEUE_POSTGRES_URL`, and 200 objects
//! unless `TASKQUEUE_S3_OBJECTS` says how many. By hand:
//!
//! ```text
//! cargo test -p taskqueue-cli --features server-tests --test two_buckets_on_postgres
//! ```

mod moving;
#[path = "../../../taskqueue-handlers/tests/support/proof.rs"]
mod proof;
#[path = "../support/mod.rs"]
mod support;
mod world;

use support::Program;
use support::server::POSTGRES;

#[test]
fn two_kills_neither_lose_nor_double_an_object() {
    let shows =
        "every object and version of a bucket, the queue on PostgreSQL, two SIGKILLs, compared one by one";
    let _discovery = proof::begin("federation_discovery", shows, "Ceph RGW 20");
    let _ingest = proof::begin("federation_ingest", shows, "Ceph RGW 20");
    let database = POSTGRES.database();
    moving::with_two_kills(&Program::migrated_on(&database), 200);
}
