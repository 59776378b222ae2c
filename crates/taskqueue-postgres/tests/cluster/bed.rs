//! The two servers, the address that leads to one of them, and the short words that keep a test readable.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};
use taskqueue_conformance::{Node, Proxy, Servers};
pub(crate) use taskqueue_conformance::{assert_unavailable, wait_a_moment, wait_until, wait_until_ok};
use taskqueue_postgres::{
    Claim, ClaimRequest, NewTask, PostgresConfig, PostgresQueue, Queue, Status, TaskType, WorkerId,
};
use tokio::net::TcpStream;

/// Far more than anything here takes, also on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A primary and its replica, and the address by which queues find one of them: the primary at first.
pub(crate) struct Cluster {
    servers: Servers,
    pub(crate) proxy: Proxy,
}

impl Cluster {
    /// One whose commits are on both servers when they are answered.
    pub(crate) async fn synchronous() -> Self {
        let servers = Servers::cluster().await;
        let proxy = Proxy::before(&address(&servers.nodes()[0])).await;
        Self { servers, proxy }
    }

    /// One whose commits are on the primary when they are answered.
    pub(crate) async fn asynchronous() -> Self {
        let cluster = Self::synchronous().await;
        say(cluster.primary(), "ALTER SYSTEM SET synchronous_standby_names = ''").await;
        say(cluster.primary(), "SELECT pg_reload_conf()").await;
        cluster
    }

    /// The server that was the primary at first.
    pub(crate) fn primary(&self) -> &Node {
        &self.servers.nodes()[0]
    }

    /// The server that was the replica at first.
    pub(crate) fn replica(&self) -> &Node {
        &self.servers.nodes()[1]
    }

    /// A queue that goes by the address, with its tables.
    pub(crate) async fn queue(&self) -> PostgresQueue {
        self.queue_with(|_| {}).await
    }

    /// The same with other settings.
    pub(crate) async fn queue_with(&self, set: impl FnOnce(&mut PostgresConfig)) -> PostgresQueue {
        let mut config = PostgresConfig::url(self.options(self.primary()).to_url_lossy().as_str()).unwrap();
        set(&mut config);
        let queue = PostgresQueue::with_config(config).await.unwrap();
        queue.migrate().await.unwrap();
        queue
    }

    /// How a queue goes by the address.
    pub(crate) fn options(&self, node: &Node) -> PgConnectOptions {
        options(node).host("127.0.0.1").port(self.proxy.address().port())
    }

    /// The address leads to this server from now on; connections that are there stay where they are.
    pub(crate) fn lead_to(&self, node: &Node) {
        self.proxy.lead_to(&address(node));
    }

    /// The primary is killed, the replica takes over, and the address leads there.
    pub(crate) async fn fail_over(&self) {
        self.primary().kill().await;
        self.promote().await;
        self.proxy.cut().await;
    }

    /// The replica becomes a primary, and the address leads there.
    pub(crate) async fn promote(&self) {
        say(self.replica(), "SELECT pg_promote()").await;
        self.lead_to(self.replica());
    }

    /// The replica has all that was committed so far, and gets nothing from now on.
    pub(crate) async fn part(&self) {
        let at = ask(self.primary(), "SELECT pg_current_wal_lsn()::text").await;
        let is_there = format!("SELECT (pg_last_wal_replay_lsn() >= '{at}')::text");
        wait_until_says(self.replica(), &is_there, "true").await;
        say(self.replica(), "ALTER SYSTEM SET primary_conninfo = ''").await;
        say(self.replica(), "SELECT pg_reload_conf()").await;
        wait_until_says(self.replica(), "SELECT count(*)::text FROM pg_stat_wal_receiver", "0").await;
        wait_until_says(self.primary(), "SELECT count(*)::text FROM pg_stat_replication", "0").await;
    }

    /// The primary is shut down in good order, and comes back as a replica of the other server, which is a primary by then.
    pub(crate) async fn switch_over(&self) {
        let host = self.replica().run(&["hostname"]).await;
        let follow = format!("ALTER SYSTEM SET primary_conninfo = 'host={} user=postgres'", host.trim());
        say(self.primary(), &follow).await;
        say(self.primary(), "ALTER SYSTEM SET synchronous_standby_names = ''").await;
        let stop = "touch \"${PGDATA:-/var/lib/postgresql/data}/standby.signal\"; kill -INT 1";
        self.primary().run(&["sh", "-c", stop]).await;
        wait_until("it stops", async || TcpStream::connect(address(self.primary())).await.is_err()).await;
        say(self.replica(), "SELECT pg_promote()").await;
        self.primary().start().await;
        wait_until("it is a replica", async || is_standby(self.primary()).await.unwrap_or(false)).await;
    }
}

async fn is_standby(node: &Node) -> sqlx::Result<bool> {
    let mut connection = options(node).connect().await?;
    sqlx::raw_sql("SELECT pg_is_in_recovery()").fetch_one(&mut connection).await?.try_get(0)
}

fn options(node: &Node) -> PgConnectOptions {
    PgConnectOptions::from_str(&node.url()).expect("it is a URL")
}

fn address(node: &Node) -> String {
    let options = options(node);
    format!("{}:{}", options.get_host(), options.get_port())
}

/// Says something to a server, past the proxy.
pub(crate) async fn say(node: &Node, sql: &str) {
    let mut connection = options(node).connect().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// Asks a server for a text, past the proxy.
pub(crate) async fn ask(node: &Node, sql: &str) -> String {
    let mut connection = options(node).connect().await.unwrap();
    let row = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    row.try_get(0).unwrap()
}

/// Asks until this is the answer.
pub(crate) async fn wait_until_says(node: &Node, sql: &str, answer: &str) {
    wait_until(sql, async || ask(node, sql).await == answer).await;
}

pub(crate) fn mail() -> TaskType {
    TaskType::new("mail").unwrap()
}

pub(crate) fn task() -> NewTask {
    NewTask::raw("mail", "{}").unwrap()
}

pub(crate) fn tasks(count: usize) -> Vec<NewTask> {
    (0..count).map(|_| task()).collect()
}

/// A claim of so many, leased for long.
pub(crate) fn request(limit: usize) -> ClaimRequest {
    ClaimRequest::new(WorkerId::new("ada").unwrap(), [mail()], limit)
}

pub(crate) async fn claim_one(queue: &PostgresQueue) -> Claim {
    let mut claims = wait_until_ok(async || queue.dequeue_many(&request(1)).await).await;
    claims.pop().expect("a task is ready")
}

/// Claims until there are so many. What is behind a queue's cursors, as all that another server has may be, is looked for less
/// often where that takes long.
pub(crate) async fn claim_all(queue: &PostgresQueue, count: usize) -> Vec<Claim> {
    let mut claims = Vec::new();
    wait_until("all are claimed", async || {
        claims.extend(wait_until_ok(async || queue.dequeue_many(&request(count)).await).await);
        claims.len() >= count
    })
    .await;
    claims
}

/// Asserts that the statistics are what a count of the rows gives.
pub(crate) async fn assert_stats_match_the_rows(queue: &PostgresQueue, node: &Node) {
    let stats = queue.stats().await.unwrap();
    let of = [
        (Status::Completed, stats.completed, "= 3"),
        (Status::Running, stats.running, "= 2"),
        (Status::Pending, stats.pending, "IN (0, 1)"),
        (Status::Failed, stats.failed, "= 4"),
        (Status::DeadLetter, stats.dead_letter, "= 5"),
        (Status::Cancelled, stats.cancelled, "= 6"),
    ];
    for (status, counted, stored) in of {
        let rows = ask(node, &format!("SELECT count(*)::text FROM tasks WHERE status {stored}")).await;
        assert_eq!(counted.to_string(), rows, "{status:?}");
    }
}
