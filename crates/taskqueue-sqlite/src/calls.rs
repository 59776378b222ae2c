//! What the portable queue asks of SQLite: its transactions, and the operations that `claim.rs` has the text of. It decides
//! nothing.

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use sea_query::Expr;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;
use taskqueue_core::backend::{Decision, Transition};
use taskqueue_core::clock::add;
use taskqueue_core::{
    Backend, Claim, Lease, LeaseToken, NewTask, Shard, TaskFilter, TaskId, Timestamp, WakeUp,
};
use taskqueue_sql::{
    Access, Applied, Attempt, Claiming, Dialect, Options, Owner, Reclaiming, Row, Statement, Statements,
};

use crate::claiming;
use crate::config::Place;
use crate::dialect::{SqliteDialect, SqliteFlavour};
use crate::encode::{NewRow, ids_json, leases_json, reclaims_json, settles_json};
use crate::error::failure;
use crate::query::{Query, bind_values, fields};
use crate::transaction::{self, SqliteTransaction};

/// How often a transaction is repeated when others are in the way. Each time has waited out the busy timeout.
const CONTENTION_RETRIES_MAX: u32 = 2;

/// A page of a status that no more tasks have than this is sorted by the ids of all; else it is found by a walk from the highest
/// id, over all that is finished. To sort these takes up to 80 ms, to count as far 10 ms. A walk takes 1 ms where the newest tasks are of
/// the status, as of a long backlog, and 1 ms for each 1,000 tasks where old dead letters are looked for.
pub(crate) const FEW: usize = 100_000;

#[async_trait]
impl Dialect for SqliteDialect {
    type Flavour = SqliteFlavour;
    type Connection = SqliteConnection;
    type Transaction = SqliteTransaction;

    fn flavour(&self) -> &SqliteFlavour {
        &SqliteFlavour
    }

    fn options(&self) -> &Options {
        &self.config.options
    }

    fn now(&self) -> Timestamp {
        self.config.clock.now()
    }

    fn contention_retries_max(&self) -> u32 {
        CONTENTION_RETRIES_MAX
    }

    async fn begin(&self, access: Access) -> Attempt<SqliteTransaction> {
        match access {
            Access::Read => self.readers.acquire().await.map(SqliteTransaction::Single),
            Access::Snapshot => self.readers.begin().await.map(SqliteTransaction::Open),
            Access::Single | Access::Write => {
                transaction::begin_write(&self.writer).await.map(SqliteTransaction::Open)
            }
        }
        .map_err(failure)
    }

    async fn commit(&self, transaction: SqliteTransaction) -> Attempt<()> {
        match transaction {
            SqliteTransaction::Single(_) => Ok(()),
            SqliteTransaction::Open(transaction) => transaction.commit().await.map_err(failure),
        }
    }

    async fn rollback(&self, transaction: SqliteTransaction) {
        if let SqliteTransaction::Open(transaction) = transaction {
            // The transaction has failed already. Where even this fails, the next one puts the connection right.
            let _ = transaction.rollback().await;
        }
    }

    async fn execute(&self, connection: &mut SqliteConnection, statement: Statement) -> Attempt<u64> {
        let query = bind_values(Query::rendered(&statement.sql), statement.values)?;
        Ok(query.execute(connection).await.map_err(failure)?.rows_affected())
    }

    async fn fetch(&self, connection: &mut SqliteConnection, statement: Statement) -> Attempt<Vec<Row>> {
        let query = bind_values(Query::rendered(&statement.sql), statement.values)?;
        let rows = query.fetch_all(connection).await.map_err(failure)?;
        rows.iter().map(fields).collect()
    }

    /// One task: of several, a statement could take some and pass over others.
    async fn insert_all(&self, now: Timestamp, shard: Shard, tasks: &[&NewTask]) -> Attempt<bool> {
        if tasks.len() > 1 {
            return Ok(false);
        }
        let mut connection = self.writer.acquire().await.map_err(failure)?;
        Ok(self.insert(&mut connection, now, shard, tasks, 0).await?.len() == tasks.len())
    }

    /// Among the readers: a claim that finds nothing would still make other processes' writes wait.
    async fn sees_none(&self, _shard: Shard, claiming: &Claiming) -> Attempt<bool> {
        let mut connection = self.readers.acquire().await.map_err(failure)?;
        let one = Claiming { limit: 1, ..claiming.clone() };
        Ok(claiming::candidates(self, &mut connection, &one).await?.is_empty())
    }

    async fn insert(
        &self,
        connection: &mut SqliteConnection,
        now: Timestamp,
        _shard: Shard,
        tasks: &[&NewTask],
        place: usize,
    ) -> Attempt<HashSet<TaskId>> {
        let mut inserted = HashSet::with_capacity(tasks.len());
        let mut done = 0;
        while done < tasks.len() {
            let (sql, rows) = self.sql.insert(tasks.len() - done);
            let mut query = Query::constant(&sql).bind(now.timestamp_micros());
            for (offset, task) in tasks[done..done + rows].iter().enumerate() {
                query = NewRow::of(task, now, place + done + offset).bind(query);
            }
            for row in query.fetch_all(&mut *connection).await.map_err(failure)? {
                inserted.insert(fields(&row)?.id(0)?);
            }
            done += rows;
        }
        Ok(inserted)
    }

    async fn claim(
        &self,
        connection: &mut SqliteConnection,
        now: Timestamp,
        _shard: Shard,
        claiming: &Claiming,
    ) -> Attempt<Vec<Claim>> {
        claiming::claim(self, connection, now, claiming).await
    }

    async fn settle(
        &self,
        connection: &mut SqliteConnection,
        now: Timestamp,
        _shard: Shard,
        decisions: &[Decision],
        _owner: Owner,
    ) -> Attempt<Vec<Applied>> {
        let (completes, others): (Vec<&Decision>, Vec<&Decision>) =
            decisions.iter().partition(|decision| decision.transition == Transition::Complete);
        let mut applied = Vec::with_capacity(decisions.len());
        let completes = leases_json(completes.iter().map(|decision| &decision.lease));
        for (sql, given) in [(&self.sql.complete, completes), (&self.sql.settle, settles_json(&others, now))]
        {
            let Some(given) = given else { continue };
            let query = Query::constant(sql).bind(now.timestamp_micros()).bind(given);
            for row in query.fetch_all(&mut *connection).await.map_err(failure)? {
                let mut row = fields(&row)?;
                applied.push(Applied { id: row.id(0)?, busy_us: row.integer(1)?.max(0) });
            }
        }
        Ok(applied)
    }

    async fn heartbeat(
        &self,
        connection: &mut SqliteConnection,
        now: Timestamp,
        _shard: Shard,
        leases: &[Lease],
        visibility_timeout: Duration,
    ) -> Attempt<HashSet<(TaskId, LeaseToken)>> {
        let rows = Query::constant(&self.sql.heartbeat)
            .bind(now.timestamp_micros())
            .bind(add(now, visibility_timeout).timestamp_micros())
            .bind(leases_json(leases.iter()))
            .fetch_all(connection)
            .await
            .map_err(failure)?;
        let read = |row: &SqliteRow| {
            let mut row = fields(row)?;
            Ok((row.id(0)?, LeaseToken::from_stored(row.integer(1)?)))
        };
        rows.iter().map(read).collect()
    }

    async fn ended(
        &self,
        connection: &mut SqliteConnection,
        now: Timestamp,
        _shard: Shard,
        limit: usize,
    ) -> Attempt<Vec<Row>> {
        let query = Query::constant(&self.sql.ended).bind(now.timestamp_micros()).bind(limit as i64);
        query.fetch_all(connection).await.map_err(failure)?.iter().map(fields).collect()
    }

    async fn reclaim(
        &self,
        connection: &mut SqliteConnection,
        now: Timestamp,
        _shard: Shard,
        ended: &[Reclaiming],
    ) -> Attempt<HashSet<TaskId>> {
        let query =
            Query::constant(&self.sql.reclaim).bind(now.timestamp_micros()).bind(reclaims_json(ended, now));
        let rows = query.fetch_all(connection).await.map_err(failure)?;
        rows.iter().map(|row| fields(row)?.id(0)).collect()
    }

    async fn promote(
        &self,
        connection: &mut SqliteConnection,
        now: Timestamp,
        _shard: Shard,
        limit: usize,
    ) -> Attempt<u64> {
        let query = Query::constant(&self.sql.promote).bind(now.timestamp_micros()).bind(limit as i64);
        Ok(query.execute(connection).await.map_err(failure)?.rows_affected())
    }

    async fn run_now(
        &self,
        connection: &mut SqliteConnection,
        now: Timestamp,
        _shard: Shard,
        ids: &[TaskId],
    ) -> Attempt<u64> {
        let query = Query::constant(&self.sql.run_now).bind(now.timestamp_micros()).bind(ids_json(ids));
        Ok(query.execute(connection).await.map_err(failure)?.rows_affected())
    }

    async fn redrive(
        &self,
        connection: &mut SqliteConnection,
        now: Timestamp,
        _shard: Shard,
        ids: &[TaskId],
    ) -> Attempt<HashSet<TaskId>> {
        let query = Query::constant(&self.sql.redrive).bind(now.timestamp_micros()).bind(ids_json(ids));
        let rows = query.fetch_all(connection).await.map_err(failure)?;
        rows.iter().map(|row| fields(row)?.id(0)).collect()
    }

    async fn list(
        &self,
        connection: &mut SqliteConnection,
        shard: Shard,
        filter: &TaskFilter,
    ) -> Attempt<Vec<Row>> {
        let statements = self.statements(shard);
        let page = match self.are_few(connection, filter).await? {
            true => list_of_few(&statements, filter),
            false => statements.list(filter),
        };
        self.fetch(connection, page).await
    }

    async fn oldest_pending(&self, connection: &mut SqliteConnection, _shard: Shard) -> Attempt<Vec<Row>> {
        let rows = Query::constant(&self.sql.oldest_pending).fetch_all(connection).await.map_err(failure)?;
        rows.iter().map(fields).collect()
    }

    async fn backend(&self, connection: &mut SqliteConnection) -> Attempt<Backend> {
        let row = Query::rendered("SELECT sqlite_version()").fetch_one(connection).await.map_err(failure)?;
        Ok(Backend { name: "sqlite", version: fields(&row)?.text(0)? })
    }

    fn hear(&self, wake_up: &WakeUp) {
        match &self.watch {
            Some(watch) => watch.hear(&self.writer, wake_up),
            // Nobody else can open it.
            None if self.config.place == Place::Memory => wake_up.set_hears_others(true),
            None => {}
        }
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

impl SqliteDialect {
    /// Whether the filter's status has so few tasks that they are best found by it.
    pub(crate) async fn are_few(
        &self,
        connection: &mut SqliteConnection,
        filter: &TaskFilter,
    ) -> Attempt<bool> {
        let more = self.statements(Shard::FIRST).more_than(FEW, filter);
        Ok(filter.status.is_some() && self.fetch(connection, more).await?.is_empty())
    }
}

/// A page that is found by status and then sorted. SQLite keeps no statistics: left to itself it walks over all tasks by id, for
/// nothing but the order. The rows that are not on the page are read no further than to their ids: to sort whole rows with large
/// payloads took ten times as long.
pub(crate) fn list_of_few(statements: &Statements<'_, SqliteFlavour>, filter: &TaskFilter) -> Statement {
    statements.list_by("seq", filter, &Expr::cust("+\"id\""))
}
