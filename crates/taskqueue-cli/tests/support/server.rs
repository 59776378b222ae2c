//! Real servers: a database of a test's own, and what a test does to it beside the program. It knows no queue.

use sqlx::mysql::MySqlConnection;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Database as Driver, Executor};

/// A kind of server, which the environment names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Server {
    /// The variable with the URL of a user that may create databases.
    variable: &'static str,
    /// How the engine names itself.
    pub(crate) engine: &'static str,
    /// How the program names it.
    pub(crate) shown: &'static str,
}

pub(crate) const POSTGRES: Server =
    Server { variable: "TASKQUEUE_POSTGRES_URL", engine: "postgres", shown: "PostgreSQL" };
pub(crate) const MYSQL: Server =
    Server { variable: "TASKQUEUE_MYSQL_URL", engine: "mysql", shown: "MySQL or MariaDB" };
pub(crate) const MARIADB: Server =
    Server { variable: "TASKQUEUE_MARIADB_URL", engine: "mariadb", shown: "MariaDB" };

/// A database that is dropped with this value.
#[derive(Debug)]
pub(crate) struct Database {
    server: String,
    name: String,
}

impl Server {
    /// A new, empty database. A server that was asked for and is not there is a failure, never a pass.
    pub(crate) fn database(self) -> Database {
        let Self { variable, engine, .. } = self;
        let server = std::env::var(variable).unwrap_or_else(|_| {
            panic!("no server: {variable} is not set; name the servers that you have, as `cargo test … {engine}::`")
        });
        let name = format!("taskqueue_cli_{:016x}", rand::random::<u64>());
        run(&server, &format!("CREATE DATABASE {name}")).expect("the server makes a database");
        Database { server, name }
    }
}

impl Database {
    /// The URL of this database.
    pub(crate) fn url(&self) -> String {
        self.with_name(&self.name)
    }

    /// The URL of another database of this server.
    pub(crate) fn with_name(&self, name: &str) -> String {
        let (scheme, user, address) = self.parts();
        format!("{scheme}://{user}@{address}/{name}")
    }

    /// The URL with another password.
    pub(crate) fn with_password(&self, password: &str) -> String {
        let (scheme, user, address) = self.parts();
        let user = user.split(':').next().unwrap_or_default();
        format!("{scheme}://{user}:{password}@{address}/{}", self.name)
    }

    /// The URL with another port.
    pub(crate) fn with_port(&self, port: u16) -> String {
        let (scheme, _, address) = self.parts();
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        format!("{scheme}://ada:s3cr3t@{host}:{port}/{}", self.name)
    }

    /// Runs a script, as another tool would.
    pub(crate) fn apply(&self, script: &str) {
        run(&self.url(), script).expect("the server runs the script");
    }

    /// How many tables there are.
    pub(crate) fn tables(&self) -> i64 {
        let schema = if self.server.starts_with("postgres") { "public" } else { self.name.as_str() };
        let sql = format!("SELECT count(*) FROM information_schema.tables WHERE table_schema = '{schema}'");
        let url = self.url();
        let count = block_on(async {
            if url.starts_with("postgres") {
                let mut connection = PgConnection::connect(&url).await?;
                sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut connection).await
            } else {
                let mut connection = MySqlConnection::connect(&url).await?;
                sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut connection).await
            }
        });
        count.expect("the server counts them")
    }

    fn parts(&self) -> (&str, &str, &str) {
        let (scheme, rest) = self.server.split_once("://").expect("the variable holds a URL");
        let (user, rest) = rest.rsplit_once('@').expect("the URL names a user");
        (scheme, user, rest.split('/').next().unwrap_or_default())
    }
}

impl Drop for Database {
    /// The server gives up where a session of the database does not end in time; that is no fault of the test's.
    fn drop(&mut self) {
        let force = if self.server.starts_with("postgres") { " WITH (FORCE)" } else { "" };
        if let Err(error) = run(&self.server, &format!("DROP DATABASE {}{force}", self.name)) {
            eprintln!("a database of this test stays behind: {error}");
        }
    }
}

fn run(url: &str, sql: &str) -> sqlx::Result<()> {
    if url.starts_with("postgres") {
        block_on(execute::<sqlx::Postgres>(url, sql))
    } else {
        block_on(execute::<sqlx::MySql>(url, sql))
    }
}

async fn execute<D: Driver>(url: &str, sql: &str) -> sqlx::Result<()>
where
    for<'c> &'c mut D::Connection: Executor<'c, Database = D>,
{
    let mut connection = D::Connection::connect(url).await?;
    connection.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await?;
    connection.close().await
}

fn block_on<T>(work: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("the host lets the test start a runtime").block_on(work)
}
