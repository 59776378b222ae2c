//! Cleanup: removing finished tasks and taking them off the sums. This file owns the way of the engines whose index
//! holds finished tasks in the order in which they finished, or were claimed; a dialect may have its own.

use std::collections::BTreeSet;

use async_trait::async_trait;
use taskqueue_core::{Cleanup, Shard, Shards, State, TaskId, Timestamp};

use crate::finish::Deltas;
use crate::operation::{Operation, changed, kind_of, readable};
use crate::statements::LIST_MAX;
use crate::{Attempt, Dialect, Now, Owner, Row, wider};

/// Removes finished tasks of one shard.
pub(crate) struct RunCleanup {
    pub(crate) cleanup: Cleanup,
    pub(crate) shard: Shard,
}

#[async_trait]
impl<D: Dialect> Operation<D> for RunCleanup {
    type Answer = u64;
    const NAME: &'static str = "cleanup";

    async fn run(&self, dialect: &D, connection: &mut D::Connection, _shards: Shards) -> Attempt<u64> {
        dialect.cleanup(connection, dialect.now(), self.shard, &self.cleanup).await
    }
}

/// Removes tasks that are old enough: as far as the index goes by it, those that finished first.
pub(crate) async fn remove_oldest<D: Dialect>(
    dialect: &D,
    connection: &mut D::Connection,
    now: Now<D>,
    shard: Shard,
    cleanup: &Cleanup,
) -> Attempt<u64> {
    let found = locked(dialect, connection, now, shard, cleanup).await?;
    let mut deltas = Deltas::default();
    for Finished { task_type, state, busy_us, .. } in &found {
        deltas.subtract(task_type, *state, *busy_us);
    }
    let ids: Vec<TaskId> = found.iter().map(|finished| finished.id).collect();
    for chunk in ids.chunks(LIST_MAX) {
        changed(dialect.remove(connection, shard, chunk).await?, chunk.len())?;
    }
    deltas.apply(dialect, connection, Owner::Queue).await?;
    Ok(ids.len() as u64)
}

/// The first finished tasks that nobody else has locked, locked. Looks further where others have locked what comes first.
async fn locked<D: Dialect>(
    dialect: &D,
    connection: &mut D::Connection,
    now: Now<D>,
    shard: Shard,
    cleanup: &Cleanup,
) -> Attempt<Vec<Finished>> {
    let mut wide = *cleanup;
    loop {
        let mut found = finished(dialect, connection, now, shard, &wide).await?;
        let ids: Vec<TaskId> = found.iter().map(|finished| finished.id).collect();
        let free = dialect.lock_finished(connection, shard, &ids, cleanup.limit).await?;
        let missing = cleanup.limit.saturating_sub(free.len());
        let Some(limit) = wider(wide.limit, found.len(), missing) else {
            found.retain(|finished| free.contains(&finished.id));
            found.truncate(cleanup.limit);
            return Ok(found);
        };
        wide.limit = limit;
    }
}

/// A finished task that is old enough to go.
#[derive(Debug)]
struct Finished {
    id: TaskId,
    task_type: String,
    state: State,
    completed_at: Timestamp,
    busy_us: i64,
}

/// The first finished tasks of the statuses, of all types, in the order in which they finished. Those of each kind are a prefix of the
/// index in its order, so that those of another status are not looked at; which statuses and types there are, the sums say.
async fn finished<D: Dialect>(
    dialect: &D,
    connection: &mut D::Connection,
    now: Now<D>,
    shard: Shard,
    cleanup: &Cleanup,
) -> Attempt<Vec<Finished>> {
    let until = (now, cleanup.older_than);
    let mut kinds = BTreeSet::new();
    for mut row in dialect.totals(connection).await? {
        let (task_type, state) = kind_of(&mut row)?;
        if row.integer(2)? != 0 && cleanup.statuses.contains(state.status()) {
            kinds.insert((task_type, state.code()));
        }
    }
    let mut found = Vec::new();
    for (task_type, code) in kinds {
        let state = State::from_code(code).expect("the code came from a state");
        let oldest = dialect.statements(shard).finished(state, &task_type, until, cleanup.limit);
        for row in dialect.fetch(connection, oldest).await? {
            found.extend(readable(read_finished(row, state, &task_type)));
        }
        keep_oldest(&mut found, cleanup.limit);
    }
    Ok(found)
}

/// Keeps those that finished first, in this order. After each kind: of many kinds there would be many times the limit.
fn keep_oldest(found: &mut Vec<Finished>, limit: usize) {
    found.sort_by_key(|finished| (finished.completed_at, finished.id));
    found.truncate(limit);
}

fn read_finished(mut row: Row, state: State, task_type: &str) -> Attempt<Finished> {
    // A dead letter may have been one that could not be read.
    let (id, started_at, completed_at) = (row.id(0)?, row.time_opt(1).ok().flatten(), row.time(2)?);
    let busy = started_at.map_or(0, |started_at| (completed_at - started_at).num_microseconds().unwrap_or(0));
    Ok(Finished { id, task_type: task_type.to_owned(), state, completed_at, busy_us: busy.max(0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_all_kinds_together_no_more_are_kept_than_may_go_and_those_that_finished_first() {
        let of_second = |second| Finished {
            id: TaskId::generate(),
            task_type: "mail".to_owned(),
            state: State::Completed,
            completed_at: Timestamp::from_timestamp_secs(second).expect("it is in range"),
            busy_us: 0,
        };
        let mut found = Vec::new();
        for kind in [[5, 2], [9, 1], [3, 4]] {
            found.extend(kind.map(of_second));
            keep_oldest(&mut found, 3);
        }
        assert_eq!(found.iter().map(|one| one.completed_at.timestamp()).collect::<Vec<_>>(), [1, 2, 3]);
    }
}
