//! The calls of the sums over finished tasks. It knows no task.

use std::collections::HashMap;

use sqlx::PgConnection;
use taskqueue_core::State;
use taskqueue_sql::{Attempt, Delta, Row, Total};

use crate::dialect::PostgresDialect;
use crate::error::failure;

/// Appends to the sums.
pub(crate) async fn append(
    dialect: &PostgresDialect,
    connection: &mut PgConnection,
    totals: &[Total],
) -> Attempt<()> {
    let query = dialect
        .query(&dialect.literal().totals.add)
        .bind(totals.iter().map(|total| total.task_type.as_str()).collect::<Vec<&str>>())
        .bind(totals.iter().map(|total| total.state.code()).collect::<Vec<i16>>())
        .bind(totals.iter().map(|total| total.delta.tasks).collect::<Vec<i64>>())
        .bind(totals.iter().map(|total| total.delta.busy_us).collect::<Vec<i64>>());
    query.execute(connection).await.map_err(failure).map(drop)
}

/// Folds the sums of all shards.
pub(crate) async fn fold_all(dialect: &PostgresDialect, connection: &mut PgConnection) -> Attempt<()> {
    let taken = dialect.rows(&mut *connection, dialect.query(&dialect.literal().totals.fold)).await?;
    if taken.is_empty() { Ok(()) } else { append(dialect, connection, &summed(taken)?).await }
}

/// What rows of type, status, tasks and busy microseconds sum up to, but for zeros.
fn summed(rows: Vec<Row>) -> Attempt<Vec<Total>> {
    let mut sums: HashMap<(String, State), Delta> = HashMap::new();
    for mut row in rows {
        let sum = sums.entry((row.text(0)?, row.state(1)?)).or_default();
        sum.tasks += row.integer(2)?;
        sum.busy_us += row.integer(3)?;
    }
    let total = |((task_type, state), delta)| Total { task_type, state, delta };
    Ok(sums.into_iter().filter(|(_, delta)| *delta != Delta::default()).map(total).collect())
}

#[cfg(test)]
mod tests {
    use taskqueue_sql::Field;

    use super::*;

    #[test]
    fn the_sum_of_a_type_that_no_task_can_have_is_folded_like_any_other() {
        let name = "Send Email".to_owned();
        let row = |tasks| {
            let fields = [State::Cancelled.code().into(), tasks, 0].map(Field::Integer);
            Row::new([Field::Text(name.clone())].into_iter().chain(fields).collect())
        };

        let folded = summed(vec![row(3), row(-1)]).expect("each row can be read");

        let delta = Delta { tasks: 2, busy_us: 0 };
        assert_eq!(folded, [Total { task_type: name.clone(), state: State::Cancelled, delta }]);
    }
}
