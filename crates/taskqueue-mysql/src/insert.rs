//! Inserting a batch of which some rows may collide with what is there. MySQL's INSERT cannot say which rows it passed
//! over, so a plain one is tried first: it goes in whole, or not at all with error 1062, and then what is in the way is
//! looked up. It knows no claim and no settle.

use std::collections::{HashMap, HashSet};

use chrono::NaiveDateTime;
use sqlx::MySqlConnection;
use sqlx::mysql::MySqlQueryResult;
use taskqueue_core::clock::micros;
use taskqueue_core::{Enqueued, NewTask, Schedule, Shard, TaskId, TaskType};
use taskqueue_sql::{Attempt, Dialect, integer, stored_metadata};

use crate::claim::{Order, insert_rows};
use crate::collision;
use crate::dialect::MysqlDialect;
use crate::error::{failure, is_duplicate, is_late, is_unfit};
use crate::keys::{self, Key};
use crate::packet::fitting;
use crate::run::Query;
use crate::wire::bytes;

/// How often a piece is inserted whole because another transaction put something in the way meanwhile.
const TRIES_MAX: usize = 4;
/// What a row takes in a statement beside its texts, at most.
const ROW_BYTES: usize = 100;
/// What JSON adds to a name in the metadata and its value.
const PAIR_BYTES: usize = 7;

/// A task and what it adds to `queue_at` when it is ready, in microseconds.
pub(crate) type Placed<'t> = (usize, &'t NewTask);

/// Inserts all of these by one statement outside of a transaction, or answers false: that takes no keys, and no more than one
/// piece. So also when the connection turns out to be of no further use: its answer may be lost, and the ids tell then whether
/// they are in.
pub(crate) async fn insert_all(dialect: &MysqlDialect, shard: Shard, tasks: &[&NewTask]) -> Attempt<bool> {
    let placed: Vec<Placed<'_>> = tasks.iter().copied().enumerate().collect();
    if tasks.iter().any(|task| task.unique_key.is_some()) || piece_rows(&placed) < placed.len() {
        return Ok(false);
    }
    dialect.cursors().expect_tasks(shard, tasks.iter().copied());
    let order = order(&placed);
    let sql = text(dialect, shard, &placed, order);
    let query = bind_all(dialect.query(&sql), &placed, order);
    let mut connection = dialect.connections().acquire().await.map_err(failure)?;
    let answer = dialect.run(query, &mut connection).await;
    match &answer {
        // Another connection would make the caller wait as long once more.
        Err(error) if is_late(error) => drop(connection),
        Err(error) if is_unfit(error) => return Ok(false),
        _ => connection.done(),
    }
    Ok(inserting(answer)? == Inserting::Done)
}

/// Inserts what collides with no stored or earlier task; answers the ids that are in.
pub(crate) async fn insert(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    tasks: &[Placed<'_>],
) -> Attempt<HashSet<TaskId>> {
    dialect.cursors().expect_tasks(shard, tasks.iter().map(|(_, task)| *task));
    let mut inserted = HashSet::with_capacity(tasks.len());
    let (order, mut rest) = (order(tasks), tasks);
    while !rest.is_empty() {
        let (piece, others) = rest.split_at(piece_rows(rest));
        inserted.extend(insert_piece(dialect, connection, shard, piece, order).await?);
        rest = others;
    }
    Ok(inserted)
}

async fn insert_piece(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    piece: &[Placed<'_>],
    order: Order,
) -> Attempt<Vec<TaskId>> {
    let mut free = first_of_each_key(piece.to_vec());
    for _ in 0..TRIES_MAX {
        if free.is_empty() {
            return Ok(Vec::new());
        }
        if insert_rows_of(dialect, connection, shard, &free, order).await? == Inserting::Done {
            return Ok(free.into_iter().map(|(_, task)| task.id).collect());
        }
        // Nothing was left behind; the transaction goes on, and sees what others have committed.
        let seen = without_collisions(dialect, connection, shard, piece).await?;
        let is_unexplained = seen.iter().map(place).eq(free.iter().map(place));
        free = seen;
        if is_unexplained {
            break;
        }
    }
    let answers = collision::one_by_one(dialect, connection, shard, &free, order).await?;
    let is_created = |(_, answer): &(TaskId, Enqueued)| matches!(answer, Enqueued::Created(_));
    Ok(answers.into_iter().filter(is_created).map(|(id, _)| id).collect())
}

/// How an INSERT ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inserting {
    /// All rows are in.
    Done,
    /// None is: one was in the way.
    Collided,
}

/// How the INSERT ended that the server answered so.
pub(crate) fn inserting(answer: sqlx::Result<MySqlQueryResult>) -> Attempt<Inserting> {
    match answer {
        Ok(_) => Ok(Inserting::Done),
        Err(error) if is_duplicate(&error) => Ok(Inserting::Collided),
        Err(error) => Err(failure(error)),
    }
}

/// Inserts these rows and holds their keys, or neither.
pub(crate) async fn insert_rows_of(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    rows: &[Placed<'_>],
    order: Order,
) -> Attempt<Inserting> {
    let holders: Vec<(Key, TaskId)> =
        rows.iter().filter_map(|(_, task)| Some((key(task)?, task.id))).collect();
    if keys::hold(dialect, &mut *connection, shard, &holders).await? == Inserting::Collided {
        return Ok(Inserting::Collided);
    }
    let inserting = insert_without_keys(dialect, connection, shard, rows, order).await?;
    if inserting == Inserting::Collided {
        keys::let_go(dialect, connection, shard, holders.into_iter().map(|(key, _)| key)).await?;
    }
    Ok(inserting)
}

/// Inserts these rows, all or none, whoever holds their keys.
pub(crate) async fn insert_without_keys(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    rows: &[Placed<'_>],
    order: Order,
) -> Attempt<Inserting> {
    let sql = text(dialect, shard, rows, order);
    let query = bind_all(dialect.query(&sql), rows, order);
    inserting(dialect.run(query, connection).await)
}

/// The INSERT of these rows.
fn text(dialect: &MysqlDialect, shard: Shard, rows: &[Placed<'_>], order: Order) -> String {
    match are_plain(rows) {
        true => dialect.literal().insert_plain(shard, rows.len(), order),
        false => dialect.literal().insert(shard, rows.len()),
    }
}

/// What it is given.
fn bind_all<'q>(query: Query<'q>, rows: &'q [Placed<'q>], order: Order) -> Query<'q> {
    match are_plain(rows) {
        true => rows.iter().fold(query, |query, row| bind_plain(query, row, order)),
        false => rows.iter().fold(query, bind),
    }
}

/// What a task wants to be the only one to have.
pub(crate) fn key(task: &NewTask) -> Option<Key> {
    Some((task.task_type.as_str().to_owned(), task.unique_key.clone()?))
}

/// What puts the tasks of a call in order. Ids do where they rise, as those of one process do, and every task is ready
/// at the same time: of two statements the later one has the later time, or the same.
fn order(tasks: &[Placed<'_>]) -> Order {
    let is_first = tasks.first().is_none_or(|(place, _)| *place == 0);
    let do_rise = tasks.windows(2).all(|pair| pair[0].1.id < pair[1].1.id);
    if is_first && do_rise && are_plain(tasks) { Order::Id } else { Order::Place }
}

fn place((place, _): &Placed<'_>) -> usize {
    *place
}

fn are_plain(tasks: &[Placed<'_>]) -> bool {
    tasks.iter().all(|(_, task)| is_plain(task))
}

/// Whether a task is ready at once and has nothing that most tasks do without.
fn is_plain(task: &NewTask) -> bool {
    let NewTask { schedule, unique_key, region, metadata, .. } = task;
    *schedule == Schedule::Now && unique_key.is_none() && region.is_none() && metadata.is_empty()
}

fn bind_plain<'q>(query: Query<'q>, (place, task): &Placed<'q>, order: Order) -> Query<'q> {
    let query = query.bind(bytes(task.id)).bind(task.task_type.as_str()).bind(task.priority.0);
    let query = if order == Order::Place { query.bind(integer(*place)) } else { query };
    query.bind(i64::from(task.max_retries)).bind(task.payload.as_str())
}

fn bind<'q>(query: Query<'q>, (place, task): &Placed<'q>) -> Query<'q> {
    let (at, delay) = times(task);
    query
        .bind(bytes(task.id))
        .bind(task.task_type.as_str())
        .bind(task.priority.0)
        .bind(at)
        .bind(delay)
        .bind(integer(*place))
        .bind(i64::from(task.max_retries))
        .bind(task.unique_key.as_deref().map(str::as_bytes))
        .bind(task.region.as_deref().map(str::as_bytes))
        .bind(stored_metadata(&task.metadata))
        .bind(task.payload.as_str())
}

/// The tasks of a piece that neither are stored nor want a key that is held.
async fn without_collisions<'t>(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    piece: &[Placed<'t>],
) -> Attempt<Vec<Placed<'t>>> {
    let statements = dialect.statements(shard);
    let ids: Vec<TaskId> = piece.iter().map(|(_, task)| task.id).collect();
    let mut stored = HashSet::new();
    for mut row in dialect.fetch(connection, statements.standings(&ids)).await? {
        stored.insert(row.id(0)?);
    }
    let mut free: Vec<Placed<'t>> =
        piece.iter().copied().filter(|(_, task)| !stored.contains(&task.id)).collect();
    let mut wanted: HashMap<&TaskType, Vec<&str>> = HashMap::new();
    for (_, task) in &free {
        if let Some(key) = &task.unique_key {
            wanted.entry(&task.task_type).or_default().push(key);
        }
    }
    let mut held = HashSet::new();
    for (task_type, keys) in wanted {
        for mut row in dialect.fetch(connection, statements.holders(task_type, &keys)).await? {
            held.insert((task_type.clone(), row.text(0)?));
        }
    }
    free.retain(|(_, task)| {
        task.unique_key.as_ref().is_none_or(|key| !held.contains(&(task.task_type.clone(), key.clone())))
    });
    Ok(first_of_each_key(free))
}

/// Of tasks with the same key the first stays.
fn first_of_each_key(mut tasks: Vec<Placed<'_>>) -> Vec<Placed<'_>> {
    let mut keys = HashSet::new();
    tasks.retain(|(_, task)| {
        task.unique_key.as_deref().is_none_or(|key| keys.insert((task.task_type.as_str(), key)))
    });
    tasks
}

/// How many of these tasks one INSERT takes: what does not fit into one record goes in equal pieces that do.
fn piece_rows(tasks: &[Placed<'_>]) -> usize {
    let rows = fitting(tasks, row_bytes);
    let pieces = tasks.len().div_ceil(rows);
    insert_rows(fitting(&tasks[..tasks.len().div_ceil(pieces)], row_bytes))
}

/// What a task takes in a statement; the few whose metadata JSON has to escape take more.
fn row_bytes((_, task): &Placed<'_>) -> usize {
    let NewTask { payload, unique_key, region, metadata, .. } = task;
    let texts: usize = [unique_key, region].into_iter().flatten().map(String::len).sum();
    let pairs: usize = metadata.iter().map(|(name, value)| name.len() + value.len() + PAIR_BYTES).sum();
    ROW_BYTES + payload.as_str().len() + texts + pairs
}

/// The time asked for, if any, and the delay. Core takes no year that a DATETIME cannot keep.
fn times(task: &NewTask) -> (Option<NaiveDateTime>, i64) {
    match task.schedule {
        Schedule::Now => (None, 0),
        Schedule::After(delay) => (None, micros(delay)),
        Schedule::At(at) => (Some(at.naive_utc()), 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::RECORD_BYTES;

    fn task(payload_bytes: usize) -> NewTask {
        NewTask::raw("mail", format!("\"{}\"", "x".repeat(payload_bytes))).unwrap()
    }

    #[test]
    fn no_insert_of_several_tasks_is_of_a_size_that_waits_for_the_server() {
        for (count, payload_bytes) in
            [(100, 200), (300, 200), (1_000, 20), (1_000, 200), (10, 9_000), (7, 5_000), (3, 40_000)]
        {
            let tasks: Vec<NewTask> = (0..count).map(|_| task(payload_bytes)).collect();
            let placed: Vec<Placed<'_>> = tasks.iter().enumerate().collect();
            let mut rest = &placed[..];
            while !rest.is_empty() {
                let rows = piece_rows(rest);
                let bytes: usize = rest[..rows].iter().map(row_bytes).sum();
                assert!(rows == 1 || bytes <= RECORD_BYTES, "{rows} of {payload_bytes} bytes each");
                rest = &rest[rows..];
            }
        }
        let tasks: Vec<NewTask> = (0..100).map(|_| task(200)).collect();
        let placed: Vec<Placed<'_>> = tasks.iter().enumerate().collect();
        assert_eq!(piece_rows(&placed), 50, "in equal pieces");
        assert_eq!(piece_rows(&placed[..1]), 1);
    }

    #[test]
    fn all_texts_of_a_task_count_for_the_size_of_its_insert() {
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let of = task(18).metadata("traceparent", trace).metadata("tenant", "7").region("eu").unique_key("k");
        let texts = stored_metadata(&of.metadata).unwrap().len() + "euk".len() + of.payload.as_str().len();
        assert!(row_bytes(&(0, &of)) >= ROW_BYTES + texts);

        let traced: Vec<NewTask> = (0..100).map(|_| task(18).metadata("traceparent", trace)).collect();
        let placed: Vec<Placed<'_>> = traced.iter().enumerate().collect();
        assert!(piece_rows(&placed) < 100, "all of them are more than a record");
    }

    #[test]
    fn ids_give_the_order_only_where_they_rise_and_nothing_is_for_later() {
        let tasks: Vec<NewTask> = (0..3).map(|_| task(0)).collect();
        let placed: Vec<Placed<'_>> = tasks.iter().enumerate().collect();
        assert_eq!(order(&placed), Order::Id);
        assert_eq!(order(&[placed[1], placed[0]]), Order::Place, "the ids fall");
        assert_eq!(order(&placed[1..]), Order::Place, "others of the call stand before them");
        let later = task(0).delay(std::time::Duration::from_secs(1));
        assert_eq!(order(&[placed[0], (1, &later)]), Order::Place, "one is for later");
    }
}
