//! Answers that rest on what is read. A server whose commits wait for a replica waits in transactions that write, and shows
//! what was left waiting when it was restarted or the waiting session ended: without a write of its own, a call would say of
//! that that it is done. It knows no verb.

use async_trait::async_trait;
use taskqueue_core::{Shards, State};

use crate::operation::Operation;
use crate::{Access, Attempt, Delta, Dialect, Owner, Total};

/// The type of a sum of nothing. No task has it, and it counts none.
const NOBODY: &str = "taskqueue";

/// Writes what changes nothing, where that is a row that nobody waits for, so that the commit waits for what this
/// transaction has read.
pub(crate) async fn vouch<D: Dialect>(dialect: &D, connection: &mut D::Connection) -> Attempt<()> {
    if !D::APPENDS_TOTALS {
        return Ok(());
    }
    let nothing = Total { task_type: NOBODY.to_owned(), state: State::Completed, delta: Delta::default() };
    dialect.add_totals(connection, &[nothing], Owner::Queue).await
}

/// Finds out whether the database answers, and commits what it takes.
pub(crate) struct Commits;

#[async_trait]
impl<D: Dialect> Operation<D> for Commits {
    type Answer = ();
    const NAME: &'static str = "enqueue";
    const ASKS_FOR_TASKS: bool = false;

    fn access(&self, _shards: Shards) -> Access {
        Access::Single
    }

    async fn run(&self, dialect: &D, connection: &mut D::Connection, _shards: Shards) -> Attempt<()> {
        if D::APPENDS_TOTALS {
            vouch(dialect, connection).await
        } else {
            dialect.backend(connection).await.map(drop)
        }
    }
}
