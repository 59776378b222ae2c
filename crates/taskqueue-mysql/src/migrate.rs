//! Applies the schema's migrations, each once. It knows no queue.

use sqlx::{AssertSqlSafe, Connection, MySqlConnection, MySqlPool};
use taskqueue_core::{ErrorKind, Result};
use taskqueue_migrations::{MYSQL, Migration};
use taskqueue_sql::{Attempt, Failure, TableName};

use crate::error::failure;

/// How long one migrator waits for another.
const LOCK_WAIT_SECONDS: i64 = 60;
/// The name of the lock of one database's task table. Such locks are the whole server's, and names end at 64 characters.
/// MySQL 9 has no MD5.
const LOCK_NAME: &str = "LEFT(CONCAT('taskqueue:', SHA2(CONCAT_WS('.', DATABASE(), ?), 256)), 64)";

/// DDL commits by itself in these engines, so that no transaction can hold a migration together. A lock of the session
/// keeps other migrators out; the connection is this call's own, so that the lock ends with it in any case.
pub(crate) async fn migrate(pool: &MySqlPool, table: &TableName) -> Result<()> {
    let migrated = async {
        let mut connection = pool.acquire().await.map_err(failure)?.detach();
        lock(&mut connection, table).await?;
        for migration in MYSQL {
            apply(&mut connection, table, migration).await?;
        }
        connection.close().await.map_err(failure)
    };
    migrated.await.map_err(|failure: Failure| failure.into_error("migrate"))
}

async fn lock(connection: &mut MySqlConnection, table: &TableName) -> Attempt<()> {
    let lock = format!("SELECT GET_LOCK({LOCK_NAME}, {LOCK_WAIT_SECONDS})");
    let query = sqlx::query_scalar::<_, Option<i64>>(AssertSqlSafe(lock)).bind(table.as_str());
    match query.fetch_one(connection).await.map_err(failure)? {
        Some(1) => Ok(()),
        _ => Err(Failure::Database {
            kind: ErrorKind::Unavailable,
            message: "another migration of this table did not end in time".into(),
            source: None,
        }),
    }
}

/// Every statement of a migration can be repeated, and the version is recorded last: what was cut short runs again.
async fn apply(connection: &mut MySqlConnection, table: &TableName, migration: &Migration) -> Attempt<()> {
    let versions = table.migrations();
    let create = format!(
        "CREATE TABLE IF NOT EXISTS {versions} (version bigint NOT NULL PRIMARY KEY, \
         name varchar(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, \
         applied_at datetime(6) NOT NULL) ENGINE = InnoDB"
    );
    sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut *connection).await.map_err(failure)?;
    let find = format!("SELECT version FROM {versions} WHERE version = ?");
    let find = sqlx::query(AssertSqlSafe(find)).bind(migration.version);
    if find.fetch_optional(&mut *connection).await.map_err(failure)?.is_some() {
        return Ok(());
    }
    let schema = migration.sql(table.as_str());
    sqlx::raw_sql(AssertSqlSafe(schema)).execute(&mut *connection).await.map_err(failure)?;
    let record =
        format!("INSERT INTO {versions} (version, name, applied_at) VALUES (?, ?, UTC_TIMESTAMP(6))");
    let record = sqlx::query(AssertSqlSafe(record)).bind(migration.version).bind(migration.name);
    record.execute(connection).await.map_err(failure)?;
    Ok(())
}
