//! What the portable queue asks of MySQL and MariaDB, and which module answers it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::MySqlConnection;
use sqlx::query::Query;
use taskqueue_core::backend::Decision;
use taskqueue_core::{Backend, Claim, Enqueued, Lease, LeaseToken, NewTask, Shard, TaskFilter, TaskId};
use taskqueue_sql::{
    Access, Applied, Attempt, Claiming, Completed, Dialect, KeyedEnqueues, Options, Owner, Reclaiming, Row,
    Sharding, Statement, Unsettled, changed,
};

use crate::batch::Batch;
use crate::claim::{Order, Standing, padded};
use crate::dialect::MysqlDialect;
use crate::engine::{Engine, Server};
use crate::error::failure;
use crate::flavour::MysqlFlavour;
use crate::transaction::Transaction;
use crate::wire::bind_ids;
use crate::{
    beating, claiming, collision, detect, free, insert, keys, leases, listing, oldest, promoting, reclaiming,
    settling, wire,
};

#[async_trait]
impl Dialect for MysqlDialect {
    type Flavour = MysqlFlavour;
    type Connection = MySqlConnection;
    type Transaction = Transaction;

    const SLOTS: i16 = 16;

    fn flavour(&self) -> &MysqlFlavour {
        &self.flavour
    }

    fn options(&self) -> &Options {
        &self.options
    }

    fn sharding(&self) -> Option<&Sharding> {
        Some(self.sharding())
    }

    /// Vitess does not take a deletion with a hint.
    fn deletes_completed(&self) -> bool {
        self.options.completed == Completed::Delete && self.engine() != Engine::Vitess
    }

    /// On Vitess the gate's row and the tasks would have to be in one transaction.
    fn takes_extra_claims(&self) -> bool {
        self.engine() != Engine::Vitess
    }

    fn now(&self) {}

    fn contention_retries_max(&self) -> u32 {
        self.contention_retries_max
    }

    fn keyed_enqueues(&self) -> KeyedEnqueues {
        let options = self.connections().pool().0.options();
        KeyedEnqueues::of_pool(options.get_max_connections(), options.get_acquire_timeout())
    }

    async fn begin(&self, access: Access) -> Attempt<Transaction> {
        Transaction::begin(self.connections(), self.answers(), access).await
    }

    async fn commit(&self, transaction: Transaction) -> Attempt<()> {
        transaction.commit().await
    }

    async fn rollback(&self, transaction: Transaction) {
        transaction.rollback().await;
    }

    async fn execute(&self, connection: &mut MySqlConnection, statement: Statement) -> Attempt<u64> {
        let query = wire::bind(self.query(&statement.sql), statement.values);
        Ok(self.run(query, connection).await.map_err(failure)?.rows_affected())
    }

    async fn fetch(&self, connection: &mut MySqlConnection, statement: Statement) -> Attempt<Vec<Row>> {
        let query = wire::bind(self.query(&statement.sql), statement.values);
        self.rows(query, connection).await
    }

    /// Only where no connection can have a transaction open, in which they would be lost, or autocommit off: in a pool of the
    /// caller's one may. On Vitess the session's settings are not known.
    async fn insert_all(&self, (): (), shard: Shard, tasks: &[&NewTask]) -> Attempt<bool> {
        let is_possible = self.owns_pool && self.engine() != Engine::Vitess;
        Ok(is_possible && insert::insert_all(self, shard, tasks).await?)
    }

    async fn insert(
        &self,
        connection: &mut MySqlConnection,
        (): (),
        shard: Shard,
        tasks: &[&NewTask],
        place: usize,
    ) -> Attempt<HashSet<TaskId>> {
        let placed: Vec<(usize, &NewTask)> = (place..).zip(tasks.iter().copied()).collect();
        insert::insert(self, connection, shard, &placed).await
    }

    async fn in_the_way(
        &self,
        connection: &mut MySqlConnection,
        shard: Shard,
        tasks: &[&NewTask],
    ) -> Attempt<HashMap<TaskId, Enqueued>> {
        let placed: Vec<(usize, &NewTask)> = tasks.iter().copied().enumerate().collect();
        collision::one_by_one(self, connection, shard, &placed, Order::Place).await
    }

    async fn claim(
        &self,
        connection: &mut MySqlConnection,
        (): (),
        shard: Shard,
        claiming: &Claiming,
    ) -> Attempt<Vec<Claim>> {
        claiming::claim(self, connection, shard, claiming).await
    }

    async fn settle(
        &self,
        connection: &mut MySqlConnection,
        (): (),
        shard: Shard,
        decisions: &[Decision],
        owner: Owner,
    ) -> Attempt<Vec<Applied>> {
        settling::settle(self, connection, shard, decisions, owner).await
    }

    async fn heartbeat(
        &self,
        connection: &mut MySqlConnection,
        (): (),
        shard: Shard,
        leases: &[Lease],
        visibility_timeout: Duration,
    ) -> Attempt<HashSet<(TaskId, LeaseToken)>> {
        beating::heartbeat(self, connection, shard, leases, visibility_timeout).await
    }

    async fn ended(
        &self,
        connection: &mut MySqlConnection,
        (): (),
        shard: Shard,
        limit: usize,
    ) -> Attempt<Vec<Row>> {
        reclaiming::ended(self, connection, shard, limit).await
    }

    async fn reclaim(
        &self,
        connection: &mut MySqlConnection,
        (): (),
        shard: Shard,
        ended: &[Reclaiming],
    ) -> Attempt<HashSet<TaskId>> {
        reclaiming::reclaim(self, connection, shard, ended).await
    }

    async fn promote(
        &self,
        connection: &mut MySqlConnection,
        (): (),
        shard: Shard,
        limit: usize,
    ) -> Attempt<u64> {
        promoting::promote(self, connection, shard, limit).await
    }

    async fn run_now(
        &self,
        connection: &mut MySqlConnection,
        (): (),
        shard: Shard,
        ids: &[TaskId],
    ) -> Attempt<u64> {
        promoting::run_now(self, connection, shard, ids).await
    }

    async fn redrive(
        &self,
        connection: &mut MySqlConnection,
        (): (),
        shard: Shard,
        ids: &[TaskId],
    ) -> Attempt<HashSet<TaskId>> {
        keys::hold_again(self, &mut *connection, shard, ids).await?;
        let rows = self.each(connection, shard, &self.literal().redrive, Batch::of_ready(ids)).await?;
        changed(rows, ids.len())?;
        Ok(ids.iter().copied().collect())
    }

    async fn let_key_go(&self, connection: &mut MySqlConnection, shard: Shard, id: TaskId) -> Attempt<()> {
        keys::let_go_of(self, connection, shard, [id]).await
    }

    async fn list(
        &self,
        connection: &mut MySqlConnection,
        shard: Shard,
        filter: &TaskFilter,
    ) -> Attempt<Vec<Row>> {
        listing::list(self, connection, shard, filter).await
    }

    async fn running(
        &self,
        connection: &mut MySqlConnection,
        shard: Shard,
        filter: &TaskFilter,
    ) -> Attempt<Vec<Row>> {
        listing::running(self, connection, shard, filter).await
    }

    async fn open_counts(&self, connection: &mut MySqlConnection, shard: Shard) -> Attempt<Vec<Row>> {
        let query = self.query(&self.literal().leases.open_counts);
        let query = [shard.number(); leases::OPEN_SHARDS].into_iter().fold(query, Query::bind);
        self.rows(query, connection).await
    }

    async fn oldest_pending(&self, connection: &mut MySqlConnection, shard: Shard) -> Attempt<Vec<Row>> {
        oldest::oldest_pending(self, connection, shard).await
    }

    async fn backend(&self, connection: &mut MySqlConnection) -> Attempt<Backend> {
        let Server { engine, version, .. } =
            detect::server(connection, Some(self.engine()), self.answers().statement_timeout).await?;
        Ok(Backend { name: engine.name(), version })
    }

    async fn lock_finished(
        &self,
        connection: &mut MySqlConnection,
        shard: Shard,
        ids: &[TaskId],
        limit: usize,
    ) -> Attempt<HashSet<TaskId>> {
        let free = free::lock(self, connection, shard, Standing::Finished, ids, limit).await?;
        Ok(free.into_keys().collect())
    }

    /// Vitess does not take a deletion with a hint.
    async fn remove(&self, connection: &mut MySqlConnection, shard: Shard, ids: &[TaskId]) -> Attempt<u64> {
        if self.engine() == Engine::Vitess {
            return self.execute(connection, self.statements(shard).remove(ids)).await;
        }
        let ids = padded(ids);
        let sql = self.literal().remove(ids.len());
        let query = bind_ids(self.query(&sql).bind(shard.number()), &ids);
        Ok(self.run(query, connection).await.map_err(failure)?.rows_affected())
    }

    fn claims(&self) -> Option<&Unsettled> {
        Some(self.unsettled())
    }

    fn doubt(&self) {
        self.cursors().doubt();
    }

    fn announce(&self, _is_awaited: bool) {
        self.cursors().forget_doubtful();
    }

    async fn get_ready(&self) {
        self.connections().open_ahead(async |connection| connection.done()).await;
    }

    /// A pool of the service's stays open, with all its connections.
    async fn close(&self) {
        self.connections().keep_none();
        if self.owns_pool {
            self.connections().pool().0.close().await;
        }
    }
}
