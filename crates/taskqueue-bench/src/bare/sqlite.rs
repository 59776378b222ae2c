//! The bound for SQLite: the statements of a cycle as `taskqueue-sqlite` runs them, one after the other on one bare
//! connection. No queue, no validation, no errors told apart, no task built from a row.

use anyhow::{Result, ensure};
use async_trait::async_trait;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _, SqliteConnection};
use taskqueue_core::{Clock, LeaseToken, NewTask, SystemClock};
use tokio::sync::Mutex;

use super::{Bare, CYCLE_BATCH, Finish};
use crate::tasks::{TYPE, Workload};

/// The rows of one INSERT, largest first.
const INSERT_ROWS: [usize; 7] = [64, 32, 16, 8, 4, 2, 1];
const LEASE_MICROS: i64 = 300_000_000;

const CANDIDATES: &str = "SELECT seq, queue_rank, queue_at FROM tasks INDEXED BY tasks_pos \
    WHERE shard = 0 AND status = 0 AND type = ?2 \
    AND NOT EXISTS (SELECT 1 FROM tasks_paused WHERE type = ?2) ORDER BY 2, 3, 1 LIMIT ?1";
const TAKE: &str = "UPDATE tasks SET status = 2, queue_rank = 0, queue_at = ?1, attempts = attempts + 1, \
    lease_token = ?2, lease_number = lease_number + 1, lease_until = ?3, heartbeat_at = ?1, worker_id = ?4, \
    started_at = ?1, updated_at = ?1 WHERE seq IN (SELECT value FROM json_each(?5)) AND status = 0 \
    RETURNING id, type, status, priority, payload, scheduled_at, started_at, completed_at, due_at, attempts, \
    max_retries, last_error, created_at, updated_at, region, worker_id, unique_key, reclaims, metadata, \
    lease_token, lease_number, lease_until, seq";
const COMPLETE: &str = "UPDATE tasks SET status = 3, queue_at = ?1, completed_at = ?1, lease_until = NULL, \
    unique_held = NULL, updated_at = ?1 FROM json_each(?2) AS given \
    WHERE tasks.shard = 0 AND tasks.id = unhex(substr(given.value, 1, 32)) AND status = 2 \
    AND lease_token = CAST(substr(given.value, 33) AS INTEGER) RETURNING tasks.id, ?1 - started_at";
const ADD_TOTAL: &str = "INSERT INTO tasks_totals (type, status, slot, tasks, busy_us) VALUES (?1, 3, 0, ?2, ?3) \
    ON CONFLICT (type, status, slot) DO UPDATE SET tasks = tasks + excluded.tasks, \
    busy_us = busy_us + excluded.busy_us";

/// One connection to a file that has been migrated.
#[derive(Debug)]
pub(crate) struct BareSqlite {
    connection: SqliteConnection,
    inserts: Vec<(usize, String)>,
}

impl BareSqlite {
    /// Connects with the settings of a durable queue's writer.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) async fn connect(path: &str) -> Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .row_buffer_size(512)
            .pragma("cache_size", "-16384")
            .foreign_keys(false)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        let inserts = INSERT_ROWS.map(|rows| (rows, insert(rows))).to_vec();
        Ok(Self { connection: options.connect().await?, inserts })
    }

    /// Enqueues the tasks, claims as many, and completes them: three transactions.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) async fn cycle(&mut self, tasks: &[NewTask]) -> Result<()> {
        let Some(task) = tasks.first() else { return Ok(()) };
        let task_type = task.task_type.as_str();
        self.enqueue(tasks).await?;
        let leases = self.claim(task_type, tasks.len()).await?;
        ensure!(leases.len() == tasks.len(), "what was enqueued is claimed");
        self.complete(task_type, &leases).await
    }

    async fn enqueue(&mut self, tasks: &[NewTask]) -> Result<()> {
        self.execute("BEGIN IMMEDIATE").await?;
        let mut rest = tasks;
        for (rows, sql) in &self.inserts {
            while rest.len() >= *rows {
                let (now, (batch, after)) = (now(), rest.split_at(*rows));
                let place = tasks.len() - rest.len();
                let mut query = sqlx::query(AssertSqlSafe(sql.as_str())).bind(now);
                for (offset, task) in batch.iter().enumerate() {
                    query = query
                        .bind(task.id.as_uuid().into_bytes().to_vec())
                        .bind(task.task_type.as_str())
                        .bind(task.priority.0)
                        .bind(-i64::from(task.priority.0))
                        .bind(now + i64::try_from(place + offset)?)
                        .bind(i64::from(task.max_retries))
                        .bind(now)
                        .bind(task.payload.as_str());
                }
                query.fetch_all(&mut self.connection).await?;
                rest = after;
            }
        }
        self.execute("COMMIT").await
    }

    /// The leases of the claimed tasks, as `<id in hex><token>`.
    async fn claim(&mut self, task_type: &str, limit: usize) -> Result<Vec<String>> {
        self.execute("BEGIN IMMEDIATE").await?;
        let candidates = sqlx::query(CANDIDATES).bind(i64::try_from(limit)?).bind(task_type);
        let rows = candidates.fetch_all(&mut self.connection).await?;
        let seqs = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<i64>, _>>()?;
        let (now, token) = (now(), LeaseToken::generate().get());
        let take = sqlx::query(TAKE).bind(now).bind(token).bind(now + LEASE_MICROS).bind("bare");
        let rows = take.bind(serde_json::to_string(&seqs)?).fetch_all(&mut self.connection).await?;
        self.execute("COMMIT").await?;
        let lease = |row: &sqlx::sqlite::SqliteRow| {
            let id: [u8; 16] = row.try_get::<&[u8], _>(0)?.try_into()?;
            // A worker needs the payload, so the bare loop reads it too.
            let _payload: String = row.try_get(4)?;
            Ok(format!("{:032x}{token}", u128::from_be_bytes(id)))
        };
        rows.iter().map(lease).collect()
    }

    async fn complete(&mut self, task_type: &str, leases: &[String]) -> Result<()> {
        self.execute("BEGIN IMMEDIATE").await?;
        let complete = sqlx::query(COMPLETE).bind(now()).bind(serde_json::to_string(leases)?);
        let rows = complete.fetch_all(&mut self.connection).await?;
        ensure!(rows.len() == leases.len(), "what was claimed is completed");
        let busy = rows.iter().map(|row| row.try_get::<i64, _>(1)).sum::<Result<i64, _>>()?;
        let total = sqlx::query(ADD_TOTAL).bind(task_type).bind(i64::try_from(rows.len())?).bind(busy);
        total.execute(&mut self.connection).await?;
        self.execute("COMMIT").await
    }

    async fn execute(&mut self, sql: &'static str) -> Result<()> {
        sqlx::query(sql).execute(&mut self.connection).await?;
        Ok(())
    }
}

/// The bare loop on a file of its own, as other engines' bare programs are. SQLite has one writer: clients take turns.
pub(crate) struct BareFile {
    bare: Mutex<BareSqlite>,
    workload: Workload,
}

impl BareFile {
    /// Connects to a file that has been migrated.
    ///
    /// # Errors
    /// What SQLite says.
    pub(crate) async fn connect(path: &str) -> Result<Self> {
        Ok(Self { bare: Mutex::new(BareSqlite::connect(path).await?), workload: Workload::new("bare")? })
    }
}

#[async_trait]
impl Bare for BareFile {
    async fn fill(&self, tasks: usize) -> Result<()> {
        for start in (0..tasks).step_by(1_000) {
            self.insert_many(0, (tasks - start).min(1_000)).await?;
        }
        Ok(())
    }

    async fn drain(&self, finish: Finish) -> Result<usize> {
        ensure!(finish == Finish::Keep, "the bare program of SQLite keeps what is finished");
        let (mut bare, mut tasks) = (self.bare.lock().await, 0);
        loop {
            let leases = bare.claim(TYPE, CYCLE_BATCH).await?;
            if leases.is_empty() {
                return Ok(tasks);
            }
            bare.complete(TYPE, &leases).await?;
            tasks += leases.len();
        }
    }

    async fn insert(&self, _: usize) -> Result<()> {
        self.insert_many(0, 1).await
    }

    async fn insert_in_transaction(&self, _: usize) -> Result<()> {
        self.insert_many(0, 1).await
    }

    async fn insert_many(&self, _: usize, tasks: usize) -> Result<()> {
        self.bare.lock().await.enqueue(&self.workload.tasks(tasks)).await
    }
}

/// ?1 now, then for each row: id, type, priority, queue rank, queue time, max retries, scheduled time, payload.
fn insert(rows: usize) -> String {
    let row = |row: usize| {
        let [id, kind, priority, rank, queue_at, retries, scheduled_at, payload] =
            std::array::from_fn(|value| 2 + row * 8 + value);
        format!(
            "(0, ?{id}, ?{kind}, 0, ?{priority}, ?{rank}, ?{queue_at}, NULL, ?{retries}, ?{scheduled_at}, NULL, \
             NULL, NULL, NULL, ?{payload}, 0, 0, 0, 0, ?1, ?1)"
        )
    };
    format!(
        "INSERT INTO tasks (shard, id, type, status, priority, queue_rank, queue_at, due_at, max_retries, \
         scheduled_at, region, unique_key, unique_held, metadata, payload, attempts, reclaims, lease_token, \
         lease_number, created_at, updated_at) VALUES {} ON CONFLICT DO NOTHING RETURNING id",
        (0..rows).map(row).collect::<Vec<_>>().join(", ")
    )
}

fn now() -> i64 {
    SystemClock.now().timestamp_micros()
}
