//! CockroachDB under the suite: `TASKQUEUE_COCKROACH_URL` names the server. Each test has a database to itself, which
//! stays there, with a clock in a table, which stands still until it is moved. It knows no behaviour.
//!
//! With `TASKQUEUE_POSTGRES_AS_COCKROACH` the server is the PostgreSQL of `TASKQUEUE_POSTGRES_URL`: the statements for
//! CockroachDB run there but for the index hints. That is the only server that they have been run on.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection};
use taskqueue_conformance::{Fixture, Harness, Options};
use taskqueue_postgres::{Engine, PostgresConfig, PostgresQueue, Queue, TaskId, Timestamp, WakeUpMode};

const URL: &str = "TASKQUEUE_COCKROACH_URL";
const AS_COCKROACH: &str = "TASKQUEUE_POSTGRES_AS_COCKROACH";
const NOW: &str = "(SELECT at FROM conformance_clock)";
const CLOCK: [&str; 2] = [
    "CREATE TABLE conformance_clock (at timestamptz NOT NULL)",
    "INSERT INTO conformance_clock VALUES ('2026-01-01T00:00:00Z')",
];

pub(crate) struct Cockroach;

#[async_trait::async_trait]
impl Harness for Cockroach {
    async fn fresh(&self, options: Options) -> Box<dyn Fixture> {
        let database = format!("tq_{}", TaskId::generate().as_uuid().simple());
        let mut admin = connect(&server()).await;
        run(&mut admin, format!("CREATE DATABASE {database}")).await;
        let server = server().database(&database);
        let mut clock = connect(&server).await;
        for statement in CLOCK {
            run(&mut clock, statement.to_owned()).await;
        }
        let queue = open(&server, &options).await;
        queue.migrate().await.expect("the database takes the tables");
        let backend = queue.backend().await.expect("the server says what it is");
        assert_eq!(backend.name, "cockroach", "{URL} names another engine");
        Box::new(CockroachFixture { queue, options, server, clock: tokio::sync::Mutex::new(clock) })
    }
}

fn is_postgres() -> bool {
    std::env::var_os(AS_COCKROACH).is_some()
}

/// A server that was asked for and is not named is a failure, never a pass.
fn server() -> PgConnectOptions {
    if is_postgres() {
        return crate::support::server();
    }
    let url = std::env::var(URL).unwrap_or_else(|_| {
        panic!("{URL} is not set: run `cargo xtask conformance --backend cockroach`, which starts a server")
    });
    // The text of a bad URL may hold a password.
    url.parse().unwrap_or_else(|_| panic!("{URL} is not a URL"))
}

async fn connect(server: &PgConnectOptions) -> PgConnection {
    server.connect().await.expect("the server answers")
}

async fn run(connection: &mut PgConnection, sql: String) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.expect("the server takes it");
}

async fn open(server: &PgConnectOptions, options: &Options) -> PostgresQueue {
    let pool = PgPoolOptions::new().max_connections(8).test_before_acquire(false);
    let pool = pool.connect_with(server.clone().statement_cache_capacity(100)).await;
    let mut config = PostgresConfig::pool(pool.expect("the server answers"));
    config.dialect = is_postgres().then_some(Engine::Cockroach);
    config.testing.is_on_postgres = is_postgres();
    config.testing.now_sql = Some(NOW);
    // It is to be off whatever this says.
    config.wake_up = WakeUpMode::Auto;
    config.options.visibility_timeout = options.visibility_timeout;
    config.options.retry = options.retry.clone();
    config.options.payload_bytes_max = options.payload_bytes_max;
    config.options.max_reclaims = options.max_reclaims;
    PostgresQueue::with_config(config).await.expect("the configuration is valid")
}

struct CockroachFixture {
    queue: PostgresQueue,
    options: Options,
    server: PgConnectOptions,
    clock: tokio::sync::Mutex<PgConnection>,
}

#[async_trait::async_trait]
impl Fixture for CockroachFixture {
    fn queue(&self) -> Arc<dyn Queue> {
        Arc::new(self.queue.clone())
    }

    async fn reopen(&self) -> Option<Arc<dyn Queue>> {
        Some(Arc::new(open(&self.server, &self.options).await))
    }

    async fn now(&self) -> Timestamp {
        let now = sqlx::query_scalar("SELECT at FROM conformance_clock");
        now.fetch_one(&mut *self.clock.lock().await).await.expect("the clock can be read")
    }

    async fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_micros()).expect("tests advance by hours");
        let moved = format!("UPDATE conformance_clock SET at = at + {by} * interval '1 microsecond'");
        run(&mut *self.clock.lock().await, moved).await;
    }

    fn clock_is_manual(&self) -> bool {
        true
    }
}
