//! Applies the schema's migrations, each once, each in its own transaction. It knows no queue.

use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use taskqueue_core::Result;
use taskqueue_migrations::{Migration, POSTGRES};
use taskqueue_sql::{Attempt, TableName};

use crate::error::failure;

/// Locks out other migrators of this program, whatever their table; released with the transaction.
const LOCK: i64 = 0x7461_736b_7175_6575;

pub(crate) async fn migrate(pool: &PgPool, table: &TableName) -> Result<()> {
    let applied = async {
        let mut connection = pool.acquire().await.map_err(failure)?;
        for migration in POSTGRES {
            apply(&mut connection, table, migration).await?;
        }
        Ok(())
    };
    applied.await.map_err(|failure: taskqueue_sql::Failure| failure.into_error("migrate"))
}

async fn apply(connection: &mut PgConnection, table: &TableName, migration: &Migration) -> Attempt<()> {
    let mut transaction = connection.begin().await.map_err(failure)?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(LOCK)
        .execute(&mut *transaction)
        .await
        .map_err(failure)?;
    let versions = table.migrations();
    let create = format!(
        "CREATE TABLE IF NOT EXISTS {versions} (version bigint PRIMARY KEY, name text NOT NULL, \
         applied_at timestamptz NOT NULL DEFAULT now())"
    );
    sqlx::query(AssertSqlSafe(create)).execute(&mut *transaction).await.map_err(failure)?;
    let record =
        format!("INSERT INTO {versions} (version, name) VALUES ($1, $2) ON CONFLICT (version) DO NOTHING");
    let record = sqlx::query(AssertSqlSafe(record)).bind(migration.version).bind(migration.name);
    if record.execute(&mut *transaction).await.map_err(failure)?.rows_affected() == 1 {
        let schema = migration.sql(table.as_str());
        sqlx::raw_sql(AssertSqlSafe(schema)).execute(&mut *transaction).await.map_err(failure)?;
    }
    transaction.commit().await.map_err(failure)
}
