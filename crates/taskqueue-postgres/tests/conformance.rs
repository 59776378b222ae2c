//! The conformance suite on a real PostgreSQL server, whose URL is in `TASKQUEUE_POSTGRES_URL`. Each test has a
//! database to itself, with a `now()` of its own in front of the server's, which stands still until it is moved.
//!
//! CockroachDB is behind a feature of its own, `cockroach-tests`; `cockroach/mod.rs` says where its server is. It has
//! not been run on CockroachDB; on PostgreSQL its statements are run by
//!
//! ```text
//! TASKQUEUE_POSTGRES_AS_COCKROACH=1 cargo test -p taskqueue-postgres --features cockroach-tests --test conformance cockroach::
//! ```

#[cfg(feature = "cockroach-tests")]
#[path = "cockroach/mod.rs"]
mod engine;
mod shelf;
mod support;

use std::sync::Arc;
use std::time::Duration;

use shelf::Database;
use sqlx::postgres::PgPoolOptions;
use taskqueue_conformance::{Fixture, Harness, Options};
use taskqueue_postgres::{Engine, Pooler, PostgresConfig, PostgresQueue, Queue, Scanning, Timestamp};

/// PostgreSQL, with so many shards.
struct Postgres {
    shards: u16,
}

impl Postgres {
    /// Whether claims leave the rank of a task, as where completed tasks are deleted: with several shards, and behind a
    /// pooler with one.
    fn leaves_rank(&self) -> bool {
        self.shards > 1 || !support::prepares()
    }
}

#[async_trait::async_trait]
impl Harness for Postgres {
    async fn fresh(&self, options: Options) -> Box<dyn Fixture> {
        let database = Database::take().await;
        let leaves_rank = self.leaves_rank();
        let queue = open(&database, &options, Some(self.shards), leaves_rank).await;
        queue.migrate().await.expect("the database takes the tables");
        Box::new(PostgresFixture { queue, options, database, leaves_rank })
    }

    fn is_ordered(&self) -> bool {
        self.shards == 1
    }
}

/// `shards`: none where the queue is to find out.
async fn open(
    database: &Database,
    options: &Options,
    shards: Option<u16>,
    leaves_rank: bool,
) -> PostgresQueue {
    let prepares = support::prepares();
    let cached = if prepares { 100 } else { 0 };
    let pool = PgPoolOptions::new()
        .max_connections(8)
        .test_before_acquire(false)
        .connect_with(database.options().statement_cache_capacity(cached));
    let mut config = PostgresConfig::pool(pool.await.expect("the server answers"));
    config.prepared_statements = prepares;
    // Every claim goes by cursors, and what they pass over is looked for at once, as the model does.
    config.testing.scanning = Scanning { slow: Duration::ZERO, rests: 0 };
    // Found out by connections of their own: half of those that a test would make.
    config.dialect = Some(Engine::Postgres);
    config.pooler = if prepares { Pooler::Direct } else { Pooler::Transaction };
    config.shards = shards;
    config.testing.leaves_rank = Some(leaves_rank);
    config.options.visibility_timeout = options.visibility_timeout;
    config.options.retry = options.retry.clone();
    config.options.payload_bytes_max = options.payload_bytes_max;
    config.options.max_reclaims = options.max_reclaims;
    PostgresQueue::with_config(config).await.expect("the configuration is valid")
}

struct PostgresFixture {
    queue: PostgresQueue,
    options: Options,
    database: Database,
    leaves_rank: bool,
}

#[async_trait::async_trait]
impl Fixture for PostgresFixture {
    fn queue(&self) -> Arc<dyn Queue> {
        Arc::new(self.queue.clone())
    }

    async fn reopen(&self) -> Option<Arc<dyn Queue>> {
        Some(Arc::new(open(&self.database, &self.options, None, self.leaves_rank).await))
    }

    async fn now(&self) -> Timestamp {
        self.database.now().await
    }

    async fn advance(&self, by: Duration) {
        self.database.advance(by).await;
    }

    fn clock_is_manual(&self) -> bool {
        true
    }
}

mod postgres {
    taskqueue_conformance::suite!(crate::Postgres { shards: 1 });

    mod three_shards {
        taskqueue_conformance::suite!(crate::Postgres { shards: 3 });
    }
}

#[cfg(feature = "cockroach-tests")]
mod cockroach {
    taskqueue_conformance::suite!(crate::engine::Cockroach);
}
