//! How PostgreSQL writes what the portable statements leave open. The server's clock is the queue's. It knows no
//! connection.

use std::time::Duration;

use sea_query::{Expr, ExprTrait, PostgresQueryBuilder, Value};
use taskqueue_core::TaskId;
use taskqueue_sql::{Column, Flavour};

use crate::arguments::micros;

/// PostgreSQL's way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PostgresFlavour;

impl Flavour for PostgresFlavour {
    type Builder = PostgresQueryBuilder;
    type Now = ();

    fn now(&self, (): ()) -> Expr {
        Expr::cust("now()")
    }

    fn ago(&self, (): (), age: Duration) -> Expr {
        Expr::cust("now()")
            .sub(Expr::cust_with_values("$1::bigint * interval '1 microsecond'", [micros(age)]))
    }

    fn id(&self, id: TaskId) -> Value {
        Value::from(id.as_uuid())
    }

    fn rank_off_queue(&self) -> Expr {
        Expr::null()
    }

    /// `dead_at` says so besides the status, so that a partial index can have the dead letters without one that names
    /// the status, which would end HOT completions.
    fn is_dead_letter(&self, at: &dyn Fn(Column) -> Expr) -> Expr {
        at(Column::DeadAt).is_not_null()
    }

    /// By id, as listings page, so that one index serves both.
    fn dead_letter_order(&self) -> &'static [Column] {
        &[Column::Id]
    }
}
