//! One call on the database: what runs inside its transaction. Running it is the queue's business.

use async_trait::async_trait;
use taskqueue_core::{Shards, State, TaskType};

use crate::{Access, Attempt, Dialect, Failure, Row};

/// What runs inside one transaction. It may run again from the start when the transaction is repeated, so it
/// changes nothing but the database.
#[async_trait]
pub(crate) trait Operation<D: Dialect>: Send + Sync + 'static {
    /// What it answers.
    type Answer: Send + 'static;
    /// The verb, for errors.
    const NAME: &'static str;
    /// Whether it needs the queue's tables.
    const ASKS_FOR_TASKS: bool = true;

    /// Whether it is repeated after it has waited for a lock as long as a statement may. One that is not leaves to its caller what
    /// to do meanwhile.
    fn repeats_lock_waits(&self) -> bool {
        true
    }

    /// What its transaction is for.
    fn access(&self, _shards: Shards) -> Access {
        Access::Write
    }

    /// Does it by one statement that is a transaction by itself, if it can be done so and nothing is in the way. None: it
    /// is to be [`run`](Self::run).
    async fn at_once(&self, _dialect: &D, _shards: Shards) -> Attempt<Option<Self::Answer>> {
        Ok(None)
    }

    /// Does it.
    async fn run(&self, dialect: &D, connection: &mut D::Connection, shards: Shards)
    -> Attempt<Self::Answer>;

    /// What it answers all the same when it failed, if there is anything.
    fn rescue(&self, failure: Failure) -> Attempt<Self::Answer> {
        Err(failure)
    }
}

/// What was read in this transaction was changed by somebody else if fewer rows matched: repeat it.
pub fn changed(rows: u64, expected: usize) -> Attempt<()> {
    if rows == expected as u64 { Ok(()) } else { Err(Failure::Contention { source: None }) }
}

/// What could be read of a row. One that cannot be is passed over, with a warning: it is to cost no other anything.
pub(crate) fn readable<T>(read: Attempt<T>) -> Option<T> {
    read.map_err(|failure| tracing::warn!(?failure, "a row that cannot be read is passed over")).ok()
}

/// The stored type and the status in the first two fields, by which sums are kept. A producer's own INSERT may have named a type
/// that no task can have, or on SQLite one that is no text, which counts as the empty one.
pub(crate) fn kind_of(row: &mut Row) -> Attempt<(String, State)> {
    Ok((row.text(0).unwrap_or_default(), row.state(1)?))
}

/// The task type at `place`. None, and a warning, where a producer's own INSERT named one that no task can have: who looks at
/// the whole queue is not to fail for it.
pub(crate) fn type_of(row: &mut Row, place: usize) -> Option<TaskType> {
    row.task_type(place)
        .map_err(|failure| tracing::warn!(?failure, "a row of no task type is passed over"))
        .ok()
}
