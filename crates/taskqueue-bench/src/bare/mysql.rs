//! The bound for MySQL and MariaDB: 14 columns and one that says whether a task was taken, which the one index has instead of the
//! status, so that a completion writes no index; a bigint key, rows that keep their width; prepared statements on bare connections.

use std::sync::Arc;

use anyhow::{Result, ensure};
use async_trait::async_trait;
use futures::future::try_join_all;
use sqlx::{AssertSqlSafe, Executor as _, MySqlConnection, Row as _};
use tokio::sync::Mutex;

use super::{Bare, CYCLE_BATCH, CYCLE_CONNECTIONS, Finish};
use crate::connections;
use crate::tasks::{PAYLOAD, TYPE};

const SCHEMA: &str = "CREATE TABLE bare (id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY, \
    type varchar(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, status smallint NOT NULL DEFAULT 0, \
    priority int NOT NULL, payload longtext NOT NULL, scheduled_at datetime(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), \
    started_at datetime(6) NOT NULL DEFAULT '1000-01-01', completed_at datetime(6) NOT NULL DEFAULT '1000-01-01', \
    retry_after datetime(6), attempts int NOT NULL DEFAULT 0, \
    max_retries int NOT NULL DEFAULT 3, last_error longtext, \
    created_at datetime(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), \
    updated_at datetime(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), \
    taken smallint NOT NULL DEFAULT 0, INDEX bare_pos (taken, priority, scheduled_at, id)) ENGINE = InnoDB";
/// The most rows of one statement: what is larger than 16 KiB may wait 40 ms for an acknowledgement, since the driver does
/// not set TCP_NODELAY.
const PIECE: usize = 64;
const INSERT: &str = "INSERT INTO bare (type, priority, payload) VALUES ";
const CLAIM: &str = "SELECT id, type, payload, attempts FROM bare FORCE INDEX (bare_pos) WHERE taken = 0 \
    ORDER BY priority, scheduled_at, id LIMIT ? FOR UPDATE SKIP LOCKED";
const TAKE: &str = "UPDATE bare SET status = 1, taken = 1, started_at = UTC_TIMESTAMP(6), updated_at = UTC_TIMESTAMP(6), \
    attempts = attempts + 1 WHERE id IN ";
const COMPLETE: &str =
    "UPDATE bare SET status = 2, completed_at = UTC_TIMESTAMP(6), updated_at = UTC_TIMESTAMP(6) WHERE id IN ";
const DELETE: &str = "DELETE FROM bare WHERE id IN ";

/// Bare connections to one database. Each is used by one client at a time, so its lock is never waited for.
pub(crate) struct BareMysql {
    clients: Vec<Arc<Mutex<MySqlConnection>>>,
}

impl BareMysql {
    /// Makes the table, and connects so often.
    pub(crate) async fn connect(url: &str, connections: usize) -> Result<Self> {
        let mut first = connections::mysql(url).await?;
        first.execute("DROP TABLE IF EXISTS bare").await?;
        first.execute(SCHEMA).await?;
        let connecting = (0..connections.max(CYCLE_CONNECTIONS)).map(|_| connections::mysql(url));
        let clients = try_join_all(connecting).await?;
        Ok(Self { clients: clients.into_iter().map(|client| Arc::new(Mutex::new(client))).collect() })
    }
}

async fn drain_with(client: Arc<Mutex<MySqlConnection>>, finish: Finish) -> Result<usize> {
    let mut connection = client.lock().await;
    let mut tasks = 0;
    loop {
        let ids = claim_again(&mut connection, CYCLE_BATCH).await?;
        if ids.is_empty() {
            return Ok(tasks);
        }
        update_again(&mut connection, if finish == Finish::Keep { COMPLETE } else { DELETE }, &ids).await?;
        tasks += ids.len();
    }
}

async fn claim_again(connection: &mut MySqlConnection, limit: usize) -> Result<Vec<i64>> {
    loop {
        match claim(connection, limit).await {
            Err(error) if is_deadlock(&error) => connection.execute("ROLLBACK").await?,
            ids => return ids,
        };
    }
}

async fn update_again(connection: &mut MySqlConnection, sql: &str, ids: &[i64]) -> Result<()> {
    loop {
        match update(connection, sql, ids).await {
            Err(error) if is_deadlock(&error) => {}
            completed => return completed,
        }
    }
}

async fn claim(connection: &mut MySqlConnection, limit: usize) -> Result<Vec<i64>> {
    connection.execute("BEGIN").await?;
    let rows = sqlx::query(CLAIM).bind(i64::try_from(limit)?).fetch_all(&mut *connection).await?;
    let mut ids = Vec::with_capacity(rows.len());
    for row in &rows {
        // A worker needs the payload, so it is read.
        let _payload: &str = row.try_get(2)?;
        ids.push(row.try_get(0)?);
    }
    if !ids.is_empty() {
        update(connection, TAKE, &ids).await?;
    }
    connection.execute("COMMIT").await?;
    Ok(ids)
}

/// InnoDB breaks a deadlock of the two claimers now and then: what it rolled back is done again.
fn is_deadlock(error: &anyhow::Error) -> bool {
    let database = error.downcast_ref::<sqlx::Error>().and_then(sqlx::Error::as_database_error);
    database.is_some_and(|error| error.code().is_some_and(|state| state == "40001"))
}

async fn update(connection: &mut MySqlConnection, sql: &str, ids: &[i64]) -> Result<()> {
    let sql = format!("{sql}({})", vec!["?"; ids.len()].join(","));
    let query = ids.iter().fold(sqlx::query(AssertSqlSafe(sql)), |query, id| query.bind(*id));
    let updated = query.execute(connection).await?.rows_affected();
    ensure!(updated == ids.len() as u64, "what is updated was there");
    Ok(())
}

async fn insert(connection: &mut MySqlConnection, tasks: usize) -> Result<()> {
    let sql = format!("{INSERT}{}", vec!["(?,?,?)"; tasks].join(","));
    let bind = |query: sqlx::query::Query<'static, _, _>, _| query.bind(TYPE).bind(5_i32).bind(PAYLOAD);
    (0..tasks).fold(sqlx::query(AssertSqlSafe(sql)), bind).execute(connection).await?;
    Ok(())
}

#[async_trait]
impl Bare for BareMysql {
    async fn fill(&self, tasks: usize) -> Result<()> {
        let mut connection = self.clients[0].lock().await;
        for start in (0..tasks).step_by(1_000) {
            insert(&mut connection, (tasks - start).min(1_000)).await?;
        }
        Ok(())
    }

    async fn drain(&self, finish: Finish) -> Result<usize> {
        let clients = self.clients.iter().take(CYCLE_CONNECTIONS).map(Arc::clone);
        let drained = try_join_all(clients.map(|client| tokio::spawn(drain_with(client, finish)))).await?;
        drained.into_iter().sum()
    }

    async fn insert(&self, client: usize) -> Result<()> {
        insert(&mut *self.clients[client].lock().await, 1).await
    }

    async fn insert_in_transaction(&self, client: usize) -> Result<()> {
        let mut connection = self.clients[client].lock().await;
        connection.execute("BEGIN").await?;
        insert(&mut connection, 1).await?;
        connection.execute("COMMIT").await?;
        Ok(())
    }

    async fn insert_many(&self, client: usize, tasks: usize) -> Result<()> {
        let mut connection = self.clients[client].lock().await;
        if tasks <= PIECE {
            return insert(&mut connection, tasks).await;
        }
        connection.execute("BEGIN").await?;
        for start in (0..tasks).step_by(PIECE) {
            insert(&mut connection, (tasks - start).min(PIECE)).await?;
        }
        connection.execute("COMMIT").await?;
        Ok(())
    }

    async fn claim(&self, client: usize, limit: usize) -> Result<Vec<i64>> {
        claim_again(&mut *self.clients[client].lock().await, limit).await
    }

    async fn complete(&self, client: usize, keys: &[i64]) -> Result<()> {
        update_again(&mut *self.clients[client].lock().await, COMPLETE, keys).await
    }
}
