//! Applies the schema's migrations, each once. It knows no queue.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection, MySqlPool};
use taskqueue_core::{Error, ErrorKind, Result, Shards};
use taskqueue_migrations::{MYSQL, Migration};
use taskqueue_sql::{Attempt, Failure, KEYS, PAUSED, SHARDS, TASKS, TOTALS, TableName};

use crate::answers::Answers;
use crate::engine::Engine;
use crate::error::{failure, is_duplicate, is_not_supported};

/// Whose versions are counted.
const SCHEMA: taskqueue_migrations::Engine = taskqueue_migrations::Engine::Mysql;
/// How long one migrator waits for another. DDL waits for those who use the tables.
const LOCK_WAIT: Duration = Duration::from_secs(60);
/// How the names of the tables end that migrations make beside that of the versions.
const ENDINGS: [&str; 6] = [TASKS, KEYS, "_leases", PAUSED, TOTALS, SHARDS];
/// How often a migrator begins anew that met another.
const REPEATS_MAX: u32 = 10;
/// The name of the lock of one database's task table. Such locks are the whole server's, and names end at 64 characters.
/// MySQL 9 has no MD5.
const LOCK_NAME: &str = "LEFT(CONCAT('taskqueue:', SHA2(CONCAT_WS('.', DATABASE(), ?), 256)), 64)";

/// DDL commits by itself in these engines, so that no transaction can hold a migration together: every statement of a
/// migration can be repeated, and its version is recorded last, so that what was cut short runs again. A lock of the
/// session lets migrators take turns; the connection is this call's own, so that the lock ends with it in any case.
/// Vitess has no such lock, and on Galera it is a node's own: migrators at once repeat each other's statements there, which wait
/// for each other in the server, and the version that one has recorded the others find. Of two that record it on two nodes at
/// once, Galera gives up one, which begins anew.
///
/// Answers how many shards the table has.
pub(crate) async fn migrate(
    pool: &MySqlPool,
    answers: Answers,
    table: &TableName,
    shards: Shards,
) -> Result<i64> {
    let mut repeats = 0;
    loop {
        match migrate_once(pool, answers, table, shards).await {
            Err(Failure::Contention { .. }) if repeats < REPEATS_MAX => repeats += 1,
            migrated => return migrated.map_err(|failure| failure.into_error("migrate")),
        }
    }
}

async fn migrate_once(pool: &MySqlPool, answers: Answers, table: &TableName, shards: Shards) -> Attempt<i64> {
    let mut connection = pool.acquire().await.map_err(failure)?.detach();
    // In a pool of the service's something may be open, which DDL would commit, and autocommit may be off.
    for reset in ["ROLLBACK", "SET SESSION autocommit = 1"] {
        answers.take(connection.execute(reset)).await.map_err(failure)?;
    }
    // A wait for other migrators, and DDL, may last longer than a call of the queue's.
    if let Some(limit) = answers.engine.limit(Duration::ZERO) {
        let endless = AssertSqlSafe(format!("SET SESSION {limit}"));
        answers.take(connection.execute(endless)).await.map_err(failure)?;
    }
    // Vitess is not asked in its own words which tables there are.
    if answers.engine != Engine::Vitess {
        if let Some(shards) = finished(answers, &mut connection, table).await? {
            answers.take(connection.close()).await.map_err(failure)?;
            return Ok(shards);
        }
        lock(answers, &mut connection, table).await?;
        refuse_table_of_others(answers, &mut connection, table).await?;
    }
    let applied = applied_version(answers, &mut connection, table).await?;
    for migration in MYSQL.iter().filter(|migration| migration.version > applied) {
        apply(answers, &mut connection, table, migration).await?;
    }
    let shards = shard(answers, &mut connection, table, shards).await?;
    answers.take(connection.close()).await.map_err(failure)?;
    Ok(shards)
}

/// How many shards the table has, where there is nothing to do: a look, which needs no right but to read. Whoever creates asks for
/// more, also where what it creates is there.
async fn finished(
    answers: Answers,
    connection: &mut MySqlConnection,
    table: &TableName,
) -> Attempt<Option<i64>> {
    if !is_there(answers, &mut *connection, &table.migrations()).await? {
        return Ok(None);
    }
    let newest = newest_version(answers, &mut *connection, table).await?;
    if newest < SCHEMA.newest() { Ok(None) } else { recorded_shards(answers, connection, table).await }
}

/// A migration makes the table of versions first: so another one of the queue's names without that is somebody else's. Looked for in
/// this order, since migrators of several nodes take no turns.
async fn refuse_table_of_others(
    answers: Answers,
    connection: &mut MySqlConnection,
    table: &TableName,
) -> Attempt<()> {
    for ending in ENDINGS {
        let name = format!("{table}{ending}");
        if is_there(answers, &mut *connection, &name).await? {
            let is_ours = is_there(answers, connection, &table.migrations()).await?;
            return if is_ours { Ok(()) } else { Err(Failure::table_of_others(&name)) };
        }
    }
    Ok(())
}

async fn is_there(answers: Answers, connection: &mut MySqlConnection, table: &str) -> Attempt<bool> {
    let find = "SELECT EXISTS (SELECT 1 FROM information_schema.tables \
         WHERE table_schema = DATABASE() AND table_name = ?)";
    let find = sqlx::query_scalar::<_, i64>(find).bind(table).fetch_one(connection);
    Ok(answers.take(find).await.map_err(failure)? != 0)
}

/// Records how many shards the table has, unless that has been done; answers what is recorded. Tasks from before this
/// was recorded are in one.
async fn shard(
    answers: Answers,
    connection: &mut MySqlConnection,
    table: &TableName,
    shards: Shards,
) -> Attempt<i64> {
    if let Some(recorded) = recorded_shards(answers, connection, table).await? {
        return Ok(recorded);
    }
    let any = format!("SELECT EXISTS (SELECT 1 FROM {table})");
    let any = sqlx::query_scalar::<_, i64>(AssertSqlSafe(any)).fetch_one(&mut *connection);
    let any = answers.take(any).await;
    let shards = if any.map_err(failure)? == 0 { shards } else { Shards::ONE };
    let record = format!("INSERT INTO {} (one, shards) VALUES (1, ?)", table.shards());
    let record = sqlx::query(AssertSqlSafe(record)).bind(i64::from(shards.get()));
    match answers.take(record.execute(&mut *connection)).await {
        Err(error) if !is_duplicate(&error) => return Err(failure(error)),
        _ => {}
    }
    let recorded = recorded_shards(answers, connection, table).await?;
    recorded.ok_or_else(|| Failure::malformed("the number of shards was not recorded".to_owned()))
}

/// How many shards are recorded. By a plain read: an extra claim holds the row, for which an insert would wait.
async fn recorded_shards(
    answers: Answers,
    connection: &mut MySqlConnection,
    table: &TableName,
) -> Attempt<Option<i64>> {
    let recorded = format!("SELECT shards FROM {}", table.shards());
    let recorded = sqlx::query_scalar::<_, i16>(AssertSqlSafe(recorded)).fetch_optional(connection);
    Ok(answers.take(recorded).await.map_err(failure)?.map(i64::from))
}

async fn lock(answers: Answers, connection: &mut MySqlConnection, table: &TableName) -> Attempt<()> {
    let lock = format!("SELECT GET_LOCK({LOCK_NAME}, {})", LOCK_WAIT.as_secs());
    let query = sqlx::query_scalar::<_, Option<i64>>(AssertSqlSafe(lock)).bind(table.as_str());
    match answers.take_after(LOCK_WAIT, query.fetch_one(connection)).await {
        Ok(Some(1)) => Ok(()),
        Err(error) if is_not_supported(&error) => Ok(()),
        Err(error) => Err(failure(error)),
        Ok(_) => Err(Failure::Database {
            kind: ErrorKind::Unavailable,
            message: "another migration of this table did not end in time".into(),
            source: None,
        }),
    }
}

/// The newest version that the database has, once it has a table of them; 0 when it has none.
async fn applied_version(
    answers: Answers,
    connection: &mut MySqlConnection,
    table: &TableName,
) -> Attempt<i64> {
    let versions = table.migrations();
    let create = format!(
        "CREATE TABLE IF NOT EXISTS {versions} (version bigint NOT NULL PRIMARY KEY, \
         name varchar(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, \
         applied_at datetime(6) NOT NULL) ENGINE = InnoDB"
    );
    let create = sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut *connection);
    answers.take_after(LOCK_WAIT, create).await.map_err(failure)?;
    newest_version(answers, connection, table).await
}

async fn newest_version(
    answers: Answers,
    connection: &mut MySqlConnection,
    table: &TableName,
) -> Attempt<i64> {
    let newest = format!("SELECT version FROM {} ORDER BY version DESC LIMIT 1", table.migrations());
    let newest = sqlx::query_scalar(AssertSqlSafe(newest)).fetch_optional(connection);
    let newest = answers.take(newest).await.map_err(failure)?.unwrap_or(0);
    SCHEMA.check(newest).map_err(|newer| Error::new(ErrorKind::Backend, "migrate", newer.to_string()))?;
    Ok(newest)
}

async fn apply(
    answers: Answers,
    connection: &mut MySqlConnection,
    table: &TableName,
    migration: &Migration,
) -> Attempt<()> {
    if !migration.is_nothing() {
        let schema = migration.sql(table.as_str());
        let schema = sqlx::raw_sql(AssertSqlSafe(schema)).execute(&mut *connection);
        answers.take_after(LOCK_WAIT, schema).await.map_err(failure)?;
    }
    let record = format!(
        "INSERT INTO {} (version, name, applied_at) VALUES (?, ?, UTC_TIMESTAMP(6))",
        table.migrations()
    );
    let record = sqlx::query(AssertSqlSafe(record)).bind(migration.version).bind(migration.name);
    match answers.take(record.execute(connection)).await {
        Err(error) if !is_duplicate(&error) => Err(failure(error)),
        _ => Ok(()),
    }
}
