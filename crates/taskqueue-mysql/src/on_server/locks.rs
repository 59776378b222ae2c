//! Guards over what the real engines lock for the statements of a claim: `FOR UPDATE SKIP LOCKED` locks all that it
//! scans, and a plan with a sort scans all candidates.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection};
use taskqueue_core::{NewTask, Queue, TaskId};

use crate::claim::Literal;
use crate::config::NOW;
use crate::{MysqlConfig, MysqlQueue};

const BEGIN: &str = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; \
                     SET SESSION innodb_lock_wait_timeout = 1; START TRANSACTION";

/// A queue in a database of its own.
pub(super) struct Bed {
    pub(super) queue: MysqlQueue,
    pub(super) url: String,
    name: String,
}

impl Bed {
    pub(super) async fn new(variable: &str) -> Self {
        let server =
            std::env::var(variable).unwrap_or_else(|_| panic!("no server: set {variable} to the URL of one"));
        let name = format!("tq_{}", TaskId::generate().as_uuid().simple());
        let mut connection = MySqlConnection::connect(&server).await.unwrap();
        connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
        let (place, _) = server.rsplit_once('/').unwrap();
        let url = format!("{place}/{name}");
        let queue = MysqlQueue::with_config(MysqlConfig::url(&url).unwrap()).await.unwrap();
        queue.migrate().await.unwrap();
        Self { queue, url, name }
    }

    pub(super) async fn enqueue(&self, count: usize) {
        let task = |_| NewTask::raw("mail", "{}").unwrap();
        self.queue.enqueue_many((0..count).map(task).collect()).await.unwrap();
    }

    /// A session inside a transaction.
    pub(super) async fn session(&self) -> MySqlConnection {
        let mut session = MySqlConnection::connect(&self.url).await.unwrap();
        session.execute(BEGIN).await.unwrap();
        session
    }

    pub(super) async fn end(self) {
        self.queue.close().await;
        let mut connection = MySqlConnection::connect(&self.url).await.unwrap();
        connection.execute(AssertSqlSafe(format!("DROP DATABASE {}", self.name))).await.unwrap();
    }
}

fn literal() -> Literal {
    Literal::new(&crate::TableName::default(), NOW)
}

/// Locks as a claim does; answers how many tasks.
async fn take(session: &mut MySqlConnection, limit: i64) -> usize {
    let take = sqlx::query(AssertSqlSafe(literal().take(1, 0))).bind(0_i16).bind("mail").bind(limit);
    take.fetch_all(session).await.unwrap().len()
}

async fn a_claim_locks_only_what_it_takes(variable: &str) {
    let bed = Bed::new(variable).await;
    bed.enqueue(1_000).await;
    let (mut first, mut second) = (bed.session().await, bed.session().await);

    assert_eq!(take(&mut first, 300).await, 300);
    assert_eq!(take(&mut second, 1_000).await, 700, "all that the first claim has not taken, at once");

    drop((first, second));
    bed.end().await;
}

async fn an_idle_poll_locks_nothing(variable: &str) {
    let bed = Bed::new(variable).await;
    let mut poll = bed.session().await;
    for _ in 0..2 {
        let heads = sqlx::query(AssertSqlSafe(literal().heads(1, 0)));
        let heads = heads.bind(0_i16).bind("mail").bind("mail").bind(10_i64).bind(10_i64);
        assert!(heads.fetch_all(&mut poll).await.unwrap().is_empty());
        assert_eq!(take(&mut poll, 10).await, 0);
    }

    bed.enqueue(10).await;

    assert_eq!(
        bed.queue.contention_retries(),
        0,
        "nothing stood in its way while the poll's transaction is open"
    );
    drop(poll);
    bed.end().await;
}

#[tokio::test]
async fn mysql_locks_only_what_a_claim_takes() {
    a_claim_locks_only_what_it_takes("TASKQUEUE_MYSQL_URL").await;
}

#[tokio::test]
async fn mariadb_locks_only_what_a_claim_takes() {
    a_claim_locks_only_what_it_takes("TASKQUEUE_MARIADB_URL").await;
}

#[tokio::test]
async fn mysql_locks_nothing_for_an_idle_poll() {
    an_idle_poll_locks_nothing("TASKQUEUE_MYSQL_URL").await;
}

#[tokio::test]
async fn mariadb_locks_nothing_for_an_idle_poll() {
    an_idle_poll_locks_nothing("TASKQUEUE_MARIADB_URL").await;
}
