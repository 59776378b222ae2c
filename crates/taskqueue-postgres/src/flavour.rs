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

    fn is_off_queue(&self) -> Expr {
        Expr::col(Column::QueueRank).is_null()
    }

    /// `queue_at` is in the index of ready tasks: writing it at a settle would end HOT updates.
    fn finish_order(&self) -> Column {
        Column::CompletedAt
    }
}
