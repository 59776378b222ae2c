//! Documents in database servers: those that TASKQUEUE_POSTGRES_URL, TASKQUEUE_MYSQL_URL and TASKQUEUE_MARIADB_URL
//! name. Each test has a table of its own.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod support;

use sqlx::{AssertSqlSafe, Connection, MySqlConnection, PgConnection};
use support::documents::behaves;
use support::events::unique;
use taskqueue_handlers::documents::SqlDocuments;

fn url(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} names a database server"))
}

/// An empty table, and the statement that drops it.
async fn table(url: &str) -> (SqlDocuments, AssertSqlSafe<String>) {
    let name = unique("documents").replace('-', "_");
    let store = SqlDocuments::open(url).unwrap().table(&name).unwrap();
    for _ in 0..2 {
        store.migrate().await.unwrap();
    }
    (store, AssertSqlSafe(format!("DROP TABLE {name}")))
}

#[tokio::test]
async fn documents_are_kept_in_postgres() {
    let url = url("TASKQUEUE_POSTGRES_URL");
    let (store, drop) = table(&url).await;
    behaves(store).await;
    sqlx::query(drop).execute(&mut PgConnection::connect(&url).await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn documents_are_kept_in_mysql_and_mariadb() {
    for variable in ["TASKQUEUE_MYSQL_URL", "TASKQUEUE_MARIADB_URL"] {
        let url = url(variable);
        let (store, drop) = table(&url).await;
        behaves(store).await;
        sqlx::query(drop).execute(&mut MySqlConnection::connect(&url).await.unwrap()).await.unwrap();
    }
}
