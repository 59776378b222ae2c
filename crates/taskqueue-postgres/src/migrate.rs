//! Applies the schema's migrations, each once, on PostgreSQL each in its own transaction. It knows no queue.

use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use taskqueue_core::{Error, ErrorKind, Result, Shards};
use taskqueue_migrations::{Migration, POSTGRES};
use taskqueue_sql::{Attempt, Failure, TableName};

use crate::cockroach;
use crate::config::Engine;
use crate::error::failure;

/// Locks out other migrators of this program, whatever their table; released with the transaction.
const LOCK: i64 = 0x7461_736b_7175_6575;
/// A stricter default would refuse whoever had to wait for the lock.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// Answers how many shards the table has. In a task of its own: a caller that drops its future must not leave a
/// transaction, with the lock, in the pool.
pub(crate) async fn migrate(pool: PgPool, engine: Engine, table: TableName, shards: Shards) -> Result<i64> {
    let migrating = tokio::spawn(async move {
        let mut connection = pool.acquire().await.map_err(failure)?;
        if let Some(recorded) = finished(&mut connection, &table).await? {
            return Ok(recorded);
        }
        match engine {
            Engine::Postgres => apply_all(&mut connection, &table, shards).await,
            Engine::Cockroach => {
                cockroach::migrate(&mut connection, &table).await?;
                shard(&mut connection, &table, shards).await
            }
        }
    });
    let ended = migrating.await.map_err(|stopped| {
        let message = format!("the migration was stopped: {stopped}");
        Error::new(ErrorKind::Backend, "migrate", message).transient(stopped.is_cancelled())
    })?;
    ended.map_err(|failure: Failure| failure.into_error("migrate"))
}

/// How many shards the table has, where there is nothing to do: a look, which needs no right but to read. Whoever creates asks for
/// more, also where what it creates is there. In a transaction: without one, a pooler may part a statement that is not prepared
/// from its execution.
async fn finished(connection: &mut PgConnection, table: &TableName) -> Attempt<Option<i64>> {
    let mut transaction = connection.begin_with(BEGIN).await.map_err(failure)?;
    let recorded = recorded(&mut transaction, table).await?;
    transaction.commit().await.map_err(failure)?;
    Ok(recorded)
}

/// None: there is something to do.
async fn recorded(connection: &mut PgConnection, table: &TableName) -> Attempt<Option<i64>> {
    let find =
        sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL").persistent(false).bind(table.migrations());
    if !find.fetch_one(&mut *connection).await.map_err(failure)? {
        return Ok(None);
    }
    if newest(&mut *connection, table).await? < known() {
        return Ok(None);
    }
    let recorded = format!("SELECT shards::int8 FROM {}", table.shards());
    let recorded = sqlx::query_scalar(AssertSqlSafe(recorded)).persistent(false);
    recorded.fetch_optional(connection).await.map_err(failure)
}

async fn apply_all(connection: &mut PgConnection, table: &TableName, shards: Shards) -> Attempt<i64> {
    prepare(connection, table).await?;
    for migration in POSTGRES {
        apply(connection, table, migration).await?;
    }
    let mut transaction = connection.begin_with(BEGIN).await.map_err(failure)?;
    lock(&mut transaction).await?;
    let recorded = shard(&mut transaction, table, shards).await?;
    transaction.commit().await.map_err(failure)?;
    Ok(recorded)
}

/// Records how many shards the table has, unless that has been done; answers what is recorded. Tasks from before this
/// was recorded are in one.
async fn shard(connection: &mut PgConnection, table: &TableName, shards: Shards) -> Attempt<i64> {
    let record = format!(
        "INSERT INTO {} (one, shards) SELECT 1, CASE WHEN EXISTS (SELECT 1 FROM {table}) THEN 1 ELSE $1::int2 END \
         ON CONFLICT (one) DO NOTHING",
        table.shards()
    );
    let record = sqlx::query(AssertSqlSafe(record)).persistent(false);
    let wanted = i16::try_from(shards.get()).unwrap_or(i16::MAX);
    record.bind(wanted).execute(&mut *connection).await.map_err(failure)?;
    let recorded = format!("SELECT shards::int8 FROM {}", table.shards());
    let recorded = sqlx::query_scalar(AssertSqlSafe(recorded)).persistent(false);
    recorded.fetch_one(connection).await.map_err(failure)
}

/// Creates the schema and the table of versions, and refuses a database that is ahead of this program.
async fn prepare(connection: &mut PgConnection, table: &TableName) -> Attempt<()> {
    let mut transaction = connection.begin_with(BEGIN).await.map_err(failure)?;
    lock(&mut transaction).await?;
    if let Some(schema) = table.schema() {
        create_schema(&mut transaction, schema).await?;
    }
    applied(&mut transaction, table).await?;
    transaction.commit().await.map_err(failure)
}

/// The newest version that the database has, once it has a table of them; 0 when it has none.
pub(crate) async fn applied(connection: &mut PgConnection, table: &TableName) -> Attempt<i64> {
    let create = format!(
        "CREATE TABLE IF NOT EXISTS {} (version bigint PRIMARY KEY, name text NOT NULL, \
         applied_at timestamptz NOT NULL DEFAULT now())",
        table.migrations()
    );
    sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut *connection).await.map_err(failure)?;
    newest(connection, table).await
}

async fn newest(connection: &mut PgConnection, table: &TableName) -> Attempt<i64> {
    let newest = format!("SELECT coalesce(max(version), 0) FROM {}", table.migrations());
    let newest = sqlx::query_scalar(AssertSqlSafe(newest)).persistent(false);
    let newest = newest.fetch_one(connection).await.map_err(failure)?;
    check(newest)?;
    Ok(newest)
}

/// Only where it is not there: CREATE SCHEMA IF NOT EXISTS asks for the right to create even where it is. On CockroachDB, where
/// migrators take no turns, another one may create it meanwhile.
pub(crate) async fn create_schema(connection: &mut PgConnection, schema: &str) -> Attempt<()> {
    let find = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)");
    let find = find.persistent(false).bind(schema);
    if find.fetch_one(&mut *connection).await.map_err(failure)? {
        return Ok(());
    }
    let create = format!("CREATE SCHEMA IF NOT EXISTS \"{schema}\"");
    sqlx::raw_sql(AssertSqlSafe(create)).execute(connection).await.map_err(failure)?;
    Ok(())
}

/// The newest version that this program knows.
fn known() -> i64 {
    POSTGRES.last().map_or(0, |migration| migration.version)
}

/// An older program would not know what a newer schema means.
fn check(newest: i64) -> Attempt<()> {
    let known = known();
    if newest <= known {
        return Ok(());
    }
    let message = format!("the database is at version {newest}, this program knows only {known}: update it");
    Err(Failure::Database { kind: ErrorKind::Backend, message: message.into(), source: None })
}

async fn apply(connection: &mut PgConnection, table: &TableName, migration: &Migration) -> Attempt<()> {
    let mut transaction = connection.begin_with(BEGIN).await.map_err(failure)?;
    lock(&mut transaction).await?;
    if record(&mut transaction, table, migration).await? {
        let sql = migration.sql(table.as_str());
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *transaction).await.map_err(failure)?;
    }
    transaction.commit().await.map_err(failure)
}

/// Answers whether it had not been recorded.
pub(crate) async fn record(
    connection: &mut PgConnection,
    table: &TableName,
    migration: &Migration,
) -> Attempt<bool> {
    let record = format!(
        "INSERT INTO {} (version, name) VALUES ($1, $2) ON CONFLICT (version) DO NOTHING",
        table.migrations()
    );
    let record = sqlx::query(AssertSqlSafe(record)).persistent(false);
    let record = record.bind(migration.version).bind(migration.name);
    Ok(record.execute(connection).await.map_err(failure)?.rows_affected() == 1)
}

async fn lock(connection: &mut PgConnection) -> Attempt<()> {
    let lock = sqlx::query("SELECT pg_advisory_xact_lock($1)").persistent(false).bind(LOCK);
    lock.execute(connection).await.map_err(failure)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_is_ahead_of_the_program_is_refused() {
        let known = known();
        check(known).expect("it is as new");
        let error = check(known + 1).expect_err("it is newer").into_error("migrate");
        assert!(error.to_string().contains("this program knows only"), "{error}");
    }
}
