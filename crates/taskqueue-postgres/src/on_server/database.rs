//! A database for one test, and what is said to it.

use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use taskqueue_core::TaskId;

/// A database of its own, dropped at the end.
pub(super) struct Database {
    url: PgConnectOptions,
    name: String,
}

impl Database {
    /// An empty one.
    pub(super) async fn create() -> Self {
        let url = std::env::var("TASKQUEUE_POSTGRES_URL")
            .unwrap_or_else(|_| panic!("no server: set TASKQUEUE_POSTGRES_URL to the URL of one"));
        let name = format!("tq_{}", TaskId::generate().as_uuid().simple());
        let database = Self { url: url.parse().unwrap(), name };
        run(&mut connect(&database.url).await, format!("CREATE DATABASE {}", database.name)).await;
        database
    }

    /// Where it is.
    pub(super) fn options(&self) -> PgConnectOptions {
        self.url.clone().database(&self.name)
    }

    pub(super) async fn connect(&self) -> PgConnection {
        connect(&self.options()).await
    }

    /// The server gives up where a session of the database does not end in time; that is no fault of the test's.
    pub(super) async fn drop(self) {
        let sql = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        let dropped = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connect(&self.url).await).await;
        if let Err(error) = dropped {
            eprintln!("a database of this test stays behind: {error}");
        }
    }
}

async fn connect(options: &PgConnectOptions) -> PgConnection {
    PgConnection::connect_with(options).await.unwrap()
}

/// Runs statements; answers the rows.
pub(super) async fn run(connection: &mut PgConnection, sql: String) -> Vec<PgRow> {
    let failed = sql.clone();
    let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(connection).await;
    rows.unwrap_or_else(|error| panic!("{failed}: {error}"))
}
