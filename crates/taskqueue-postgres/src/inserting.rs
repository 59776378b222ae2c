//! Inserting a batch: in the quick way where nothing is in the way, else in the one that passes over what collides. What
//! the statements are is `claim.rs`'s business.

use std::collections::HashSet;

use sqlx::PgConnection;
use taskqueue_core::{NewTask, Schedule, Shard, TaskId, Timestamp};
use taskqueue_sql::{Attempt, integer, stored_metadata};
use uuid::Uuid;

use crate::arguments::{at, delay, number};
use crate::dialect::PostgresDialect;
use crate::error::{failure, is_duplicate};
use crate::query::Query;
use crate::wire;

/// Inserts all of these, by a statement of its own, or none and answers false.
pub(crate) async fn insert_all(dialect: &PostgresDialect, shard: Shard, tasks: &[&NewTask]) -> Attempt<bool> {
    // Within a transaction a violation would end it.
    if !dialect.runs_single_statements() || !tasks.iter().all(|task| is_plain(task)) {
        return Ok(false);
    }
    dialect.cursors().expect_tasks(shard, tasks.iter().copied());
    let mut session = dialect.single().await?;
    let are_in = match plain(dialect, shard, tasks).execute(&mut session).await {
        Ok(_) => true,
        Err(error) if is_duplicate(&error) => false,
        Err(error) => {
            session.rollback().await;
            return Err(failure(error));
        }
    };
    session.commit().await.map_err(failure)?;
    Ok(are_in)
}

/// Where all are alike but for their payloads, the rest is sent and read once.
fn plain<'q>(dialect: &PostgresDialect, shard: Shard, tasks: &'q [&NewTask]) -> Query<'q> {
    if let [task] = tasks {
        return one(dialect, &dialect.literal().insert_one, shard, task);
    }
    let ids: Vec<Uuid> = tasks.iter().map(|task| task.id.as_uuid()).collect();
    let payloads: Vec<&str> = tasks.iter().map(|task| task.payload.as_str()).collect();
    let query = match tasks {
        [first, rest @ ..] if rest.iter().all(|task| is_alike(first, task)) => dialect
            .query(&dialect.literal().insert_alike)
            .bind(ids)
            .bind(first.task_type.as_str())
            .bind(first.priority.0)
            .bind(payloads)
            .bind(number(first.max_retries))
            .bind(stored_metadata(&first.metadata)),
        _ => dialect
            .query(&dialect.literal().insert_plain)
            .bind(ids)
            .bind(tasks.iter().map(|task| task.task_type.as_str()).collect::<Vec<&str>>())
            .bind(tasks.iter().map(|task| task.priority.0).collect::<Vec<i32>>())
            .bind(payloads)
            .bind(tasks.iter().map(|task| number(task.max_retries)).collect::<Vec<i32>>())
            .bind(tasks.iter().map(|task| stored_metadata(&task.metadata)).collect::<Vec<Option<String>>>()),
    };
    query.bind(shard.number())
}

fn one<'q>(dialect: &PostgresDialect, sql: &str, shard: Shard, task: &'q NewTask) -> Query<'q> {
    dialect
        .query(sql)
        .bind(task.id.as_uuid())
        .bind(task.task_type.as_str())
        .bind(task.priority.0)
        .bind(task.payload.as_str())
        .bind(number(task.max_retries))
        .bind(stored_metadata(&task.metadata))
        .bind(shard.number())
}

/// Whether nothing tells two plain tasks apart but their ids and payloads.
fn is_alike(one: &NewTask, other: &NewTask) -> bool {
    one.priority == other.priority
        && one.max_retries == other.max_retries
        && one.task_type == other.task_type
        && one.metadata == other.metadata
}

/// Inserts what collides with no stored or earlier task; answers the ids that are in.
pub(crate) async fn insert(
    dialect: &PostgresDialect,
    connection: &mut PgConnection,
    shard: Shard,
    tasks: &[&NewTask],
    place: usize,
) -> Attempt<HashSet<TaskId>> {
    dialect.cursors().expect_tasks(shard, tasks.iter().copied());
    if let [task] = tasks
        && is_plain(task)
    {
        let query = one(dialect, &dialect.literal().insert_one_or_none, shard, task).bind(integer(place));
        let is_in = query.execute(connection).await.map_err(failure)?.rows_affected() > 0;
        return Ok(is_in.then_some(task.id).into_iter().collect());
    }
    let text = |of: fn(&NewTask) -> Option<&str>| tasks.iter().map(|task| of(task)).collect::<Vec<_>>();
    let query = dialect
        .query(&dialect.literal().insert)
        .bind(tasks.iter().map(|task| task.id.as_uuid()).collect::<Vec<Uuid>>())
        .bind(text(|task| Some(task.task_type.as_str())))
        .bind(tasks.iter().map(|task| task.priority.0).collect::<Vec<i32>>())
        .bind(text(|task| Some(task.payload.as_str())))
        .bind(tasks.iter().map(|task| at(task)).collect::<Vec<Option<Timestamp>>>())
        .bind(tasks.iter().map(|task| delay(task)).collect::<Vec<Option<i64>>>())
        .bind(tasks.iter().map(|task| number(task.max_retries)).collect::<Vec<i32>>())
        .bind(text(|task| task.unique_key.as_deref()))
        .bind(text(|task| task.region.as_deref()))
        .bind(tasks.iter().map(|task| stored_metadata(&task.metadata)).collect::<Vec<Option<String>>>())
        .bind(integer(place))
        .bind(shard.number());
    wire::ids(query.fetch_all(connection).await.map_err(failure)?)
}

/// Whether a task is ready now, and can collide by its id only.
fn is_plain(task: &NewTask) -> bool {
    matches!(task.schedule, Schedule::Now) && task.unique_key.is_none() && task.region.is_none()
}
