//! How an engine writes what SQL leaves open: its quoting, its clock, its ids. Pure; it knows no connection.

use std::time::Duration;

use sea_query::{Expr, ExprTrait, QueryBuilder, Value};
use taskqueue_core::TaskId;

use crate::Column;

/// How an engine writes what the portable statements leave open.
pub trait Flavour: Send + Sync + 'static {
    /// sea-query's renderer.
    type Builder: QueryBuilder + Default;
    /// The current time as the statements of one transaction carry it: a reading of the host's clock where that is
    /// the queue's clock, nothing where the server has its own.
    type Now: Copy + Send + Sync + 'static;

    /// Now, as an expression.
    fn now(&self, now: Self::Now) -> Expr;

    /// The time `age` before now, as an expression.
    fn ago(&self, now: Self::Now, age: Duration) -> Expr;

    /// A task id as a bound value.
    fn id(&self, id: TaskId) -> Value;

    /// The `queue_rank` of a task that is not ready.
    fn rank_off_queue(&self) -> Expr;

    /// The condition that a task is not ready, in the form in which the engine's index is used.
    fn is_off_queue(&self) -> Expr {
        Expr::col(Column::QueueRank).eq(self.rank_off_queue())
    }

    /// The column in which finished tasks are ordered by when they finished.
    fn finish_order(&self) -> Column {
        Column::QueueAt
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
