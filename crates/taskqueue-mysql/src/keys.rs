//! Unique keys: a row for each one that is held. MySQL's indexes have an entry for every row, so that one over the tasks would
//! cost each of those without a key as much as their place in the claim order does.
//!
//! A key is held from the insert of its task to the settle that finishes it, or the deletion; whoever changes that does it in
//! the same transaction. Keys are held before tasks are inserted, in the order of the keys, so that two that meet wait for each
//! other instead of deadlocking.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use sqlx::MySqlConnection;
use taskqueue_core::{Shard, TaskId};
use taskqueue_sql::{Attempt, Failure, TableName};

use crate::claim::{LIST_MAX, insert_rows, marks, padded};
use crate::dialect::MysqlDialect;
use crate::engine::Engine;
use crate::error::{failure, is_duplicate};
use crate::insert::{Inserting, inserting};
use crate::packet::fitting;
use crate::run::Query;
use crate::wire::{bytes, of_ids};

/// What the row of a key takes in a statement beside the key, at most.
const ROW_BYTES: usize = 90;

/// A type, and a key that is unique among its unfinished tasks.
pub(crate) type Key = (String, String);

/// The statements for one table.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    table: TableName,
}

impl Keys {
    pub(crate) fn new(table: &TableName) -> Self {
        Self { table: table.clone() }
    }

    /// For each row: the type, the key, the id.
    pub(crate) fn hold(&self, shard: Shard, rows: usize) -> String {
        let (Self { table }, shard) = (self, shard.number());
        let rows = vec![format!("({shard}, ?, ?, ?)"); rows].join(", ");
        format!("INSERT INTO {table}_keys (shard, type, unique_key, id) VALUES {rows}")
    }

    /// The shard, then the ids. For tasks that do not hold their keys.
    pub(crate) fn hold_again(&self, ids: usize) -> String {
        let Self { table } = self;
        format!(
            "INSERT INTO {table}_keys (shard, type, unique_key, id) SELECT shard, type, unique_key, id FROM {table} \
             FORCE INDEX (PRIMARY) WHERE shard = ? AND id IN ({}) AND unique_key IS NOT NULL ORDER BY type, unique_key",
            marks(ids)
        )
    }

    /// The shard, then the ids. The keys that these tasks hold. Vitess does not take a deletion with a hint.
    pub(crate) fn let_go_of(&self, engine: Engine, ids: usize) -> String {
        let Self { table } = self;
        let hint = match engine {
            Engine::Vitess => "",
            Engine::Mysql | Engine::Mariadb => " FORCE INDEX (PRIMARY)",
        };
        format!(
            "DELETE k FROM {table} AS t{hint} STRAIGHT_JOIN {table}_keys AS k{hint} \
             ON k.shard = t.shard AND k.type = t.type AND k.unique_key = t.unique_key AND k.id = t.id \
             WHERE t.shard = ? AND t.id IN ({})",
            marks(ids)
        )
    }

    /// The shard, then the ids. Those of these tasks that hold their keys: id.
    pub(crate) fn held_by(&self, ids: usize) -> String {
        let Self { table } = self;
        format!(
            "SELECT k.id FROM {table} AS t FORCE INDEX (PRIMARY) STRAIGHT_JOIN {table}_keys AS k FORCE INDEX (PRIMARY) \
             ON k.shard = t.shard AND k.type = t.type AND k.unique_key = t.unique_key AND k.id = t.id \
             WHERE t.shard = ? AND t.id IN ({}) ORDER BY t.id",
            marks(ids)
        )
    }

    /// The same, of those whose keys nobody else has locked, locked.
    pub(crate) fn free_of(&self, ids: usize) -> String {
        self.held_by(ids) + " FOR UPDATE SKIP LOCKED"
    }

    /// The shard, the type, then the keys. By the primary key: of few rows the server would rather read all, and wait for
    /// those that others hold. Vitess does not take a deletion with a hint.
    pub(crate) fn let_go(&self, engine: Engine, keys: usize) -> String {
        let Self { table } = self;
        let from = match engine {
            Engine::Vitess => format!("FROM {table}_keys"),
            Engine::Mysql | Engine::Mariadb => format!("k FROM {table}_keys AS k FORCE INDEX (PRIMARY)"),
        };
        format!("DELETE {from} WHERE shard = ? AND type = ? AND unique_key IN ({})", marks(keys))
    }

    /// The shard, the type, then the keys. Those of them whose task is gone, locked: a deletion by a join might see a key whose
    /// insert it waited for without the task that was inserted with it.
    pub(crate) fn without_task(&self, keys: usize) -> String {
        let Self { table } = self;
        format!(
            "SELECT k.unique_key FROM {table}_keys AS k FORCE INDEX (PRIMARY) \
             LEFT JOIN {table} AS t FORCE INDEX (PRIMARY) ON t.shard = k.shard AND t.id = k.id \
             WHERE k.shard = ? AND k.type = ? AND k.unique_key IN ({}) AND t.id IS NULL FOR UPDATE",
            marks(keys)
        )
    }

    /// The shard, the type, then the keys. Who holds them as of now, whatever the transaction's snapshot: key, id. What is found
    /// stays as it is until the transaction ends.
    pub(crate) fn holders_now(&self, keys: usize) -> String {
        let Self { table } = self;
        format!(
            "SELECT k.unique_key, k.id FROM {table}_keys AS k FORCE INDEX (PRIMARY) \
             STRAIGHT_JOIN {table} AS t FORCE INDEX (PRIMARY) ON t.shard = k.shard AND t.id = k.id \
             WHERE k.shard = ? AND k.type = ? AND k.unique_key IN ({}) LOCK IN SHARE MODE",
            marks(keys)
        )
    }
}

/// Who holds these keys as of now.
pub(crate) async fn holders_now(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    keys: impl IntoIterator<Item = Key>,
) -> Attempt<HashMap<Key, TaskId>> {
    let mut holders = HashMap::new();
    for list in lists(keys) {
        let sql = dialect.literal().keys.holders_now(list.keys.len());
        for mut row in dialect.rows(list.bind(dialect.query(&sql), shard), &mut *connection).await? {
            holders.insert((list.task_type.clone(), row.text(0)?), row.id(1)?);
        }
    }
    Ok(holders)
}

/// Has tasks hold their keys, all or none. The keys differ.
pub(crate) async fn hold(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    holders: &[(Key, TaskId)],
) -> Attempt<Inserting> {
    let mut holders = holders.to_vec();
    holders.sort_unstable();
    let mut held = 0;
    while held < holders.len() {
        let rows = insert_rows(fitting(&holders[held..], |((_, key), _)| ROW_BYTES + key.len()));
        let sql = dialect.literal().keys.hold(shard, rows);
        let mut query = dialect.query(&sql);
        for ((task_type, key), id) in &holders[held..held + rows] {
            query = query.bind(task_type).bind(key.as_bytes()).bind(bytes(*id));
        }
        if inserting(dialect.run(query, &mut *connection).await)? == Inserting::Collided {
            let_go(dialect, connection, shard, holders[..held].iter().map(|(key, _)| key.clone())).await?;
            return Ok(Inserting::Collided);
        }
        held += rows;
    }
    Ok(Inserting::Done)
}

/// Has tasks that let their keys go hold them again.
pub(crate) async fn hold_again(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    ids: &[TaskId],
) -> Attempt<()> {
    let text = |ids| dialect.literal().keys.hold_again(ids);
    // A key was taken meanwhile: what was read is out of date.
    let held = dialect.run_of(connection, ids, text, of_ids(shard)).await;
    held.map(drop).map_err(|error| match is_duplicate(&error) {
        true => Failure::Contention { source: Some(error.into()) },
        false => failure(error),
    })
}

/// Lets the keys go that these tasks hold. Before the tasks are changed: some are about to be deleted.
pub(crate) async fn let_go_of(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    ids: impl IntoIterator<Item = TaskId>,
) -> Attempt<()> {
    let mut ids: Vec<TaskId> = ids.into_iter().collect();
    ids.sort_unstable();
    let text = |ids| dialect.literal().keys.let_go_of(dialect.engine(), ids);
    dialect.run_of(connection, &ids, text, of_ids(shard)).await.map(drop).map_err(failure)
}

/// Lets the keys go that these tasks hold and nobody else has locked; answers the tasks whose keys others have. The tasks are
/// locked.
///
/// An enqueue with the same key, in a transaction of the service's, keeps the key locked until that one ends.
pub(crate) async fn let_free_go_of(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    ids: impl IntoIterator<Item = TaskId>,
) -> Attempt<HashSet<TaskId>> {
    let keys = &dialect.literal().keys;
    let mut ids: Vec<TaskId> = ids.into_iter().collect();
    ids.sort_unstable();
    let holders = ids_on(dialect, &mut *connection, shard, &ids, |ids| keys.held_by(ids)).await?;
    let free = ids_on(dialect, &mut *connection, shard, &holders, |ids| keys.free_of(ids)).await?;
    let blocked = holders.iter().filter(|id| free.binary_search(id).is_err()).copied().collect();
    let_go_of(dialect, connection, shard, free).await?;
    Ok(blocked)
}

/// The ids that the query for so many ids answers of these, which are in order; in order.
async fn ids_on(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    ids: &[TaskId],
    text: impl Fn(usize) -> String + Send,
) -> Attempt<Vec<TaskId>> {
    let rows = dialect.rows_of(connection, ids, text, of_ids(shard)).await?;
    rows.into_iter().map(|mut row| row.id(0)).collect()
}

/// Lets keys go that are held.
pub(crate) async fn let_go(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    keys: impl IntoIterator<Item = Key>,
) -> Attempt<()> {
    for list in lists(keys) {
        let sql = dialect.literal().keys.let_go(dialect.engine(), list.keys.len());
        dialect.run(list.bind(dialect.query(&sql), shard), &mut *connection).await.map_err(failure)?;
    }
    Ok(())
}

/// Lets those of the keys go whose task is gone, as after a deletion by hand: nobody else would ever do it.
pub(crate) async fn let_go_without_task(
    dialect: &MysqlDialect,
    connection: &mut MySqlConnection,
    shard: Shard,
    keys: impl IntoIterator<Item = Key>,
) -> Attempt<()> {
    let mut gone = Vec::new();
    for list in lists(keys) {
        let sql = dialect.literal().keys.without_task(list.keys.len());
        for mut row in dialect.rows(list.bind(dialect.query(&sql), shard), &mut *connection).await? {
            gone.push((list.task_type.clone(), row.text(0)?));
        }
    }
    let_go(dialect, connection, shard, gone).await
}

/// Keys of one type, in order and filled up.
struct List {
    task_type: String,
    keys: Vec<Vec<u8>>,
}

impl List {
    /// Binds the shard, the type and the keys.
    fn bind<'q>(&'q self, query: Query<'q>, shard: Shard) -> Query<'q> {
        let query = query.bind(shard.number()).bind(&self.task_type);
        self.keys.iter().fold(query, Query::bind)
    }
}

/// The keys by type, as many at once as a statement lists.
fn lists(keys: impl IntoIterator<Item = Key>) -> Vec<List> {
    let mut of_types: BTreeMap<String, BTreeSet<Vec<u8>>> = BTreeMap::new();
    for (task_type, key) in keys {
        of_types.entry(task_type).or_default().insert(key.into_bytes());
    }
    let mut lists = Vec::new();
    for (task_type, keys) in of_types {
        let keys: Vec<Vec<u8>> = keys.into_iter().collect();
        let mut rest = &keys[..];
        while !rest.is_empty() {
            // Filling up makes a list twice as long at most.
            let fit = fitting(rest, |key| 2 * key.len()).min(LIST_MAX);
            let (list, others) = rest.split_at(fit);
            lists.push(List { task_type: task_type.clone(), keys: padded(list) });
            rest = others;
        }
    }
    lists
}
