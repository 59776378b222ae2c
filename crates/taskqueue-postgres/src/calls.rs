//! What the portable queue asks of PostgreSQL, and which module answers it.

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::PgConnection;
use taskqueue_core::backend::Decision;
use taskqueue_core::{
    Backend, Claim, Cleanup, Lease, LeaseToken, NewTask, Shard, TaskFilter, TaskId, WakeUp,
};
use taskqueue_sql::{
    Access, Applied, Attempt, Claiming, Completed, Dialect, KeyedEnqueues, Options, Owner, Reclaiming, Row,
    Sharding, Statement, Total, Unsettled, integer,
};

use crate::dialect::PostgresDialect;
use crate::error::failure;
use crate::flavour::PostgresFlavour;
use crate::session::Session;
use crate::{claiming, cleaning, inserting, promoting, reclaiming, rehearsal, settling, totalling, wire};

#[async_trait]
impl Dialect for PostgresDialect {
    type Flavour = PostgresFlavour;
    type Connection = PgConnection;
    type Transaction = Session;

    const COUNTS_SETTLES: bool = true;
    const APPENDS_TOTALS: bool = true;

    fn flavour(&self) -> &PostgresFlavour {
        &PostgresFlavour
    }

    fn options(&self) -> &Options {
        &self.options
    }

    fn sharding(&self) -> Option<&Sharding> {
        Some(self.sharding())
    }

    fn deletes_completed(&self) -> bool {
        self.options.completed == Completed::Delete
    }

    fn takes_extra_claims(&self) -> bool {
        self.literal().takes_extra_claims
    }

    fn now(&self) {}

    fn contention_retries_max(&self) -> u32 {
        self.contention_retries_max
    }

    fn keyed_enqueues(&self) -> KeyedEnqueues {
        let options = self.connections().pool().0.options();
        KeyedEnqueues::of_pool(options.get_max_connections(), options.get_acquire_timeout())
    }

    /// A server whose default is stricter would turn skipped rows into serialization failures. Writes do not say
    /// READ WRITE: that would override a server that was set to take none, and a standby refuses it with a code that
    /// says nothing.
    async fn begin(&self, access: Access) -> Attempt<Session> {
        let begin = match access {
            Access::Read | Access::Single if self.runs_single_statements() => return self.single().await,
            Access::Snapshot => self.literal().snapshot,
            Access::Read => "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY",
            Access::Single | Access::Write => "BEGIN ISOLATION LEVEL READ COMMITTED",
        };
        self.single().await?.begin(begin).await.map_err(failure)
    }

    async fn commit(&self, session: Session) -> Attempt<()> {
        session.commit().await.map_err(failure)
    }

    async fn rollback(&self, session: Session) {
        session.rollback().await;
    }

    async fn execute(&self, connection: &mut PgConnection, statement: Statement) -> Attempt<u64> {
        let query = wire::bind(self.query(&statement.sql), statement.values);
        Ok(query.execute(connection).await.map_err(failure)?.rows_affected())
    }

    async fn fetch(&self, connection: &mut PgConnection, statement: Statement) -> Attempt<Vec<Row>> {
        self.rows(connection, wire::bind(self.query(&statement.sql), statement.values)).await
    }

    async fn insert_all(&self, (): (), shard: Shard, tasks: &[&NewTask]) -> Attempt<bool> {
        inserting::insert_all(self, shard, tasks).await
    }

    async fn insert(
        &self,
        connection: &mut PgConnection,
        (): (),
        shard: Shard,
        tasks: &[&NewTask],
        place: usize,
    ) -> Attempt<HashSet<TaskId>> {
        inserting::insert(self, connection, shard, tasks, place).await
    }

    async fn claim(
        &self,
        connection: &mut PgConnection,
        (): (),
        shard: Shard,
        claiming: &Claiming,
    ) -> Attempt<Vec<Claim>> {
        claiming::claim(self, connection, shard, claiming).await
    }

    async fn settle(
        &self,
        connection: &mut PgConnection,
        (): (),
        shard: Shard,
        decisions: &[Decision],
        owner: Owner,
    ) -> Attempt<Vec<Applied>> {
        settling::settle(self, connection, shard, decisions, owner).await
    }

    async fn heartbeat(
        &self,
        connection: &mut PgConnection,
        (): (),
        shard: Shard,
        held: &[Lease],
        visibility_timeout: Duration,
    ) -> Attempt<HashSet<(TaskId, LeaseToken)>> {
        settling::heartbeat(self, connection, shard, held, visibility_timeout).await
    }

    async fn ended(
        &self,
        connection: &mut PgConnection,
        (): (),
        shard: Shard,
        limit: usize,
    ) -> Attempt<Vec<Row>> {
        reclaiming::ended(self, connection, shard, limit).await
    }

    async fn reclaim(
        &self,
        connection: &mut PgConnection,
        (): (),
        shard: Shard,
        ended: &[Reclaiming],
    ) -> Attempt<HashSet<TaskId>> {
        reclaiming::reclaim(self, connection, shard, ended).await
    }

    async fn promote(
        &self,
        connection: &mut PgConnection,
        (): (),
        shard: Shard,
        limit: usize,
    ) -> Attempt<u64> {
        promoting::promote(self, connection, shard, limit).await
    }

    async fn run_now(
        &self,
        connection: &mut PgConnection,
        (): (),
        shard: Shard,
        ids: &[TaskId],
    ) -> Attempt<u64> {
        promoting::run_now(self, connection, shard, ids).await
    }

    async fn redrive(
        &self,
        connection: &mut PgConnection,
        (): (),
        shard: Shard,
        chosen: &[TaskId],
    ) -> Attempt<HashSet<TaskId>> {
        reclaiming::redrive(self, connection, shard, chosen).await
    }

    async fn cleanup(
        &self,
        connection: &mut PgConnection,
        (): (),
        shard: Shard,
        cleanup: &Cleanup,
    ) -> Attempt<u64> {
        cleaning::clean_up(self, connection, shard, cleanup).await
    }

    async fn add_totals(
        &self,
        connection: &mut PgConnection,
        totals: &[Total],
        _owner: Owner,
    ) -> Attempt<()> {
        totalling::append(self, connection, totals).await
    }

    async fn fold_totals(&self, connection: &mut PgConnection) -> Attempt<()> {
        totalling::fold_all(self, connection).await
    }

    async fn running(
        &self,
        connection: &mut PgConnection,
        shard: Shard,
        filter: &TaskFilter,
    ) -> Attempt<Vec<Row>> {
        let query = self
            .query(&self.literal().running_page)
            .bind(shard.number())
            .bind(filter.task_type.as_ref().map(|task_type| task_type.as_str().to_owned()))
            .bind(filter.region.clone())
            .bind(filter.after.map(|id| id.as_uuid()))
            .bind(integer(filter.limit))
            .bind(integer(filter.offset));
        self.rows(connection, query).await
    }

    async fn open_counts(&self, connection: &mut PgConnection, shard: Shard) -> Attempt<Vec<Row>> {
        self.rows(connection, self.query(&self.literal().open_counts).bind(shard.number())).await
    }

    async fn oldest_pending(&self, connection: &mut PgConnection, shard: Shard) -> Attempt<Vec<Row>> {
        if let Some(before) = self.literal().before_oldest_pending {
            self.query(before).execute(&mut *connection).await.map_err(failure)?;
        }
        self.rows(connection, self.query(&self.literal().oldest_pending).bind(shard.number())).await
    }

    async fn totals(&self, connection: &mut PgConnection) -> Attempt<Vec<Row>> {
        self.rows(connection, self.query(&self.literal().totals.sums)).await
    }

    async fn backend(&self, connection: &mut PgConnection) -> Attempt<Backend> {
        let query = self.query(self.literal().version);
        let row = query.fetch_one(connection).await.map_err(failure)?;
        Ok(Backend { name: self.literal().name, version: wire::row(&row)?.text(0)? })
    }

    fn claims(&self) -> Option<&Unsettled> {
        Some(self.unsettled())
    }

    fn doubt(&self) {
        self.cursors().doubt();
    }

    fn announce(&self, is_awaited: bool) {
        self.cursors().forget_doubtful();
        if let Some(wakes) = &self.wakes {
            wakes.announce(is_awaited);
        }
    }

    fn hear(&self, wake_up: &WakeUp) {
        if let Some(wakes) = &self.wakes {
            wakes.hear(wake_up);
        }
    }

    async fn get_ready(&self) {
        rehearsal::rehearse(self).await;
    }

    async fn close(&self) {
        if let Some(wakes) = &self.wakes {
            wakes.close().await;
        }
        self.connections().keep_none();
        if self.of_callers.is_none() {
            self.connections().pool().0.close().await;
        }
    }
}
