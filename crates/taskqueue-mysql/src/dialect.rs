//! MySQL and MariaDB behind the portable queue: transactions, and the literal statements with their arguments. What
//! the statements are is `claim.rs`'s business.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use async_trait::async_trait;
use sea_query::{Expr, MysqlQueryBuilder, Value};
use sqlx::mysql::{MySqlArguments, MySqlRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, MySql, MySqlConnection, MySqlPool, SqlStr, Transaction};
use taskqueue_core::{Backend, Decision, Lease, LeaseToken, NewTask, TaskId, Transition};
use taskqueue_sql::{
    Access, Applied, Attempt, Claiming, Dialect, Failure, Flavour, Options, Reclaiming, Row, Statement,
};

use crate::MysqlConfig;
use crate::batch::{Batch, micros};
use crate::claim::{LIST_MAX, Literal, padded};
use crate::error::{changed, failure, is_duplicate};
use crate::wire::{bind_ids, bind_tokens, bytes, number};
use crate::{claiming, insert, wire};

/// How MySQL and MariaDB write what the portable statements leave open. The server's clock is the queue's.
#[derive(Debug, Clone)]
pub(crate) struct MysqlFlavour {
    now: String,
}

impl MysqlFlavour {
    /// A flavour whose current time is this SQL expression.
    pub(crate) fn new(now: &str) -> Self {
        Self { now: now.to_owned() }
    }
}

impl Flavour for MysqlFlavour {
    type Builder = MysqlQueryBuilder;
    type Now = ();

    fn now(&self, (): ()) -> Expr {
        Expr::cust(self.now.clone())
    }

    fn ago(&self, (): (), age: Duration) -> Expr {
        Expr::cust_with_values(format!("{} - INTERVAL ? MICROSECOND", self.now), [micros(age)])
    }

    fn id(&self, id: TaskId) -> Value {
        Value::from(bytes(id))
    }

    fn rank_off_queue(&self) -> Expr {
        Expr::cust("0")
    }
}

/// MySQL or MariaDB behind [`SqlQueue`](taskqueue_sql::SqlQueue).
#[derive(Debug)]
pub(crate) struct MysqlDialect {
    pool: MySqlPool,
    options: Options,
    flavour: MysqlFlavour,
    literal: Literal,
    contention_retries_max: u32,
}

impl MysqlDialect {
    pub(crate) fn new(pool: MySqlPool, config: &MysqlConfig) -> Self {
        Self {
            pool,
            options: config.options.clone(),
            flavour: MysqlFlavour::new(&config.now_sql),
            literal: Literal::new(&config.options.table, &config.now_sql),
            contention_retries_max: config.contention_retries_max,
        }
    }

    pub(crate) fn pool(&self) -> &MySqlPool {
        &self.pool
    }

    pub(crate) fn literal(&self) -> &Literal {
        &self.literal
    }

    /// A literal statement. Its text holds checked identifiers and placeholders only.
    pub(crate) fn query<'q>(&self, sql: &str) -> Query<'q, MySql, MySqlArguments> {
        let sql: SqlStr = sqlx::SqlSafeStr::into_sql_str(AssertSqlSafe(sql));
        sqlx::query(sql)
    }

    /// Locks the tasks of live leases, in key order; answers their tokens and how long they have been running, in
    /// microseconds.
    async fn live(
        &self,
        connection: &mut MySqlConnection,
        leases: impl Iterator<Item = &Lease>,
    ) -> Attempt<HashMap<TaskId, (LeaseToken, i64)>> {
        let mut held: HashMap<TaskId, BTreeSet<i64>> = HashMap::new();
        for lease in leases {
            held.entry(lease.task_id).or_default().insert(lease.token.get());
        }
        let mut ids: Vec<TaskId> = held.keys().copied().collect();
        ids.sort_unstable();
        let mut live = HashMap::with_capacity(ids.len());
        for chunk in ids.chunks(LIST_MAX) {
            let chunk = padded(chunk);
            let sql = self.literal.running(chunk.len());
            let query = bind_ids(self.query(&sql), &chunk);
            for row in query.fetch_all(&mut *connection).await.map_err(failure)? {
                let mut row = wire::row(&row)?;
                let (id, token) = (row.id(0)?, row.integer(1)?);
                if held.get(&id).is_some_and(|tokens| tokens.contains(&token)) {
                    live.insert(
                        id,
                        (LeaseToken::from_stored(token), row.integer_opt(2)?.unwrap_or(0).max(0)),
                    );
                }
            }
        }
        Ok(live)
    }

    async fn complete(
        &self,
        connection: &mut MySqlConnection,
        mut leases: Vec<(TaskId, LeaseToken)>,
    ) -> Attempt<()> {
        leases.sort_unstable_by_key(|(id, _)| *id);
        for chunk in leases.chunks(LIST_MAX) {
            let (ids, tokens) = ids_and_tokens(chunk);
            let sql = self.literal.complete(ids.len(), tokens.len());
            let query = bind_tokens(bind_ids(self.query(&sql), &ids), tokens);
            changed(query.execute(&mut *connection).await.map_err(failure)?.rows_affected(), chunk.len())?;
        }
        Ok(())
    }

    /// Runs a joined update over a batch; answers how many rows it matched.
    async fn each(&self, connection: &mut MySqlConnection, sql: &str, batch: Batch) -> Attempt<u64> {
        let mut rows = 0;
        for (array, _) in batch.into_arrays() {
            let query = self.query(sql).bind(array);
            // A redrive can meet a unique key that was taken meanwhile: what was read is out of date.
            let done = query.execute(&mut *connection).await.map_err(|error| match is_duplicate(&error) {
                true => Failure::Contention { source: Some(error.into()) },
                false => failure(error),
            });
            rows += done?.rows_affected();
        }
        Ok(rows)
    }

    /// Due tasks, earliest first.
    async fn due(&self, connection: &mut MySqlConnection, limit: usize) -> Attempt<Vec<TaskId>> {
        let mut kinds = Vec::new();
        for row in self.query(&self.literal.waiting).fetch_all(&mut *connection).await.map_err(failure)? {
            let mut row = wire::row(&row)?;
            kinds.push((row.integer(0)?, row.text(1)?));
        }
        if kinds.is_empty() {
            return Ok(Vec::new());
        }
        let sql = self.literal.due(kinds.len());
        let mut query = self.query(&sql);
        for (status, task_type) in kinds {
            query = query.bind(status).bind(task_type).bind(number(limit));
        }
        let mut due = Vec::new();
        for row in query.fetch_all(connection).await.map_err(failure)? {
            let mut row = wire::row(&row)?;
            due.push((row.integer(1)?, row.id(0)?));
        }
        due.sort_unstable();
        due.truncate(limit);
        Ok(due.into_iter().map(|(_, id)| id).collect())
    }
}

#[async_trait]
impl Dialect for MysqlDialect {
    type Flavour = MysqlFlavour;
    type Connection = MySqlConnection;
    type Transaction = Transaction<'static, MySql>;

    const SLOTS: i16 = 16;

    fn flavour(&self) -> &MysqlFlavour {
        &self.flavour
    }

    fn options(&self) -> &Options {
        &self.options
    }

    fn now(&self) {}

    fn contention_retries_max(&self) -> u32 {
        self.contention_retries_max
    }

    /// Under the engines' default, REPEATABLE READ, polls would lock the gaps that enqueues insert into. The level is
    /// named for each transaction, in the same round trip, because a pool of the caller's may have any.
    async fn begin(&self, access: Access) -> Attempt<Self::Transaction> {
        let begin = match access {
            Access::Read => "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; START TRANSACTION READ ONLY",
            Access::Snapshot => {
                "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"
            }
            Access::Single | Access::Write => {
                "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; START TRANSACTION READ WRITE"
            }
        };
        self.pool.begin_with(begin).await.map_err(failure)
    }

    async fn commit(&self, transaction: Self::Transaction) -> Attempt<()> {
        transaction.commit().await.map_err(failure)
    }

    /// Also after a lock wait timeout, which by itself undoes its statement and keeps the transaction's locks.
    async fn rollback(&self, transaction: Self::Transaction) {
        // A rollback that fails leaves a broken connection, which the pool drops.
        drop(transaction.rollback().await);
    }

    async fn execute(&self, connection: &mut MySqlConnection, statement: Statement) -> Attempt<u64> {
        let query = wire::bind(self.query(&statement.sql), statement.values);
        Ok(query.execute(connection).await.map_err(failure)?.rows_affected())
    }

    async fn fetch(&self, connection: &mut MySqlConnection, statement: Statement) -> Attempt<Vec<Row>> {
        let query = wire::bind(self.query(&statement.sql), statement.values);
        query.fetch_all(connection).await.map_err(failure)?.iter().map(wire::row).collect()
    }

    async fn insert(
        &self,
        connection: &mut MySqlConnection,
        (): (),
        tasks: &[&NewTask],
        place: usize,
    ) -> Attempt<HashSet<TaskId>> {
        let placed: Vec<(usize, &NewTask)> = (place..).zip(tasks.iter().copied()).collect();
        insert::insert(self, connection, &placed).await
    }

    async fn claim(
        &self,
        connection: &mut MySqlConnection,
        (): (),
        claiming: &Claiming,
    ) -> Attempt<Vec<Row>> {
        claiming::claim(self, connection, claiming).await
    }

    async fn settle(
        &self,
        connection: &mut MySqlConnection,
        (): (),
        decisions: &[Decision],
    ) -> Attempt<Vec<Applied>> {
        let live = self.live(&mut *connection, decisions.iter().map(|decision| &decision.lease)).await?;
        let (completed, others): (Vec<&Decision>, Vec<&Decision>) = decisions
            .iter()
            .filter(|decision| live.contains_key(&decision.lease.task_id))
            .partition(|decision| decision.transition == Transition::Complete);
        let completed =
            completed.iter().map(|decision| (decision.lease.task_id, decision.lease.token)).collect();
        self.complete(&mut *connection, completed).await?;
        changed(
            self.each(connection, &self.literal.settle, Batch::of_settles(&others)).await?,
            others.len(),
        )?;
        Ok(live.into_iter().map(|(id, (_, busy_us))| Applied { id, busy_us }).collect())
    }

    async fn heartbeat(
        &self,
        connection: &mut MySqlConnection,
        (): (),
        leases: &[Lease],
        visibility_timeout: Duration,
    ) -> Attempt<HashSet<(TaskId, LeaseToken)>> {
        let live = self.live(&mut *connection, leases.iter()).await?;
        let mut live: Vec<(TaskId, LeaseToken)> =
            live.into_iter().map(|(id, (token, _))| (id, token)).collect();
        live.sort_unstable_by_key(|(id, _)| *id);
        for chunk in live.chunks(LIST_MAX) {
            let (ids, tokens) = ids_and_tokens(chunk);
            let sql = self.literal.heartbeat(ids.len(), tokens.len());
            let query = self.query(&sql).bind(micros(visibility_timeout));
            let query = bind_tokens(bind_ids(query, &ids), tokens);
            changed(query.execute(&mut *connection).await.map_err(failure)?.rows_affected(), chunk.len())?;
        }
        Ok(live.into_iter().collect())
    }

    async fn ended(&self, connection: &mut MySqlConnection, (): (), limit: usize) -> Attempt<Vec<Row>> {
        let query = self.query(&self.literal.ended).bind(number(limit));
        query.fetch_all(connection).await.map_err(failure)?.iter().map(wire::row).collect()
    }

    async fn reclaim(
        &self,
        connection: &mut MySqlConnection,
        (): (),
        ended: &[Reclaiming],
    ) -> Attempt<HashSet<TaskId>> {
        let rows = self.each(connection, &self.literal.reclaim, Batch::of_reclaims(ended)).await?;
        changed(rows, ended.len())?;
        Ok(ended.iter().map(|ended| ended.id).collect())
    }

    async fn promote(&self, connection: &mut MySqlConnection, (): (), limit: usize) -> Attempt<u64> {
        let due = self.due(&mut *connection, limit).await?;
        self.each(connection, &self.literal.promote, Batch::of_ready(&due)).await
    }

    async fn redrive(
        &self,
        connection: &mut MySqlConnection,
        (): (),
        ids: &[TaskId],
    ) -> Attempt<HashSet<TaskId>> {
        let rows = self.each(connection, &self.literal.redrive, Batch::of_ready(ids)).await?;
        changed(rows, ids.len())?;
        Ok(ids.iter().copied().collect())
    }

    async fn backend(&self, connection: &mut MySqlConnection) -> Attempt<Backend> {
        let row: MySqlRow = self.query("SELECT VERSION()").fetch_one(connection).await.map_err(failure)?;
        let version = wire::row(&row)?.text(0)?;
        Ok(Backend { name: engine(&version), version })
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

fn engine(version: &str) -> &'static str {
    if version.contains("MariaDB") {
        "mariadb"
    } else if version.contains("Vitess") {
        "vitess"
    } else {
        "mysql"
    }
}

/// The ids, and the distinct tokens, both filled up.
fn ids_and_tokens(leases: &[(TaskId, LeaseToken)]) -> (Vec<TaskId>, Vec<i64>) {
    let ids: Vec<TaskId> = leases.iter().map(|(id, _)| *id).collect();
    let tokens: BTreeSet<i64> = leases.iter().map(|(_, token)| token.get()).collect();
    (padded(&ids), padded(&tokens.into_iter().collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_is_told_by_its_version() {
        assert_eq!(engine("9.7.0"), "mysql");
        assert_eq!(engine("11.8.3-MariaDB-ubu2404"), "mariadb");
        assert_eq!(engine("8.0.30-Vitess"), "vitess");
    }
}
