//! Documents in one table of a SQL database. It owns that table and its statements; it knows nothing of what is in the
//! documents, nor of the queue's tables, beside which it may stand.
//!
//! One pool type an engine rather than sqlx's `Any`: its feature would compile every driver a second time, and the
//! drivers are those that the backends have built already.

use std::convert::identity;
use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, MySqlPool, PgPool, SqlitePool};
use taskqueue_core::{Error, Result};

use super::{DocumentId, DocumentStore, ListNames};
use crate::HandlerError;

/// What the table is called unless said otherwise.
pub const TABLE_DEFAULT: &str = "task_documents";

/// How long one call may take, with the wait for a connection: a database that takes a statement and says no more, or a lock
/// that somebody holds, would keep the handler's slot for good.
const CALL_TIME_MAX: Duration = Duration::from_secs(30);

/// Documents in a table of PostgreSQL, MySQL, MariaDB or SQLite. Cheap to clone; clones share the pool.
#[derive(Debug, Clone)]
pub struct SqlDocuments {
    pool: Pool,
    table: String,
}

#[derive(Debug, Clone)]
enum Pool {
    Postgres(PgPool),
    MySql(MySqlPool),
    Sqlite(SqlitePool),
}

impl From<PgPool> for SqlDocuments {
    fn from(pool: PgPool) -> Self {
        Self { pool: Pool::Postgres(pool), table: TABLE_DEFAULT.to_owned() }
    }
}

impl From<MySqlPool> for SqlDocuments {
    fn from(pool: MySqlPool) -> Self {
        Self { pool: Pool::MySql(pool), table: TABLE_DEFAULT.to_owned() }
    }
}

impl From<SqlitePool> for SqlDocuments {
    fn from(pool: SqlitePool) -> Self {
        Self { pool: Pool::Sqlite(pool), table: TABLE_DEFAULT.to_owned() }
    }
}

/// The same for whichever pool it is; the types differ, the code does not.
macro_rules! on {
    ($store:expr, $pool:ident => $do:expr) => {
        match &$store.pool {
            Pool::Postgres($pool) => $do,
            Pool::MySql($pool) => $do,
            Pool::Sqlite($pool) => $do,
        }
    };
}

/// Runs a statement with arguments and answers as this method of the driver's does. On PostgreSQL in a transaction and not
/// prepared for longer: a pooler in transaction mode gives one session's prepared statements to others, and a look would delete
/// where another's deletion has its name.
macro_rules! run {
    ($store:expr, $query:expr, execute) => {
        run!($store, $query, execute, drop)
    };
    ($store:expr, $query:expr, $fetch:ident) => {
        run!($store, $query, $fetch, identity)
    };
    ($store:expr, $query:expr, $how:ident, $answer:expr) => {
        within(async {
            match &$store.pool {
                Pool::Postgres(pool) => {
                    let mut transaction = pool.begin().await?;
                    let answer = $query.persistent(false).$how(&mut *transaction).await.map($answer)?;
                    transaction.commit().await?;
                    Ok(answer)
                }
                Pool::MySql(pool) => $query.$how(pool).await.map($answer),
                Pool::Sqlite(pool) => $query.$how(pool).await.map($answer),
            }
        })
        .await
        .map_err(failed)
    };
}

impl SqlDocuments {
    /// The documents in the database at `url`: `postgres://`, `mysql://`, `mariadb://` or `sqlite:`. It connects when it
    /// is first used. To be called within a Tokio runtime.
    ///
    /// # Errors
    /// `InvalidInput` for a URL that is none of these. The message does not repeat it, as it may hold a password.
    pub fn open(url: &str) -> Result<Self> {
        let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
        let opened = match scheme {
            "postgres" | "postgresql" => PgPool::connect_lazy(url).map(Self::from),
            "mysql" | "mariadb" => MySqlPool::connect_lazy(url).map(Self::from),
            "sqlite" => SqlitePool::connect_lazy(url).map(Self::from),
            _ => return Err(invalid("the URL is none of postgres://, mysql://, mariadb:// or sqlite:")),
        };
        opened.map_err(|_| invalid("the URL is malformed"))
    }

    /// Sets what the table is called.
    ///
    /// # Errors
    /// `InvalidInput` unless it is 1 to 48 characters of `[a-z0-9_]` and begins with a letter.
    pub fn table(mut self, table: &str) -> Result<Self> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let begins = table.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
        if !begins || table.len() > 48 || !table.bytes().all(fits) {
            let what = "is not 1 to 48 characters of [a-z0-9_] that begin with a letter";
            return Err(Error::invalid_input("documents", format!("table {table:?} {what}")));
        }
        table.clone_into(&mut self.table);
        Ok(self)
    }

    /// Makes the table where it is missing; where it is there, no right to make one is needed. Of several at once each
    /// finds it made.
    ///
    /// # Errors
    /// What the database says.
    pub async fn migrate(&self) -> std::result::Result<(), HandlerError> {
        if self.is_there().await? {
            return Ok(());
        }
        let create = self.create();
        let made = on!(self, pool => within(sqlx::raw_sql(create).execute(pool)).await.map(drop));
        match made {
            // PostgreSQL refuses the second of two that make it at once, in spite of IF NOT EXISTS.
            Err(sqlx::Error::Database(_)) if self.is_there().await? => Ok(()),
            made => made.map_err(failed),
        }
    }

    async fn is_there(&self) -> std::result::Result<bool, HandlerError> {
        let select = self.statement("SELECT kind, name, document FROM {table} LIMIT 0");
        match on!(self, pool => within(sqlx::raw_sql(select).execute(pool)).await.map(drop)) {
            Ok(()) => Ok(true),
            Err(sqlx::Error::Database(_)) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    fn create(&self) -> AssertSqlSafe<String> {
        self.statement(match self.pool {
            // "C": names are listed in the order of their bytes, and the primary key is that order.
            Pool::Postgres(_) => {
                "CREATE TABLE IF NOT EXISTS {table} (kind text NOT NULL, name text COLLATE \"C\" NOT NULL, \
                 document text NOT NULL, updated_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (kind, name))"
            }
            // Bytes: a collation of text would take names that end in spaces for the same.
            Pool::MySql(_) => {
                "CREATE TABLE IF NOT EXISTS {table} (\
                 kind varchar(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, name varbinary(1024) NOT NULL, \
                 document longtext CHARACTER SET utf8mb4 NOT NULL, \
                 updated_at datetime(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), PRIMARY KEY (kind, name))"
            }
            Pool::Sqlite(_) => {
                "CREATE TABLE IF NOT EXISTS {table} (kind text NOT NULL, name text NOT NULL, document text NOT NULL, \
                 updated_at text NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ')), PRIMARY KEY (kind, name))"
            }
        })
    }

    /// A statement with this table and this engine's parameters, which are written `$1`, `$2` in order.
    fn statement(&self, text: &str) -> AssertSqlSafe<String> {
        let text = text.replace("{table}", &self.table);
        AssertSqlSafe(match self.pool {
            Pool::MySql(_) => ["$1", "$2", "$3"].iter().fold(text, |text, it| text.replace(it, "?")),
            _ => text,
        })
    }

    fn upsert(&self) -> AssertSqlSafe<String> {
        self.statement(match self.pool {
            Pool::Postgres(_) => {
                "INSERT INTO {table} (kind, name, document) VALUES ($1, $2, $3) \
                 ON CONFLICT (kind, name) DO UPDATE SET document = excluded.document, updated_at = now()"
            }
            Pool::MySql(_) => {
                "INSERT INTO {table} (kind, name, document) VALUES ($1, $2, $3) \
                 ON DUPLICATE KEY UPDATE document = VALUES(document), updated_at = CURRENT_TIMESTAMP(6)"
            }
            Pool::Sqlite(_) => {
                "INSERT INTO {table} (kind, name, document) VALUES ($1, $2, $3) \
                 ON CONFLICT (kind, name) DO UPDATE SET document = excluded.document, \
                 updated_at = strftime('%Y-%m-%dT%H:%M:%fZ')"
            }
        })
    }
}

#[async_trait]
impl DocumentStore for SqlDocuments {
    async fn get(&self, id: DocumentId<'_>) -> std::result::Result<Option<String>, HandlerError> {
        let select = self.statement("SELECT document FROM {table} WHERE kind = $1 AND name = $2");
        run!(self, sqlx::query_scalar(select).bind(id.kind).bind(id.name), fetch_optional)
    }

    async fn put(&self, id: DocumentId<'_>, json: &str) -> std::result::Result<(), HandlerError> {
        let upsert = self.upsert();
        run!(self, sqlx::query(upsert).bind(id.kind).bind(id.name).bind(json), execute)
    }

    async fn delete(&self, id: DocumentId<'_>) -> std::result::Result<(), HandlerError> {
        let delete = self.statement("DELETE FROM {table} WHERE kind = $1 AND name = $2");
        run!(self, sqlx::query(delete).bind(id.kind).bind(id.name), execute)
    }

    async fn list(&self, list: ListNames<'_>) -> std::result::Result<Vec<String>, HandlerError> {
        let name = match self.pool {
            Pool::MySql(_) => "CONVERT(name USING utf8mb4)",
            _ => "name",
        };
        let (kind, after, limit) = (list.kind, list.after, i64::from(list.limit));
        // The primary key gives the order.
        let text = format!(
            "SELECT {name} FROM {{table}} WHERE kind = $1 AND name > $2 ORDER BY {{table}}.name LIMIT $3"
        );
        let select = self.statement(&text);
        run!(self, sqlx::query_scalar(select).bind(kind).bind(after).bind(limit), fetch_all)
    }
}

/// The call's answer, unless that takes too long.
async fn within<T>(call: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    let too_long = |_| {
        let message = format!("no answer within {CALL_TIME_MAX:?}");
        sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, message))
    };
    tokio::time::timeout(CALL_TIME_MAX, call).await.unwrap_or_else(|elapsed| Err(too_long(elapsed)))
}

/// A database that does not answer, or is busy, passes; what is stored or asked wrongly does not.
fn failed(error: sqlx::Error) -> HandlerError {
    let message = format!("documents in the database: {error}");
    match error {
        sqlx::Error::Configuration(_)
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::Encode(_) => HandlerError::permanent(message),
        _ => HandlerError::transient(message),
    }
}

fn invalid(message: &'static str) -> Error {
    Error::invalid_input("documents", message)
}
