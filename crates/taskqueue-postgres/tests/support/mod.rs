//! Where the server under test is, and how to say something to it. It knows no queue.

use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};

const URL: &str = "TASKQUEUE_POSTGRES_URL";
/// A URL past the pooler, of a user that may create databases. Without it the first URL is taken.
const ADMIN_URL: &str = "TASKQUEUE_POSTGRES_ADMIN_URL";
/// Set where the first URL leads to a pooler in transaction mode.
const UNPREPARED: &str = "TASKQUEUE_POSTGRES_UNPREPARED";

/// Where queues connect. A server that was asked for and is not named is a failure, never a pass.
pub(crate) fn server() -> PgConnectOptions {
    let url = std::env::var(URL).unwrap_or_else(|_| {
        panic!("{URL} is not set: run `cargo xtask conformance --backend postgres`, which starts a server")
    });
    options(URL, &url)
}

/// Where databases are made and sessions keep their state.
pub(crate) fn direct() -> PgConnectOptions {
    match std::env::var(ADMIN_URL) {
        Ok(url) => options(ADMIN_URL, &url),
        Err(_) if prepares() => server(),
        Err(_) => panic!("{UNPREPARED} is set: set {ADMIN_URL} to a URL that passes the pooler by"),
    }
}

/// Whether queues may keep prepared statements.
pub(crate) fn prepares() -> bool {
    std::env::var_os(UNPREPARED).is_none()
}

/// Runs statements on a connection of their own.
pub(crate) async fn execute(options: &PgConnectOptions, sql: String) -> sqlx::Result<()> {
    let mut connection: PgConnection = options.connect().await?;
    say(&mut connection, sql).await?;
    connection.close().await
}

/// Runs statements.
pub(crate) async fn say(connection: &mut PgConnection, sql: String) -> sqlx::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.map(drop)
}

fn options(variable: &str, url: &str) -> PgConnectOptions {
    // The text of a bad URL may hold a password.
    let options = PgConnectOptions::from_str(url).unwrap_or_else(|_| panic!("{variable} is not a URL"));
    if prepares() { options } else { options.statement_cache_capacity(0) }
}
