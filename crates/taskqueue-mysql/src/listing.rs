//! Pages of tasks by status. The server would take the primary key from the newest task on once a status has many, for nothing but
//! the order, and walk over all that is finished. It knows no verb.

use sqlx::MySqlConnection;
use taskqueue_core::{Shard, State, Status, TaskFilter, TaskType};
use taskqueue_sql::{Attempt, Dialect as _, Row, TASK_COLUMNS, TableName, integer};

use crate::dialect::MysqlDialect;
use crate::leases;
use crate::run::Query;
use crate::wire::bind_ids;

/// A page of a status that no more tasks have than this is found by its ids, which takes 1 ms for each 1,000 of them, and as long
/// to count as far; else the server chooses: of a longer backlog it finds the page among the newest tasks.
const FEW: usize = 100_000;

/// A page, highest id first, as [`TASK_COLUMNS`].
pub(crate) async fn list(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    filter: &TaskFilter,
) -> Attempt<Vec<Row>> {
    let table = &dialect.options().table;
    let states = match filter.status.and_then(of_index) {
        Some(states) if !has_more_than_few(dialect, connection, shard, states, filter).await? => states,
        _ => {
            return dialect.fetch(connection, dialect.statements(shard).list(filter)).await;
        }
    };
    let sql = page(table, states, filter);
    let query = bind_page(dialect.query(&sql).bind(shard.number()), filter).bind(shard.number());
    dialect.rows(query, connection).await
}

async fn has_more_than_few(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    states: &[State],
    filter: &TaskFilter,
) -> Attempt<bool> {
    let sql = more_than(&dialect.options().table, states, filter);
    let query = bind_type(dialect.query(&sql).bind(shard.number()), filter).bind(integer(FEW));
    Ok(!dialect.rows(query, connection).await?.is_empty())
}

/// A page of running tasks, highest id first, as [`TASK_COLUMNS`].
pub(crate) async fn running(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    filter: &TaskFilter,
) -> Attempt<Vec<Row>> {
    let sql = leases::page(&dialect.options().table, filter);
    let query = bind_page(dialect.query(&sql).bind(shard.number()).bind(shard.number()), filter);
    dialect.rows(query, connection).await
}

/// The states of a status that the index has apart from others: it has what runs and what is completed together.
fn of_index(status: Status) -> Option<&'static [State]> {
    let states = State::of_status(status);
    let is_apart = |state: &State| !matches!(state, State::Running | State::Completed);
    states.iter().all(is_apart).then_some(states)
}

/// The shard, the type if any, then a number. A row if more tasks than that are in these states.
pub(crate) fn more_than(table: &TableName, states: &[State], filter: &TaskFilter) -> String {
    format!("SELECT listed FROM {} LIMIT 1 OFFSET ?", found(table, states, filter))
}

/// The shard, what the filter has of type, region and last id, the limit, the offset, the shard. The ids are found in the index
/// alone, unless a region is asked for; rows are read for the page only.
pub(crate) fn page(table: &TableName, states: &[State], filter: &TaskFilter) -> String {
    let columns = TASK_COLUMNS.map(|column| format!("t.{}", column.name())).join(", ");
    let region = if filter.region.is_some() { " AND region = ?" } else { "" };
    let after = if filter.after.is_some() { " AND id < ?" } else { "" };
    format!(
        "SELECT {columns} FROM (SELECT id FROM {}{region}{after} ORDER BY id DESC LIMIT ? OFFSET ?) AS page \
         STRAIGHT_JOIN {table} AS t FORCE INDEX (PRIMARY) ON t.shard = ? AND t.id = page.id ORDER BY t.id DESC",
        found(table, states, filter)
    )
}

fn found(table: &TableName, states: &[State], filter: &TaskFilter) -> String {
    let codes = states.iter().map(|state| state.code().to_string()).collect::<Vec<_>>().join(", ");
    let of_type = if filter.task_type.is_some() { " AND type = ?" } else { "" };
    format!("{table} FORCE INDEX ({table}_pos) WHERE shard = ? AND listed IN ({codes}){of_type}")
}

fn bind_type<'q>(query: Query<'q>, filter: &TaskFilter) -> Query<'q> {
    match &filter.task_type {
        Some(task_type) => query.bind(TaskType::as_str(task_type).to_owned()),
        None => query,
    }
}

fn bind_page<'q>(query: Query<'q>, filter: &TaskFilter) -> Query<'q> {
    let query = bind_type(query, filter);
    let query = match &filter.region {
        Some(region) => query.bind(region.clone()),
        None => query,
    };
    bind_ids(query, filter.after.as_slice()).bind(integer(filter.limit)).bind(integer(filter.offset))
}
