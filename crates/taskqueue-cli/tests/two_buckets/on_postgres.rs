//! As `two_buckets`, with the queue on the PostgreSQL server whose URL is in `TASKQUEUE_POSTGRES_URL`. It needs two
//! servers at once, which `cargo xtask test` gives no test; it is run by hand:
//!
//! ```text
//! cargo test -p taskqueue-cli --features server-tests --test two_buckets_on_postgres
//! ```

mod moving;
#[path = "../support/mod.rs"]
mod support;
mod world;

use support::Program;
use support::server::POSTGRES;

#[test]
fn two_kills_neither_lose_nor_double_an_object() {
    let database = POSTGRES.database();
    moving::with_two_kills(&Program::migrated_on(&database));
}
