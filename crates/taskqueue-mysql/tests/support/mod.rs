//! Real servers under test: a database of its own for each test, with a clock that the test moves. It knows no
//! behaviour.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::mysql::MySqlConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, MySqlConnection};
use taskqueue_conformance::{Fixture, Harness, Options};
use taskqueue_mysql::{Clock, ManualClock, MysqlConfig, MysqlQueue, Queue, Scanning, TaskId, Timestamp};

/// A server that the environment names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Server {
    /// The environment variable with the URL of a user that may create databases.
    pub(crate) variable: &'static str,
    /// How the queue must name the engine.
    pub(crate) engine: &'static str,
    /// How to start one.
    pub(crate) docker: &'static str,
    /// Over how many shards the suite's tasks are spread.
    pub(crate) shards: u16,
}

pub(crate) const MYSQL: Server = Server {
    variable: "TASKQUEUE_MYSQL_URL",
    engine: "mysql",
    docker: "docker run -p 127.0.0.1:3306:3306 -e MYSQL_ROOT_PASSWORD=test mysql:9.7",
    shards: 1,
};

pub(crate) const MARIADB: Server = Server {
    variable: "TASKQUEUE_MARIADB_URL",
    engine: "mariadb",
    docker: "docker run -p 127.0.0.1:3306:3306 -e MARIADB_ROOT_PASSWORD=test mariadb:11.8",
    shards: 1,
};

impl Server {
    /// The server's URL. A server that was asked for and is not there is a failure, never a pass.
    pub(crate) fn url(&self) -> String {
        std::env::var(self.variable).unwrap_or_else(|_| {
            let Self { variable, docker, .. } = self;
            panic!("no server: set {variable} to the URL of a user that may create databases; for one, run `{docker}` and set mysql://root:test@127.0.0.1:3306")
        })
    }

    /// A new, empty database.
    pub(crate) async fn database(&self) -> Database {
        let database =
            Database { url: self.url(), name: format!("tq_{}", TaskId::generate().as_uuid().simple()) };
        database
            .admin(&format!("CREATE DATABASE {}", database.name))
            .await
            .expect("the user may create databases");
        database
    }
}

/// A database that is dropped with this value.
#[derive(Debug)]
pub(crate) struct Database {
    url: String,
    name: String,
}

impl Database {
    /// The URL of this database.
    pub(crate) fn url(&self) -> String {
        let (server, parameters) = self.url.split_once('?').unwrap_or((&self.url, ""));
        let authority = server.find("://").map_or(0, |scheme| scheme + 3);
        let end = server[authority..].find('/').map_or(server.len(), |path| authority + path);
        format!("{}/{}?{parameters}", &server[..end], self.name)
    }

    /// The queue's settings for this database.
    pub(crate) fn config(&self) -> MysqlConfig {
        MysqlConfig::url(&self.url()).expect("the variable holds a URL")
    }

    /// A connection to this database, beside the queue's.
    pub(crate) async fn connect(&self) -> MySqlConnection {
        let options: MySqlConnectOptions = self.url().parse().expect("the variable holds a URL");
        options.connect().await.expect("the server is there")
    }

    async fn admin(&self, sql: &str) -> sqlx::Result<()> {
        let mut connection = MySqlConnection::connect(&self.url).await?;
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await?;
        connection.close().await
    }
}

impl Drop for Database {
    /// On a thread and a runtime of its own, since the test's may be going down.
    fn drop(&mut self) {
        let Self { url, name } = self;
        let database = Database { url: std::mem::take(url), name: std::mem::take(name) };
        let drops = std::thread::spawn(move || {
            let database = std::mem::ManuallyDrop::new(database);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let sql = format!("DROP DATABASE {}", database.name);
            let dropping =
                async { tokio::time::timeout(Duration::from_secs(30), database.admin(&sql)).await };
            runtime.block_on(dropping).map_err(std::io::Error::other)?.map_err(std::io::Error::other)
        });
        let dropped = drops.join().unwrap_or_else(|_| Err(std::io::Error::other("the thread panicked")));
        if let Err(error) = dropped {
            eprintln!("a database of this test stays behind: {error}");
        }
    }
}

#[async_trait]
impl Harness for Server {
    async fn fresh(&self, options: Options) -> Box<dyn Fixture> {
        let database = self.database().await;
        let mut clock = database.connect().await;
        // With a key, which a group asks of each table.
        let start =
            "CREATE TABLE conformance_clock (one int PRIMARY KEY, at datetime(6) NOT NULL) ENGINE = InnoDB";
        sqlx::query(start).execute(&mut clock).await.expect("the database takes tables");
        let start = sqlx::query("INSERT INTO conformance_clock VALUES (1, ?)")
            .bind(ManualClock::default().now().naive_utc());
        start.execute(&mut clock).await.expect("the clock starts");
        let mut config = database.config();
        config.options.visibility_timeout = options.visibility_timeout;
        config.options.retry = options.retry;
        config.options.payload_bytes_max = options.payload_bytes_max;
        config.options.max_reclaims = options.max_reclaims;
        config.testing.now_sql = Cow::Borrowed("(SELECT at FROM conformance_clock)");
        // Every claim goes by cursors, and what they pass over is looked for at once, as the model does.
        config.testing.scanning = Scanning { slow: Duration::ZERO, rests: 0 };
        config.shards = Some(self.shards);
        let queue = open(config.clone()).await;
        // Other instances find out.
        config.shards = None;
        queue.migrate().await.expect("the database takes the tables");
        let backend = queue.backend().await.expect("the server says what it is");
        assert_eq!(backend.name, self.engine, "{} names another engine", self.variable);
        let fixture = ServerFixture {
            queue: Arc::new(queue),
            config,
            clock: tokio::sync::Mutex::new(clock),
            _database: database,
        };
        Box::new(fixture)
    }

    fn is_ordered(&self) -> bool {
        self.shards == 1
    }
}

async fn open(config: MysqlConfig) -> MysqlQueue {
    MysqlQueue::with_config(config).await.expect("the server is there")
}

struct ServerFixture {
    queue: Arc<MysqlQueue>,
    config: MysqlConfig,
    clock: tokio::sync::Mutex<MySqlConnection>,
    _database: Database,
}

#[async_trait]
impl Fixture for ServerFixture {
    fn queue(&self) -> Arc<dyn Queue> {
        self.queue.clone()
    }

    async fn reopen(&self) -> Option<Arc<dyn Queue>> {
        Some(Arc::new(open(self.config.clone()).await))
    }

    async fn now(&self) -> Timestamp {
        let mut clock = self.clock.lock().await;
        let now = sqlx::query_scalar("SELECT at FROM conformance_clock");
        now.fetch_one(&mut *clock).await.expect("the clock can be read")
    }

    async fn advance(&self, by: Duration) {
        let micros = i64::try_from(by.as_micros()).expect("no test waits so long");
        let mut clock = self.clock.lock().await;
        let advance =
            sqlx::query("UPDATE conformance_clock SET at = at + INTERVAL ? MICROSECOND").bind(micros);
        advance.execute(&mut *clock).await.expect("the clock moves");
    }

    fn clock_is_manual(&self) -> bool {
        true
    }
}
