//! The conformance suite on a real PostgreSQL server, whose URL is in `TASKQUEUE_POSTGRES_URL`. Each test has a
//! database of its own, with a `now()` of its own in front of the server's, which stands still until it is moved.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};
use taskqueue_conformance::{Fixture, Harness, Options};
use taskqueue_postgres::{PostgresConfig, PostgresQueue, Queue, Timestamp};

const URL_VARIABLE: &str = "TASKQUEUE_POSTGRES_URL";
/// Set where the URL leads to a pooler in transaction mode.
const UNPREPARED_VARIABLE: &str = "TASKQUEUE_POSTGRES_UNPREPARED";

struct Postgres;

#[async_trait::async_trait]
impl Harness for Postgres {
    async fn fresh(&self, options: Options) -> Box<dyn Fixture> {
        let database = Database::create().await;
        let queue = database.queue(&options).await;
        queue.migrate().await.expect("the database is empty");
        Box::new(PostgresFixture { queue, options, database })
    }
}

/// A database that is dropped with the fixture. `search_path` is set on the database, so that it also holds behind a
/// pooler that passes no start-up options on.
struct Database {
    server: PgConnectOptions,
    name: String,
}

impl Database {
    async fn create() -> Self {
        let url = std::env::var(URL_VARIABLE).unwrap_or_else(|_| {
            panic!("{URL_VARIABLE} is not set: run `cargo xtask conformance --backend postgres`, which starts a server")
        });
        let server = PgConnectOptions::from_str(&url).expect("the URL is valid").statement_cache_capacity(0);
        let id: u64 = rand::random();
        let database = Self { server, name: format!("taskqueue_test_{id:016x}") };
        let name = &database.name;
        execute(&database.server, format!("CREATE DATABASE {name}"))
            .await
            .expect("the server makes a database");
        let clock = format!(
            "CREATE SCHEMA manual; CREATE TABLE manual.clock (at timestamptz NOT NULL); \
             INSERT INTO manual.clock VALUES ('2026-01-01T00:00:00Z'); \
             CREATE FUNCTION manual.now() RETURNS timestamptz LANGUAGE sql STABLE AS \
             $$ SELECT at FROM manual.clock $$; \
             ALTER DATABASE {name} SET search_path = manual, pg_catalog, public"
        );
        execute(&database.options(), clock).await.expect("the database is empty");
        database
    }

    fn options(&self) -> PgConnectOptions {
        self.server.clone().database(&self.name)
    }

    async fn queue(&self, options: &Options) -> PostgresQueue {
        let prepares = std::env::var_os(UNPREPARED_VARIABLE).is_none();
        let pooled = if prepares { self.options().statement_cache_capacity(100) } else { self.options() };
        let pool = PgPoolOptions::new().max_connections(8).test_before_acquire(false).connect_with(pooled);
        let mut config = PostgresConfig::pool(pool.await.expect("the server answers"));
        config.prepared_statements = prepares;
        config.options.visibility_timeout = options.visibility_timeout;
        config.options.retry = options.retry.clone();
        config.options.payload_bytes_max = options.payload_bytes_max;
        config.options.max_reclaims = options.max_reclaims;
        PostgresQueue::with_config(config).await.expect("the configuration is valid")
    }
}

async fn execute(options: &PgConnectOptions, sql: String) -> sqlx::Result<()> {
    let mut connection: PgConnection = options.connect().await?;
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
    connection.close().await
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, sql) = (self.server.clone(), format!("DROP DATABASE {} WITH (FORCE)", self.name));
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("the host lets the test start a runtime").block_on(execute(&server, sql))
        });
        // What a failed test leaves behind goes with the server.
        drop(dropping.join());
    }
}

struct PostgresFixture {
    queue: PostgresQueue,
    options: Options,
    database: Database,
}

#[async_trait::async_trait]
impl Fixture for PostgresFixture {
    fn queue(&self) -> Arc<dyn Queue> {
        Arc::new(self.queue.clone())
    }

    async fn reopen(&self) -> Option<Arc<dyn Queue>> {
        Some(Arc::new(self.database.queue(&self.options).await))
    }

    async fn now(&self) -> Timestamp {
        sqlx::query_scalar("SELECT now()")
            .persistent(false)
            .fetch_one(self.queue.pool())
            .await
            .expect("the server answers")
    }

    async fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_micros()).expect("tests advance by hours");
        let moved = format!("UPDATE manual.clock SET at = at + {by} * interval '1 microsecond'");
        execute(&self.database.options(), moved).await.expect("the server answers");
    }

    fn clock_is_manual(&self) -> bool {
        true
    }
}

taskqueue_conformance::suite!(Postgres);
