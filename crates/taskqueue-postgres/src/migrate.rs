//! Applies the schema's migrations, each once, on PostgreSQL each in its own transaction. It knows no queue.

use sqlx::{AssertSqlSafe, Connection, Decode, PgConnection, PgPool, Postgres, Row as _, Type};
use taskqueue_core::{Error, ErrorKind, Result, Shards};
use taskqueue_migrations::{Migration, POSTGRES};
use taskqueue_sql::{Attempt, Failure, MIGRATIONS, PAUSED, SHARDS, TASKS, TOTALS, TableName};

use crate::cockroach;
use crate::config::Engine;
use crate::error::failure;

/// Whose versions are counted; those of CockroachDB are the same.
const SCHEMA: taskqueue_migrations::Engine = taskqueue_migrations::Engine::Postgres;
/// Locks out other migrators of this program, whatever their table; released with the transaction.
const LOCK: i64 = 0x7461_736b_7175_6575;
/// How long a step may wait for the task table. All that comes meanwhile waits behind it: behind a dump's lock, which lasts as long as
/// the dump, the queue would stand still.
const TABLE_LOCK_SECS: u32 = 5;
/// How the names of the tables end that migrations make beside that of the versions.
const ENDINGS: [&str; 5] = [TASKS, "_leases", PAUSED, TOTALS, SHARDS];
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
    ended.map_err(|failure| locked(failure).into_error("migrate"))
}

fn locked(failure: Failure) -> Failure {
    let source = match failure {
        Failure::Contention { source } => source,
        Failure::LockWait { source } => Some(source),
        other => return other,
    };
    let message = "others hold locks on the queue's tables, as dumps and open transactions do: migrate again when they have ended";
    Failure::Database { kind: ErrorKind::Unavailable, message: message.into(), source }
}

/// How many shards the table has, where there is nothing to do: a look, which needs no right but to read. Whoever creates asks for
/// more, also where what it creates is there.
async fn finished(connection: &mut PgConnection, table: &TableName) -> Attempt<Option<i64>> {
    let is_there = format!("SELECT to_regclass('{}') IS NOT NULL", table.migrations());
    let is_there = value::<bool>(&mut *connection, is_there).await?;
    if !is_there || newest(&mut *connection, table).await? < SCHEMA.newest() {
        return Ok(None);
    }
    let recorded = sqlx::raw_sql(AssertSqlSafe(recorded_shards(table))).fetch_optional(connection).await;
    recorded.and_then(|row| row.map(|row| row.try_get(0)).transpose()).map_err(failure)
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
        "INSERT INTO {} (one, shards) SELECT 1, CASE WHEN EXISTS (SELECT 1 FROM {table}) THEN 1 ELSE {} END \
         ON CONFLICT (one) DO NOTHING",
        table.shards(),
        shards.get()
    );
    say(&mut *connection, record).await?;
    value(connection, recorded_shards(table)).await
}

fn recorded_shards(table: &TableName) -> String {
    format!("SELECT shards::int8 FROM {}", table.shards())
}

/// Creates the schema and the table of versions, and refuses a database that is ahead of this program.
async fn prepare(connection: &mut PgConnection, table: &TableName) -> Attempt<()> {
    let mut transaction = connection.begin_with(BEGIN).await.map_err(failure)?;
    lock(&mut transaction).await?;
    if let Some(schema) = table.schema() {
        create_schema(&mut transaction, schema).await?;
    }
    refuse_table_of_others(&mut transaction, table).await?;
    applied(&mut transaction, table).await?;
    transaction.commit().await.map_err(failure)
}

/// A migration makes the table of versions first: so another one of the queue's names without that is somebody else's. Looked for in
/// this order, since migrators take no turns on CockroachDB.
pub(crate) async fn refuse_table_of_others(connection: &mut PgConnection, table: &TableName) -> Attempt<()> {
    let schema = table.schema().map_or_else(|| "current_schema()".to_owned(), |schema| format!("'{schema}'"));
    let first_of = |names: &str| {
        format!(
            "SELECT min(c.relname::text) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace \
             WHERE n.nspname = {schema} AND c.relname IN ({names})"
        )
    };
    let name = table.name();
    let names = ENDINGS.map(|ending| format!("'{name}{ending}'")).join(", ");
    let found: Option<String> = value(&mut *connection, first_of(&names)).await?;
    let Some(found) = found else { return Ok(()) };
    let versions: Option<String> = value(connection, first_of(&format!("'{name}{MIGRATIONS}'"))).await?;
    if versions.is_some() { Ok(()) } else { Err(Failure::table_of_others(&found)) }
}

/// The newest version that the database has, once it has a table of them; 0 when it has none.
pub(crate) async fn applied(connection: &mut PgConnection, table: &TableName) -> Attempt<i64> {
    let create = format!(
        "CREATE TABLE IF NOT EXISTS {} (version bigint PRIMARY KEY, name text NOT NULL, \
         applied_at timestamptz NOT NULL DEFAULT now())",
        table.migrations()
    );
    say(&mut *connection, create).await?;
    newest(connection, table).await
}

async fn newest(connection: &mut PgConnection, table: &TableName) -> Attempt<i64> {
    let newest = format!("SELECT coalesce(max(version), 0) FROM {}", table.migrations());
    let newest = value(connection, newest).await?;
    SCHEMA.check(newest).map_err(|newer| Error::new(ErrorKind::Backend, "migrate", newer.to_string()))?;
    Ok(newest)
}

/// Only where it is not there: CREATE SCHEMA IF NOT EXISTS asks for the right to create even where it is. On CockroachDB, where
/// migrators take no turns, another one may create it meanwhile.
pub(crate) async fn create_schema(connection: &mut PgConnection, schema: &str) -> Attempt<()> {
    let is_there = format!("SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = '{schema}')");
    if value(&mut *connection, is_there).await? {
        return Ok(());
    }
    say(connection, format!("CREATE SCHEMA IF NOT EXISTS \"{schema}\"")).await.map(drop)
}

async fn apply(connection: &mut PgConnection, table: &TableName, migration: &Migration) -> Attempt<()> {
    let mut transaction = connection.begin_with(BEGIN).await.map_err(failure)?;
    lock(&mut transaction).await?;
    if record(&mut transaction, table, migration).await? {
        say(&mut transaction, format!("SET LOCAL lock_timeout = '{TABLE_LOCK_SECS}s'")).await?;
        say(&mut transaction, migration.sql(table.as_str())).await?;
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
        "INSERT INTO {} (version, name) VALUES ({}, '{}') ON CONFLICT (version) DO NOTHING",
        table.migrations(),
        migration.version,
        migration.name
    );
    Ok(say(connection, record).await? == 1)
}

/// Waits for its turn, for as long as others migrate: building an index may take them minutes.
async fn lock(connection: &mut PgConnection) -> Attempt<()> {
    say(connection, format!("SET LOCAL lock_timeout = 0; SELECT pg_advisory_xact_lock({LOCK})"))
        .await
        .map(drop)
}

/// The only value of the only row. As all here by the simple protocol: a pooler in transaction mode may part a statement that is
/// prepared from its execution. What is put into the text is a number or a checked name.
async fn value<T>(connection: &mut PgConnection, sql: String) -> Attempt<T>
where
    T: for<'r> Decode<'r, Postgres> + Type<Postgres>,
{
    let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(connection).await;
    row.and_then(|row| row.try_get(0)).map_err(failure)
}

/// Answers how many rows were changed.
async fn say(connection: &mut PgConnection, sql: String) -> Attempt<u64> {
    let said = sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.map_err(failure)?;
    Ok(said.rows_affected())
}
