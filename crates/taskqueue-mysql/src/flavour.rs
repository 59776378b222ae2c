//! How MySQL and MariaDB write what the portable statements leave open. The server's clock is the queue's. It knows no
//! connection.

use std::time::Duration;

use sea_query::{Expr, ExprTrait, MysqlQueryBuilder, Value};
use taskqueue_core::clock::micros;
use taskqueue_core::{State, TaskId};
use taskqueue_sql::{Column, Flavour, is_one_of};

use crate::width::NEVER;
use crate::wire::bytes;

/// Over how many slots the sums of callers' transactions are spread.
const CALLERS_SLOTS: u8 = 16;

/// Their way.
#[derive(Debug, Clone)]
pub(crate) struct MysqlFlavour {
    now: String,
}

impl MysqlFlavour {
    /// A flavour whose current time is this SQL expression.
    pub(crate) fn new(now: &str) -> Self {
        Self { now: now.to_owned() }
    }
}

impl Flavour for MysqlFlavour {
    type Builder = MysqlQueryBuilder;
    type Now = ();

    const KEYS_APART: bool = true;

    fn now(&self, (): ()) -> Expr {
        Expr::cust(self.now.clone())
    }

    fn ago(&self, (): (), age: Duration) -> Expr {
        Expr::cust_with_values(format!("{} - INTERVAL ? MICROSECOND", self.now), [micros(age)])
    }

    fn id(&self, id: TaskId) -> Value {
        Value::from(bytes(id))
    }

    fn rank_off_queue(&self) -> Expr {
        Expr::cust("0")
    }

    /// The index has completed tasks among the running ones.
    fn is_in(&self, states: &[State], at: &dyn Fn(Column) -> Expr) -> Expr {
        let listed =
            states.iter().map(|state| if *state == State::Completed { State::Running } else { *state });
        let listed = is_one_of(&listed.collect::<Vec<_>>(), at(Column::Listed));
        match states.iter().any(|state| matches!(state, State::Running | State::Completed)) {
            true => listed.and(is_one_of(states, at(Column::Status))),
            false => listed,
        }
    }

    /// By the connection, so that one draw holds for all its calls: with another slot in each, two transactions would lock the same
    /// ones in different orders.
    fn callers_slot(&self) -> Expr {
        Expr::cust(format!("-1 - CAST(CONNECTION_ID() % {CALLERS_SLOTS} AS SIGNED)"))
    }

    fn no_time(&self) -> Expr {
        Expr::cust(NEVER)
    }
}
