//! Documents in the database servers that TASKQUEUE_POSTGRES_URL, TASKQUEUE_MYSQL_URL and TASKQUEUE_MARIADB_URL name,
//! each as a user that may create databases. Each engine's tests are in the module of its name.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod support;

use futures::future::join_all;
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection, PgConnection};
use support::documents::behaves;
use support::events::unique;
use taskqueue_handlers::documents::{DocumentId, DocumentStore, SqlDocuments};

const ID: DocumentId<'_> = DocumentId { kind: "notification", name: "photos" };

macro_rules! on_every_server {
    ($($test:ident,)*) => {
        mod postgres { $(#[tokio::test] async fn $test() { super::$test("TASKQUEUE_POSTGRES_URL").await; })* }
        mod mysql { $(#[tokio::test] async fn $test() { super::$test("TASKQUEUE_MYSQL_URL").await; })* }
        mod mariadb { $(#[tokio::test] async fn $test() { super::$test("TASKQUEUE_MARIADB_URL").await; })* }
    };
}

on_every_server! {
    documents_are_kept,
    workers_that_start_together_all_find_the_table,
    a_worker_that_may_make_no_table_works_with_the_one_that_is_there,
}

async fn documents_are_kept(variable: &str) {
    let database = Database::create(variable).await;
    behaves(database.documents().await).await;
    database.drop().await;
}

/// Each worker makes the table where it is missing, and a deployment starts many at once.
async fn workers_that_start_together_all_find_the_table(variable: &str) {
    let database = Database::create(variable).await;
    let stores: Vec<_> = (0..8).map(|_| SqlDocuments::open(&database.url).unwrap()).collect();
    for made in join_all(stores.iter().map(SqlDocuments::migrate)).await {
        made.unwrap();
    }
    stores[0].put(ID, "{}").await.unwrap();
    assert_eq!(stores[7].get(ID).await.unwrap().as_deref(), Some("{}"));
    database.drop().await;
}

async fn a_worker_that_may_make_no_table_works_with_the_one_that_is_there(variable: &str) {
    let database = Database::create(variable).await;
    database.documents().await;
    let store = SqlDocuments::open(&database.restricted().await).unwrap();
    store.migrate().await.unwrap();
    store.put(ID, "[1]").await.unwrap();
    assert_eq!(store.get(ID).await.unwrap().as_deref(), Some("[1]"));
    assert!(store.table("others").unwrap().migrate().await.is_err(), "it made a table");
    database.drop().await;
}

/// A database of a test's own.
struct Database {
    /// Of the server, for the user that may create databases.
    server: String,
    url: String,
    name: String,
}

impl Database {
    async fn create(variable: &str) -> Self {
        let server = std::env::var(variable).unwrap_or_else(|_| panic!("{variable} names a database server"));
        let name = unique("documents").replace('-', "_");
        execute(&server, format!("CREATE DATABASE {name}")).await;
        let database = Self { url: with(&server, None, &name), server, name };
        if database.is_postgres() {
            // As it is from version 15 on.
            execute(&database.url, "REVOKE CREATE ON SCHEMA public FROM PUBLIC".to_owned()).await;
        }
        database
    }

    /// Those of a worker that has made the table.
    async fn documents(&self) -> SqlDocuments {
        let store = SqlDocuments::open(&self.url).unwrap();
        for _ in 0..2 {
            store.migrate().await.unwrap();
        }
        store
    }

    /// The URL for a new user, who may do with the documents what a worker does, and nothing else.
    async fn restricted(&self) -> String {
        let (user, rights) = (self.user(), "SELECT, INSERT, UPDATE, DELETE");
        let (made, table) = if self.is_postgres() {
            (format!("CREATE ROLE {user} LOGIN PASSWORD 'restricted'"), "task_documents".to_owned())
        } else {
            let table = format!("{}.task_documents", self.name);
            (format!("CREATE USER {user} IDENTIFIED BY 'restricted'"), table)
        };
        execute(&self.url, made).await;
        execute(&self.url, format!("GRANT {rights} ON {table} TO {user}")).await;
        with(&self.server, Some(&format!("{user}:restricted")), &self.name)
    }

    /// The end of the database's name, as users' names are short in MySQL.
    fn user(&self) -> String {
        format!("u{}", &self.name[self.name.len() - 20..])
    }

    fn is_postgres(&self) -> bool {
        self.server.starts_with("postgres")
    }

    async fn drop(self) {
        let (force, user) = if self.is_postgres() { (" WITH (FORCE)", "ROLE") } else { ("", "USER") };
        execute(&self.server, format!("DROP DATABASE {}{force}", self.name)).await;
        execute(&self.server, format!("DROP {user} IF EXISTS {}", self.user())).await;
    }
}

/// The URL of a server with another database, and another user and password.
fn with(server: &str, user: Option<&str>, database: &str) -> String {
    let (scheme, rest) = server.split_once("://").unwrap();
    let (own, rest) = rest.rsplit_once('@').unwrap();
    let address = rest.split('/').next().unwrap();
    format!("{scheme}://{}@{address}/{database}", user.unwrap_or(own))
}

async fn execute(url: &str, sql: String) {
    let statement = sqlx::raw_sql(AssertSqlSafe(sql));
    if url.starts_with("postgres") {
        PgConnection::connect(url).await.unwrap().execute(statement).await.unwrap();
    } else {
        MySqlConnection::connect(url).await.unwrap().execute(statement).await.unwrap();
    }
}
