//! The sums over finished tasks: whoever finishes or removes a task says so here, in the same transaction.

use std::collections::BTreeMap;

use taskqueue_core::State;

use crate::{Attempt, Delta, Dialect, Owner, Total};

/// What the sums change by, for each stored type and status. Written in key order, so that two transactions that touch the
/// same sums wait for each other instead of deadlocking.
#[derive(Debug, Default)]
pub(crate) struct Deltas(BTreeMap<(String, i16), (State, Delta)>);

impl Deltas {
    /// Counts one task more in `state` if that is a finished one.
    pub(crate) fn add(&mut self, task_type: &str, state: State, busy_us: i64) {
        self.change(task_type, state, Delta { tasks: 1, busy_us });
    }

    /// Counts one task less in `state`.
    pub(crate) fn subtract(&mut self, task_type: &str, state: State, busy_us: i64) {
        self.change(task_type, state, Delta { tasks: -1, busy_us: -busy_us });
    }

    /// Writes the changes.
    pub(crate) async fn apply<D: Dialect>(
        self,
        dialect: &D,
        connection: &mut D::Connection,
        owner: Owner,
    ) -> Attempt<()> {
        let total = |((task_type, _), (state, delta))| Total { task_type, state, delta };
        let totals: Vec<Total> = self.0.into_iter().map(total).collect();
        if totals.is_empty() { Ok(()) } else { dialect.add_totals(connection, &totals, owner).await }
    }

    fn change(&mut self, task_type: &str, state: State, by: Delta) {
        if !state.status().is_finished() {
            return;
        }
        let (_, delta) =
            self.0.entry((task_type.to_owned(), state.code())).or_insert((state, Delta::default()));
        delta.tasks += by.tasks;
        if state == State::Completed {
            delta.busy_us += by.busy_us;
        }
    }
}
