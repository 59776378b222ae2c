//! Answers that rest on what is read. A server whose commits wait for a replica waits in transactions that write, and shows
//! what was left waiting when it was restarted or the waiting session ended: without a write of its own, a call would say of
//! that that it is done. It knows no verb.

use async_trait::async_trait;
use taskqueue_core::{Shards, State};

use crate::operation::Operation;
use crate::{Access, Attempt, Delta, Dialect, Owner, Total};

/// The type of a sum of nothing, which counts no task, also where a task is called so.
const NOBODY: &str = "taskqueue";

/// Writes what changes nothing, where that is a row that nobody waits for, so that the commit waits for what this
/// transaction has read. A number for the transaction is not enough (`pg_current_xact_id`): PostgreSQL waits only for one that has
/// written to its log before it commits.
pub(crate) async fn vouch<D: Dialect>(dialect: &D, connection: &mut D::Connection) -> Attempt<()> {
    if !D::APPENDS_TOTALS {
        return Ok(());
    }
    dialect.add_totals(connection, &[nobodys(0)], Owner::Queue).await
}

fn nobodys(tasks: i64) -> Total {
    let delta = Delta { tasks, busy_us: 0 };
    Total { task_type: NOBODY.to_owned(), state: State::Completed, delta }
}

/// Finds out whether the database answers, and commits what it takes.
pub(crate) struct Commits;

#[async_trait]
impl<D: Dialect> Operation<D> for Commits {
    type Answer = ();
    const NAME: &'static str = "enqueue";
    const ASKS_FOR_TASKS: bool = false;

    fn access(&self, _shards: Shards) -> Access {
        if D::APPENDS_TOTALS { Access::Single } else { Access::Write }
    }

    /// Where sums are changed in place, the row is left as it was: a change that changes nothing is no write.
    async fn run(&self, dialect: &D, connection: &mut D::Connection, _shards: Shards) -> Attempt<()> {
        if D::APPENDS_TOTALS {
            return vouch(dialect, connection).await;
        }
        for tasks in [1, -1] {
            dialect.add_totals(connection, &[nobodys(tasks)], Owner::Queue).await?;
        }
        Ok(())
    }
}
