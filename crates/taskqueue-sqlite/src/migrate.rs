//! Applies the migrations: each once, recorded in a table of their own, whoever else migrates at the same time.

use sqlx::{AssertSqlSafe, SqliteConnection};
use taskqueue_core::{Error, ErrorKind};
use taskqueue_migrations::{Engine, SQLITE};
use taskqueue_sql::{Access, Attempt, Dialect, Failure, PAUSED, TASKS, TOTALS, TableName};

use crate::dialect::SqliteDialect;
use crate::error::failure;
use crate::query::{Query, fields};

/// How the names of the tables end that migrations make beside that of the versions.
const ENDINGS: [&str; 3] = [TASKS, PAUSED, TOTALS];

/// Applies what is missing. BEGIN IMMEDIATE makes processes that migrate at once take turns; the later ones find
/// nothing to do.
pub(crate) async fn migrate(dialect: &SqliteDialect) -> Attempt<()> {
    let mut transaction = dialect.begin(Access::Write).await?;
    match apply(dialect, &mut transaction).await {
        Ok(()) => dialect.commit(transaction).await,
        Err(failure) => {
            dialect.rollback(transaction).await;
            Err(failure)
        }
    }
}

async fn apply(dialect: &SqliteDialect, connection: &mut SqliteConnection) -> Attempt<()> {
    let table = &dialect.config.options.table;
    let is_new = !is_there(&mut *connection, &table.migrations()).await?;
    for ending in ENDINGS {
        let name = format!("{table}{ending}");
        if is_new && is_there(&mut *connection, &name).await? {
            return Err(Failure::table_of_others(&name));
        }
    }
    let applied = applied_version(connection, table).await?;
    Engine::Sqlite
        .check(applied)
        .map_err(|newer| Error::new(ErrorKind::Backend, "migrate", newer.to_string()))?;
    for migration in SQLITE.iter().filter(|migration| migration.version > applied) {
        let sql = migration.sql(table.as_str());
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *connection).await.map_err(failure)?;
        let record =
            format!("INSERT INTO {} (version, name, applied_at) VALUES (?1, ?2, ?3)", table.migrations());
        let query = Query::rendered(&record).bind(migration.version).bind(migration.name);
        query.bind(dialect.now().timestamp_micros()).execute(&mut *connection).await.map_err(failure)?;
    }
    Ok(())
}

/// The tables and views of this name, whatever the case of its letters.
async fn is_there(connection: &mut SqliteConnection, name: &str) -> Attempt<bool> {
    let count =
        "SELECT count(*) FROM sqlite_master WHERE type IN ('table', 'view') AND name = ?1 COLLATE NOCASE";
    let row = Query::rendered(count).bind(name).fetch_one(connection).await.map_err(failure)?;
    Ok(fields(&row)?.integer(0)? > 0)
}

/// The newest version that the database has; 0 when it has none.
async fn applied_version(connection: &mut SqliteConnection, table: &TableName) -> Attempt<i64> {
    let name = table.migrations();
    let create = format!(
        "CREATE TABLE IF NOT EXISTS {name} (version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at INTEGER NOT NULL)"
    );
    Query::rendered(&create).execute(&mut *connection).await.map_err(failure)?;
    let newest = format!("SELECT coalesce(max(version), 0) FROM {name}");
    let row = Query::rendered(&newest).fetch_one(connection).await.map_err(failure)?;
    fields(&row)?.integer(0)
}
