//! Tasks that collide with what no plain read shows. A caller's transaction may read as of a moment before that was committed
//! (REPEATABLE READ, the engines' default): then its INSERT meets what its reads do not. So each task is inserted by itself,
//! and how that ends says what is in its way.
//!
//! A read that locks would show it, too; but where nothing is there it locks the gap, into which others insert, and of ids that are
//! new that is where all do. So whether a task is stored whose key is taken is asked by an INSERT as well, which a DELETE takes
//! back: neither locks a gap. An INSERT of several rows that MySQL undoes because of one does, and that has been tried before.

use std::collections::HashMap;

use sqlx::MySqlConnection;
use taskqueue_core::{Enqueued, Shard, TaskId};
use taskqueue_sql::{Attempt, Dialect as _, TableName};

use crate::claim::Order;
use crate::dialect::MysqlDialect;
use crate::engine::Engine;
use crate::error::failure;
use crate::insert::{Inserting, Placed, insert_rows_of, insert_without_keys, key};
use crate::keys;
use crate::wire::bytes;

/// Enqueues these tasks, one after the other. Says nothing of one whose key was found to be held by no task: that one is let go,
/// and free the next time.
pub(crate) async fn one_by_one(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    tasks: &[Placed<'_>],
    order: Order,
) -> Attempt<HashMap<TaskId, Enqueued>> {
    let mut answers = HashMap::with_capacity(tasks.len());
    for task in tasks {
        let id = task.1.id;
        let answer = one(dialect, connection, shard, *task, order).await?;
        answers.extend(answer.map(|answer| (id, answer)));
    }
    Ok(answers)
}

async fn one(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    row: Placed<'_>,
    order: Order,
) -> Attempt<Option<Enqueued>> {
    let (_, task) = row;
    if insert_rows_of(dialect, connection, shard, &[row], order).await? == Inserting::Done {
        return Ok(Some(Enqueued::Created(task.id)));
    }
    if insert_without_keys(dialect, connection, shard, &[row], order).await? == Inserting::Collided {
        return Ok(Some(Enqueued::Repeated(task.id)));
    }
    take_back(dialect, connection, shard, task.id).await?;
    let holder = keys::holders_now(dialect, connection, shard, key(task)).await?.into_values().next();
    if holder.is_none() {
        keys::let_go_without_task(dialect, connection, shard, key(task)).await?;
    }
    Ok(holder.map(Enqueued::Duplicate))
}

async fn take_back(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    id: TaskId,
) -> Attempt<()> {
    let sql = delete(&dialect.options().table, dialect.engine());
    let query = dialect.query(&sql).bind(shard.number()).bind(bytes(id));
    dialect.run(query, connection).await.map(drop).map_err(failure)
}

/// The shard, the id. By the primary key: of few rows the server would rather read all, and wait for those that others hold. Vitess
/// does not take a deletion with a hint.
pub(crate) fn delete(table: &TableName, engine: Engine) -> String {
    let from = match engine {
        Engine::Vitess => format!("FROM {table}"),
        Engine::Mysql | Engine::Mariadb => format!("t FROM {table} AS t FORCE INDEX (PRIMARY)"),
    };
    format!("DELETE {from} WHERE shard = ? AND id = ?")
}
