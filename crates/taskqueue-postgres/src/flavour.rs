//! How PostgreSQL writes what the portable statements leave open. The server's clock is the queue's. It knows no
//! connection.

use std::time::Duration;

use sea_query::{Expr, ExprTrait, PostgresQueryBuilder, Value};
use taskqueue_core::clock::micros;
use taskqueue_core::{State, TaskId};
use taskqueue_sql::{Column, Flavour, is_one_of};

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

    /// By the columns that partial indexes are over: none names the status, which would end HOT completions.
    fn is_in(&self, states: &[State], at: &dyn Fn(Column) -> Expr) -> Expr {
        let is_status = is_one_of(states, at(Column::Status));
        match states {
            [State::DeadLetter] => at(Column::DeadAt).is_not_null(),
            [State::Failed] => at(Column::DueAt).is_not_null().and(is_status),
            [State::Ready, State::Delayed] => {
                at(Column::QueueRank).is_not_null().or(at(Column::DueAt).is_not_null()).and(is_status)
            }
            _ => is_status,
        }
    }

    /// By id, as listings page, so that one index serves both.
    fn dead_letter_order(&self) -> &'static [Column] {
        &[Column::Id]
    }
}
