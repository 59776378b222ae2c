//! How an engine writes what SQL leaves open: its quoting, its clock, its ids. Pure; it knows no connection.

use std::time::Duration;

use sea_query::{Expr, ExprTrait, QueryBuilder, Value};
use taskqueue_core::{State, TaskId};

use crate::Column;

/// How an engine writes what the portable statements leave open.
pub trait Flavour: Send + Sync + 'static {
    /// sea-query's renderer.
    type Builder: QueryBuilder + Default;
    /// The current time as the statements of one transaction carry it: a reading of the host's clock where that is
    /// the queue's clock, nothing where the server has its own.
    type Now: Copy + Send + Sync + 'static;

    /// Whether the unique keys that are held are in a table of their own. Else the tasks say whether they hold theirs.
    const KEYS_APART: bool = false;

    /// Now, as an expression.
    fn now(&self, now: Self::Now) -> Expr;

    /// The time `age` before now, as an expression.
    fn ago(&self, now: Self::Now, age: Duration) -> Expr;

    /// A task id as a bound value.
    fn id(&self, id: TaskId) -> Value;

    /// The `queue_rank` of a task that is not ready.
    fn rank_off_queue(&self) -> Expr;

    /// The slot of the sums over finished tasks that a caller's transaction adds to: the same one in all its calls, and below 0,
    /// because the queue's own calls would wait for it as long as that transaction is open.
    fn callers_slot(&self) -> Expr {
        Expr::val(-1_i16)
    }

    /// What a time column has while it has no time.
    fn no_time(&self) -> Expr {
        Expr::null()
    }

    /// The condition that a task is in one of these states, in the form in which the engine's index is used. `at` says how a
    /// column is named.
    fn is_in(&self, states: &[State], at: &dyn Fn(Column) -> Expr) -> Expr {
        is_one_of(states, at(Column::Status))
    }

    /// The order in which dead letters are redriven: that of an index.
    fn dead_letter_order(&self) -> &'static [Column] {
        &[Column::QueueAt, Column::Id]
    }
}

/// The condition that a column has the code of one of these states.
pub fn is_one_of(states: &[State], column: Expr) -> Expr {
    match states {
        [state] => column.eq(state.code()),
        _ => column.is_in(states.iter().map(|state| state.code())),
    }
}

/// A rendered statement and its values, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// The text, with the engine's placeholders.
    pub sql: String,
    /// The values.
    pub values: Vec<Value>,
}
