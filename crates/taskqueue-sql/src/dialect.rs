//! What a backend supplies: connections, transactions, and the operations whose SQL is each engine's own. It
//! decides nothing: which retry, which state and what an answer means is settled before or after, once for all.

use std::collections::{HashMap, HashSet};
use std::ops::DerefMut;
use std::time::Duration;

use async_trait::async_trait;
use sea_query::Expr;
use taskqueue_core::backend::Decision;
use taskqueue_core::{
    Backend, Claim, Cleanup, Enqueued, Lease, LeaseToken, NewTask, Shard, State, TaskFilter, TaskId,
    TaskType, WakeUp, WorkerId,
};

use crate::{
    Access, Attempt, Delta, Flavour, KeyedEnqueues, Options, Owner, Row, Sharding, Statement, Statements,
    Unsettled,
};

/// The current time as a dialect's statements carry it.
pub type Now<D> = <<D as Dialect>::Flavour as Flavour>::Now;

/// What a claim asks of the database.
#[derive(Debug, Clone)]
pub struct Claiming {
    /// The types, each once. Paused ones are passed over.
    pub types: Vec<TaskType>,
    /// The most tasks to claim.
    pub limit: usize,
    /// The token of the leases.
    pub token: LeaseToken,
    /// Who claims.
    pub worker_id: WorkerId,
    /// How long the leases last.
    pub visibility_timeout: Duration,
    /// Whether it is made beside another claim, and finds nothing where another extra claim is on its way.
    pub is_extra: bool,
}

/// A settle that was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// The task.
    pub id: TaskId,
    /// How long it ran, in microseconds, from claim to settle.
    pub busy_us: i64,
}

/// A task to be taken back, and where that puts it.
#[derive(Debug, Clone, PartialEq)]
pub struct Reclaiming {
    /// The task.
    pub id: TaskId,
    /// Its type.
    pub task_type: TaskType,
    /// The lease that has ended.
    pub token: LeaseToken,
    /// Ready or dead letter.
    pub state: State,
    /// The new `last_error`.
    pub error: String,
}

/// What the sum over the finished tasks of one type and state changes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Total {
    /// The type as it is stored: also one that no task can have, which a producer's own INSERT named.
    pub task_type: String,
    /// The finished state.
    pub state: State,
    /// The change.
    pub delta: Delta,
}

/// One database engine behind [`SqlQueue`](crate::SqlQueue). The operations run inside a transaction that the
/// caller commits, each on one shard, in which all tasks are that it names; what `docs/lifecycle.md` says of each verb is what they do to a row.
#[async_trait]
pub trait Dialect: Sized + Send + Sync + 'static {
    /// How the engine writes what the portable statements leave open.
    type Flavour: Flavour;
    /// The driver's connection, also where callers bring their own transaction.
    type Connection: Send;
    /// An open transaction. Dropping it rolls back.
    type Transaction: DerefMut<Target = Self::Connection> + Send;

    /// Over how many rows each sum over finished tasks is spread, so that transactions that finish tasks at the same
    /// time seldom wait for one another's row. 1 where there is one writer.
    const SLOTS: i16 = 1;
    /// Whether [`settle`](Dialect::settle) adds what it finishes to the sums itself.
    const COUNTS_SETTLES: bool = false;
    /// Whether the sums are rows that are only appended, which [`fold_totals`](Dialect::fold_totals) makes few.
    const APPENDS_TOTALS: bool = false;

    /// How the engine writes what the portable statements leave open.
    fn flavour(&self) -> &Self::Flavour;

    /// The shared settings.
    fn options(&self) -> &Options;

    /// The portable statements of the table, on one of its shards. Those about other tables have none.
    fn statements(&self, shard: Shard) -> Statements<'_, Self::Flavour> {
        Statements::new(self.flavour(), &self.options().table, shard)
    }

    /// How many shards the table has, where that can be set; else all tasks are in the first one.
    fn sharding(&self) -> Option<&Sharding> {
        None
    }

    /// Whether [`settle`](Dialect::settle) itself deletes what it completes, where [`Options::completed`] says so.
    fn deletes_completed(&self) -> bool {
        false
    }

    /// Whether a claim beside another one of the same worker gains anything. Else none reaches the dialect.
    fn takes_extra_claims(&self) -> bool {
        false
    }

    /// Now, read once a transaction, after it has begun.
    fn now(&self) -> Now<Self>;

    /// How often a transaction is repeated when others are in the way.
    fn contention_retries_max(&self) -> u32;

    /// How enqueues of unique keys take turns, each of which may wait on a connection for a transaction that holds its key.
    fn keyed_enqueues(&self) -> KeyedEnqueues {
        KeyedEnqueues::UNLIMITED
    }

    /// Begins a transaction.
    async fn begin(&self, access: Access) -> Attempt<Self::Transaction>;

    /// Commits it.
    async fn commit(&self, transaction: Self::Transaction) -> Attempt<()>;

    /// Ends it without a trace.
    async fn rollback(&self, transaction: Self::Transaction);

    /// Runs a statement; answers how many rows it matched.
    async fn execute(&self, connection: &mut Self::Connection, statement: Statement) -> Attempt<u64>;

    /// Runs a query.
    async fn fetch(&self, connection: &mut Self::Connection, statement: Statement) -> Attempt<Vec<Row>>;

    /// Inserts all of these, whose ids differ, by one statement that is a transaction by itself, the quickest way while
    /// nothing is in the way. False where that cannot be done, something is in the way, or nobody can tell whether they are
    /// in: they are then inserted in a transaction, which finds out.
    async fn insert_all(&self, _now: Now<Self>, _shard: Shard, _tasks: &[&NewTask]) -> Attempt<bool> {
        Ok(false)
    }

    /// Whether a look without locks, outside of any transaction, finds nothing to claim. It must not change where a claim
    /// looks: one follows at once if it answers false. False also where nobody looks, because claims go by cursors or
    /// one that finds nothing costs no more.
    async fn sees_none(&self, _shard: Shard, _claiming: &Claiming) -> Attempt<bool> {
        Ok(false)
    }

    /// Inserts what collides with no stored or earlier task, by id or by held unique key; answers the ids that
    /// are in. Ids within `tasks` differ. `place` is what the first one adds to `queue_at` when it is ready, in
    /// microseconds; the next ones add one more each.
    async fn insert(
        &self,
        connection: &mut Self::Connection,
        now: Now<Self>,
        shard: Shard,
        tasks: &[&NewTask],
        place: usize,
    ) -> Attempt<HashSet<TaskId>>;

    /// What is in the way of tasks that did not go in although a plain read shows nothing: in a caller's transaction that may read
    /// as of an earlier moment. `Created` where nothing is any more, and the task went in. Nothing, where an insert sees no more
    /// than a read.
    async fn in_the_way(
        &self,
        _connection: &mut Self::Connection,
        _shard: Shard,
        _tasks: &[&NewTask],
    ) -> Attempt<HashMap<TaskId, Enqueued>> {
        Ok(HashMap::new())
    }

    /// Claims; answers in claim order.
    async fn claim(
        &self,
        connection: &mut Self::Connection,
        now: Now<Self>,
        shard: Shard,
        claiming: &Claiming,
    ) -> Attempt<Vec<Claim>>;

    /// Applies the transitions whose lease is live; answers those.
    async fn settle(
        &self,
        connection: &mut Self::Connection,
        now: Now<Self>,
        shard: Shard,
        decisions: &[Decision],
        owner: Owner,
    ) -> Attempt<Vec<Applied>>;

    /// Extends the leases that are live; answers those. Where the engine can, it waits for no task that another session has locked.
    async fn heartbeat(
        &self,
        connection: &mut Self::Connection,
        now: Now<Self>,
        shard: Shard,
        leases: &[Lease],
        visibility_timeout: Duration,
    ) -> Attempt<HashSet<(TaskId, LeaseToken)>>;

    /// The running tasks whose lease has ended, earliest end first: id, type, lease token, worker id, attempts, max
    /// retries, reclaims.
    async fn ended(
        &self,
        connection: &mut Self::Connection,
        now: Now<Self>,
        shard: Shard,
        limit: usize,
    ) -> Attempt<Vec<Row>>;

    /// Takes tasks back whose lease is the given one and has ended; answers those.
    async fn reclaim(
        &self,
        connection: &mut Self::Connection,
        now: Now<Self>,
        shard: Shard,
        ended: &[Reclaiming],
    ) -> Attempt<HashSet<TaskId>>;

    /// Makes ready what is due; answers how many.
    async fn promote(
        &self,
        connection: &mut Self::Connection,
        now: Now<Self>,
        shard: Shard,
        limit: usize,
    ) -> Attempt<u64>;

    /// Makes these ready as far as they wait for a time, in this order; answers how many. They differ.
    async fn run_now(
        &self,
        connection: &mut Self::Connection,
        now: Now<Self>,
        shard: Shard,
        ids: &[TaskId],
    ) -> Attempt<u64>;

    /// Makes these dead letters ready, in this order, with their unique keys held; answers those that were.
    async fn redrive(
        &self,
        connection: &mut Self::Connection,
        now: Now<Self>,
        shard: Shard,
        ids: &[TaskId],
    ) -> Attempt<HashSet<TaskId>>;

    /// Lets the unique key of a task go that is about to be cancelled, where the keys that are held are in a table of their own.
    async fn let_key_go(
        &self,
        _connection: &mut Self::Connection,
        _shard: Shard,
        _id: TaskId,
    ) -> Attempt<()> {
        Ok(())
    }

    /// Removes finished tasks that are old enough, at most the limit, and takes them off the sums. Answers how many.
    async fn cleanup(
        &self,
        connection: &mut Self::Connection,
        now: Now<Self>,
        shard: Shard,
        cleanup: &Cleanup,
    ) -> Attempt<u64> {
        crate::cleanup::remove_oldest(self, connection, now, shard, cleanup).await
    }

    /// Locks finished tasks that are about to be removed, the first ones first, and passes over those that others have locked,
    /// until there are `limit` or some more; answers them. All, where the removal waits for nobody.
    async fn lock_finished(
        &self,
        _connection: &mut Self::Connection,
        _shard: Shard,
        ids: &[TaskId],
        _limit: usize,
    ) -> Attempt<HashSet<TaskId>> {
        Ok(ids.iter().copied().collect())
    }

    /// Removes finished tasks; answers how many.
    async fn remove(&self, connection: &mut Self::Connection, shard: Shard, ids: &[TaskId]) -> Attempt<u64> {
        self.execute(connection, self.statements(shard).remove(ids)).await
    }

    /// Adds to the sums over finished tasks. In the order of type and state, so that two transactions that touch the
    /// same rows wait for each other instead of deadlocking.
    async fn add_totals(
        &self,
        connection: &mut Self::Connection,
        totals: &[Total],
        owner: Owner,
    ) -> Attempt<()> {
        let slot = match owner {
            Owner::Queue => Expr::val(rand::random_range(0..Self::SLOTS)),
            Owner::Caller => self.flavour().callers_slot(),
        };
        for total in totals {
            self.execute(connection, self.statements(Shard::FIRST).add_total(total, slot.clone())).await?;
        }
        Ok(())
    }

    /// Folds rows of the sums over finished tasks into few.
    async fn fold_totals(&self, _connection: &mut Self::Connection) -> Attempt<()> {
        Ok(())
    }

    /// A page of tasks, highest id first, as [`TASK_COLUMNS`](crate::TASK_COLUMNS).
    async fn list(
        &self,
        connection: &mut Self::Connection,
        shard: Shard,
        filter: &TaskFilter,
    ) -> Attempt<Vec<Row>> {
        self.fetch(connection, self.statements(shard).list(filter)).await
    }

    /// A page of running tasks, highest id first, as [`TASK_COLUMNS`](crate::TASK_COLUMNS): by a statement of its own where no
    /// index has them apart from finished ones.
    async fn running(
        &self,
        connection: &mut Self::Connection,
        shard: Shard,
        filter: &TaskFilter,
    ) -> Attempt<Vec<Row>> {
        self.list(connection, shard, filter).await
    }

    /// How many unfinished tasks there are: status, type, tasks; any number of rows for each.
    async fn open_counts(&self, connection: &mut Self::Connection, shard: Shard) -> Attempt<Vec<Row>> {
        self.fetch(connection, self.statements(shard).open_counts()).await
    }

    /// Since when the task that has waited longest is ready, or NULL, in one row at most. Of each type and priority it
    /// looks at the first one alone.
    async fn oldest_pending(&self, connection: &mut Self::Connection, shard: Shard) -> Attempt<Vec<Row>>;

    /// The sums over finished tasks: type, status, tasks, busy microseconds; any number of rows for each.
    async fn totals(&self, connection: &mut Self::Connection) -> Attempt<Vec<Row>> {
        self.fetch(connection, self.statements(Shard::FIRST).totals()).await
    }

    /// The engine and its version.
    async fn backend(&self, connection: &mut Self::Connection) -> Attempt<Backend>;

    /// Where the dialect keeps which claims of this instance are not settled, and is to be told of settles.
    fn claims(&self) -> Option<&Unsettled> {
        None
    }

    /// What this transaction makes ready may lie anywhere in the claim order.
    fn doubt(&self) {}

    /// Tells the queues of other processes on the same table that tasks may be ready. A hint, given after the commit;
    /// returns at once. `is_awaited`: a worker of this process waits for tasks, and looks for these first.
    fn announce(&self, _is_awaited: bool) {}

    /// Somebody is about to wait for this signal, as a worker does: it is to be roused by what other processes announce as
    /// well.
    fn hear(&self, _wake_up: &WakeUp) {}

    /// A worker has started: the time to open connections that its first calls would have to wait for. In the background,
    /// and each time that one starts.
    async fn get_ready(&self) {}

    /// Closes the connections once the calls under way have ended.
    async fn close(&self);
}
