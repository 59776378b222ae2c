//! What changes nothing: get, the holder of a key, list, stats, the paused types, the engine's version,
//! the schema's, and the clock.

use async_trait::async_trait;
use taskqueue_core::{
    Backend, Error, ErrorKind, QueueStats, Shard, Shards, State, Status, Task, TaskFilter, TaskId, TaskPage,
    TaskType, Timestamp,
};

use crate::operation::{Operation, readable, type_of};
use crate::{Access, Attempt, Dialect, Failure, Row};

/// How many tasks a list of several shards passes over at a time.
const PASSED_MAX: usize = 100;

/// Reads one task.
pub(crate) struct Get(pub(crate) TaskId);

#[async_trait]
impl<D: Dialect> Operation<D> for Get {
    type Answer = Task;
    const NAME: &'static str = "get";

    fn access(&self, _shards: Shards) -> Access {
        Access::Read
    }

    async fn run(&self, dialect: &D, connection: &mut D::Connection, shards: Shards) -> Attempt<Task> {
        let mut rows = dialect.fetch(connection, dialect.statements(shards.of(self.0)).task(self.0)).await?;
        match rows.pop() {
            Some(row) => row.task(),
            None => Err(Error::task_not_found("get", self.0).into()),
        }
    }
}

/// Reads the task that holds a unique key, in the one shard where the key can be held.
pub(crate) struct Holder {
    pub(crate) task_type: TaskType,
    pub(crate) unique_key: String,
}

#[async_trait]
impl<D: Dialect> Operation<D> for Holder {
    type Answer = Option<Task>;
    const NAME: &'static str = "holder";

    fn access(&self, _shards: Shards) -> Access {
        Access::Read
    }

    async fn run(
        &self,
        dialect: &D,
        connection: &mut D::Connection,
        shards: Shards,
    ) -> Attempt<Option<Task>> {
        let Self { task_type, unique_key } = self;
        let statements = dialect.statements(shards.of_unique_key(task_type, unique_key));
        let mut rows = dialect.fetch(connection, statements.holder(task_type, unique_key)).await?;
        rows.pop().map(Row::task).transpose()
    }
}

/// Reads a page of tasks, merged from the pages of all shards.
pub(crate) struct List(pub(crate) TaskFilter);

#[async_trait]
impl<D: Dialect> Operation<D> for List {
    type Answer = TaskPage;
    const NAME: &'static str = "list";

    fn access(&self, shards: Shards) -> Access {
        if shards == Shards::ONE { Access::Read } else { Access::Snapshot }
    }

    async fn run(&self, dialect: &D, connection: &mut D::Connection, shards: Shards) -> Attempt<TaskPage> {
        let Self(filter) = self;
        if shards == Shards::ONE {
            return page(dialect, connection, Shard::FIRST, filter)
                .await
                .map(|listed| finish(listed, filter.limit));
        }
        // What a shard's own offset would pass over may be on the merged page: it is passed over page by page.
        let mut rest = TaskFilter { offset: 0, ..filter.clone() };
        let mut offset = filter.offset;
        loop {
            rest.limit = step(offset, filter.limit);
            let listed = merged(dialect, connection, shards, &rest).await?;
            let passed = offset.min(listed.len());
            if passed == 0 {
                return Ok(finish(listed, filter.limit));
            }
            offset -= passed;
            rest.after = last_id(&listed[..passed]);
        }
    }
}

/// How many tasks are read at a time where so many are to be passed over: each time costs a statement a shard, and each task
/// may have a payload of a megabyte and more, all of which are in memory at once, of two shards.
fn step(offset: usize, limit: usize) -> usize {
    offset.min(PASSED_MAX).max(limit)
}

/// A row of a list.
struct Listed {
    id: Option<TaskId>,
    /// None where it cannot be read. It is left out of its page, and counts all the same: else the list would end there.
    task: Option<Task>,
}

impl Listed {
    fn of(row: Row) -> Self {
        let id = row.id_of_task();
        let unreadable = |failure| tracing::warn!(?id, ?failure, "a task cannot be read: lists leave it out");
        Self { id, task: row.task().map_err(unreadable).ok() }
    }
}

/// The page that these rows are.
fn finish(listed: Vec<Listed>, limit: usize) -> TaskPage {
    let next = if listed.len() < limit { None } else { last_id(&listed) };
    TaskPage { tasks: listed.into_iter().filter_map(|listed| listed.task).collect(), next }
}

/// The last id that could be read. On SQLite those that cannot be stand behind all others.
fn last_id(listed: &[Listed]) -> Option<TaskId> {
    listed.iter().rev().find_map(|listed| listed.id)
}

/// A page of all shards, without its offset.
async fn merged<D: Dialect>(
    dialect: &D,
    connection: &mut D::Connection,
    shards: Shards,
    filter: &TaskFilter,
) -> Attempt<Vec<Listed>> {
    let mut listed = Vec::new();
    for shard in shards.all() {
        listed.extend(page(dialect, connection, shard, filter).await?);
        listed.sort_unstable_by_key(|listed| std::cmp::Reverse(listed.id));
        listed.truncate(filter.limit);
    }
    Ok(listed)
}

/// A page of one shard.
async fn page<D: Dialect>(
    dialect: &D,
    connection: &mut D::Connection,
    shard: Shard,
    filter: &TaskFilter,
) -> Attempt<Vec<Listed>> {
    let rows = match filter.status {
        Some(Status::Running) => dialect.running(connection, shard, filter).await?,
        _ => dialect.list(connection, shard, filter).await?,
    };
    Ok(rows.into_iter().map(Listed::of).collect())
}

/// Reads what the queue holds: unfinished tasks from indexes, finished ones from their sums.
pub(crate) struct Stats;

#[async_trait]
impl<D: Dialect> Operation<D> for Stats {
    type Answer = QueueStats;
    const NAME: &'static str = "stats";

    fn access(&self, _shards: Shards) -> Access {
        Access::Snapshot
    }

    async fn run(&self, dialect: &D, connection: &mut D::Connection, shards: Shards) -> Attempt<QueueStats> {
        let mut stats = QueueStats::default();
        for shard in shards.all() {
            let pending = stats.pending;
            for row in dialect.open_counts(connection, shard).await? {
                count_open(&mut stats, row)?;
            }
            if stats.pending > pending {
                let mut rows = dialect.oldest_pending(connection, shard).await?;
                let oldest = rows.pop().and_then(|mut row| readable(row.time_opt(0)).flatten());
                stats.oldest_pending = stats.oldest_pending.into_iter().chain(oldest).min();
            }
        }
        let mut busy_us = 0;
        for row in dialect.totals(connection).await? {
            busy_us += count_finished(&mut stats, row)?;
        }
        stats.dead_letter_by_type.retain(|_, tasks| *tasks > 0);
        if stats.completed > 0 {
            stats.avg_processing_time_ms = busy_us as f64 / 1_000.0 / stats.completed as f64;
        }
        Ok(stats)
    }
}

fn count_open(stats: &mut QueueStats, mut row: Row) -> Attempt<()> {
    let (state, task_type) = (row.state(0)?, type_of(&mut row, 1));
    let tasks = u64::try_from(row.integer(2)?).unwrap_or_default();
    match state {
        State::Ready => stats.pending += tasks,
        State::Delayed => {
            stats.pending += tasks;
            stats.scheduled += tasks;
        }
        State::Running => stats.running += tasks,
        State::Failed => stats.failed += tasks,
        State::Completed | State::DeadLetter | State::Cancelled => return Ok(()),
    }
    if let Some(task_type) = task_type {
        *stats.by_type.entry(task_type).or_default() += tasks;
    }
    Ok(())
}

/// Counts one sum; answers its busy microseconds. A slot of its own can be negative, their sum is not.
fn count_finished(stats: &mut QueueStats, mut row: Row) -> Attempt<i64> {
    let state = row.state(1)?;
    let (tasks, busy_us) = (row.integer(2)?, row.integer(3)?);
    if state == State::DeadLetter
        && let Some(task_type) = type_of(&mut row, 0)
    {
        let of_type = stats.dead_letter_by_type.entry(task_type).or_default();
        *of_type = of_type.wrapping_add_signed(tasks);
    }
    let sum = match state {
        State::Completed => &mut stats.completed,
        State::DeadLetter => &mut stats.dead_letter,
        State::Cancelled => &mut stats.cancelled,
        State::Ready | State::Delayed | State::Running | State::Failed => return Ok(0),
    };
    *sum = sum.wrapping_add_signed(tasks);
    Ok(busy_us)
}

/// Reads the paused types.
pub(crate) struct Paused;

#[async_trait]
impl<D: Dialect> Operation<D> for Paused {
    type Answer = Vec<TaskType>;
    const NAME: &'static str = "paused";

    fn access(&self, _shards: Shards) -> Access {
        Access::Read
    }

    async fn run(
        &self,
        dialect: &D,
        connection: &mut D::Connection,
        _shards: Shards,
    ) -> Attempt<Vec<TaskType>> {
        let rows = dialect.fetch(connection, dialect.statements(Shard::FIRST).paused()).await?;
        Ok(rows.into_iter().filter_map(|mut row| type_of(&mut row, 0)).collect())
    }
}

/// Reads the engine's version.
pub(crate) struct Version;

#[async_trait]
impl<D: Dialect> Operation<D> for Version {
    type Answer = Backend;
    const NAME: &'static str = "backend";
    const ASKS_FOR_TASKS: bool = false;

    fn access(&self, _shards: Shards) -> Access {
        Access::Read
    }

    async fn run(&self, dialect: &D, connection: &mut D::Connection, _shards: Shards) -> Attempt<Backend> {
        dialect.backend(connection).await
    }
}

/// Reads the version of the schema. Where there is no table of versions it is 0.
pub(crate) struct SchemaVersion;

#[async_trait]
impl<D: Dialect> Operation<D> for SchemaVersion {
    type Answer = i64;
    const NAME: &'static str = "schema_version";
    const ASKS_FOR_TASKS: bool = false;

    fn access(&self, _shards: Shards) -> Access {
        Access::Read
    }

    async fn run(&self, dialect: &D, connection: &mut D::Connection, _shards: Shards) -> Attempt<i64> {
        let statement = dialect.statements(Shard::FIRST).schema_version();
        let mut rows = dialect.fetch(connection, statement).await?;
        let row = rows.first_mut().ok_or_else(|| Failure::malformed("a maximum gave no row".to_owned()))?;
        row.integer(0)
    }

    fn rescue(&self, failure: Failure) -> Attempt<i64> {
        match failure {
            Failure::Database { kind: ErrorKind::NotMigrated, .. } => Ok(0),
            failure => Err(failure),
        }
    }
}

/// Reads the queue's clock.
pub(crate) struct Now;

#[async_trait]
impl<D: Dialect> Operation<D> for Now {
    type Answer = Timestamp;
    const NAME: &'static str = "now";
    const ASKS_FOR_TASKS: bool = false;

    fn access(&self, _shards: Shards) -> Access {
        Access::Read
    }

    async fn run(&self, dialect: &D, connection: &mut D::Connection, _shards: Shards) -> Attempt<Timestamp> {
        let statement = dialect.statements(Shard::FIRST).now(dialect.now());
        let mut rows = dialect.fetch(connection, statement).await?;
        let row = rows.first_mut().ok_or_else(|| Failure::malformed("the clock gave no row".to_owned()))?;
        row.time(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_full_also_where_nothing_of_a_row_can_be_read() {
        let id = TaskId::generate();
        let page = |limit| {
            let ids = [Some(id), None].map(|id| Listed { id, task: None });
            finish(ids.into(), limit).next
        };
        assert_eq!(page(2), Some(id));
        assert_eq!(page(3), None);
    }

    #[test]
    fn what_a_list_passes_over_is_read_in_pages_that_fit_into_memory_and_the_page_itself_in_its_own_size() {
        assert_eq!([0, 10, 1_000, 100_000].map(|offset| step(offset, 1)), [1, 10, 100, 100]);
        assert_eq!([0, 10, 100_000].map(|offset| step(offset, 5_000)), [5_000; 3]);
    }
}
