//! A connection while a call uses it: with an open transaction, or without one where a statement may run by itself, which
//! saves two round trips. It knows no statement of the queue.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};
use taskqueue_core::Result;
use taskqueue_sql::{InUse, within};

use crate::config::Engine;
use crate::error::{failure, is_in_failed_transaction, is_refused_setting};
use crate::pool::DriverPool;

/// Where the queue's calls get their connections.
pub(crate) type Connections = taskqueue_sql::Connections<DriverPool>;

/// How long a rollback may take, which the server does at once.
const ROLLBACK_TIME_MAX: Duration = Duration::from_secs(5);
/// The most that the server takes for `lock_timeout`.
const LOCK_WAIT_MILLISECONDS_MAX: u128 = i32::MAX as u128;

/// A connection with or without an open transaction. Dropped without an end, it closes the connection, which rolls
/// back.
#[derive(Debug)]
pub(crate) struct Session {
    connection: InUse<DriverPool>,
    in_transaction: bool,
    statement_timeout: Duration,
}

impl Session {
    /// A connection for one statement, which is a transaction by itself. `of_callers`: whose pool is the caller's, where
    /// a connection may have a transaction open, which is rolled back: what the queue did in it would be lost.
    pub(crate) async fn single(
        connections: &Connections,
        of_callers: Option<Engine>,
        statement_timeout: Duration,
    ) -> sqlx::Result<Self> {
        let connection = connections.acquire().await?;
        let mut session = Self { connection, in_transaction: false, statement_timeout };
        if let Some(engine) = of_callers
            && !within(statement_timeout, is_clean(&mut session, engine)).await?
        {
            session.say("ROLLBACK").await?;
        }
        Ok(session)
    }

    /// Begins a transaction by this statement.
    pub(crate) async fn begin(mut self, begin: &'static str) -> sqlx::Result<Self> {
        self.in_transaction = true;
        self.say(begin).await?;
        Ok(self)
    }

    async fn say(&mut self, what: &'static str) -> sqlx::Result<()> {
        within(self.statement_timeout, sqlx::raw_sql(what).execute(&mut **self)).await.map(drop)
    }

    /// Commits what is open.
    pub(crate) async fn commit(mut self) -> sqlx::Result<()> {
        if self.in_transaction {
            self.say("COMMIT").await?;
        }
        self.connection.done();
        Ok(())
    }

    /// Rolls back what is open. A connection to a server that takes no writes is closed: the next one may lead to
    /// another. So is one that does not answer soon, as after a statement that was given up.
    pub(crate) async fn rollback(mut self) {
        let rollback = if self.in_transaction {
            "ROLLBACK; SHOW transaction_read_only"
        } else {
            "SHOW transaction_read_only"
        };
        let limit = self.statement_timeout.min(ROLLBACK_TIME_MAX);
        let answer = within(limit, sqlx::raw_sql(rollback).fetch_one(&mut *self)).await;
        let is_read_only = answer.and_then(|row| row.try_get::<String, _>(0));
        if is_read_only.is_ok_and(|is_read_only| is_read_only == "off") {
            self.connection.done();
        }
    }
}

impl Deref for Session {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

/// Whether no transaction is open: only within one does PostgreSQL's `now` stand still, and in one that has failed nothing is
/// answered. ROLLBACK would be simpler, but makes the server warn where there is none.
pub(crate) async fn is_clean(connection: &mut PgConnection, engine: Engine) -> sqlx::Result<bool> {
    let question = match engine {
        Engine::Postgres => "SELECT pg_catalog.now() = pg_catalog.statement_timestamp()",
        // Within one statement of its own PostgreSQL's question would be answered with no.
        Engine::Cockroach => "SELECT current_setting('transaction_status') = 'NoTxn'",
    };
    match sqlx::raw_sql(question).fetch_one(connection).await {
        Ok(row) => row.try_get(0),
        Err(error) if is_in_failed_transaction(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// What sets up a connection, which must be the queue's own and no pooler's: READ COMMITTED is its default, a statement waits so
/// long for a lock, or else one task that somebody keeps locked would hold up all that a settle is for, and one that
/// waits ends soon after it was given up and its connection closed. Without, PostgreSQL finds that out when it has an answer, and
/// sessions pile up behind a lock that stays. Where the system cannot tell it, it refuses that setting; the others are
/// committed before.
pub(crate) fn set_up(engine: Engine, lock_wait_timeout: Duration) -> String {
    let read_committed = "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED";
    let milliseconds = lock_wait_timeout.as_millis().min(LOCK_WAIT_MILLISECONDS_MAX);
    match engine {
        Engine::Postgres => format!(
            "BEGIN; {read_committed}; SET lock_timeout = {milliseconds}; COMMIT; \
             SET client_connection_check_interval = '5s'"
        ),
        Engine::Cockroach => read_committed.to_owned(),
    }
}

/// Sets it up so. What the server refuses is passed over.
pub(crate) async fn set(connection: &mut PgConnection, set_up: &str) -> sqlx::Result<()> {
    match sqlx::raw_sql(AssertSqlSafe(set_up)).execute(connection).await {
        Err(error) if is_refused_setting(&error) => Ok(()),
        done => done.map(drop),
    }
}

/// What a session of the queue's is like.
pub(crate) struct Habits {
    /// Whether a statement outside of a transaction runs as the queue's must: a stricter level would turn skipped rows
    /// into serialization failures. A server or a role has one default for all connections, unless somebody sets another
    /// one on a connection that is the caller's.
    pub(crate) is_read_committed: bool,
    /// Whether the driver keeps what it prepares. With room for none it would prepare a statement for each call, and leave it
    /// to the server for as long as the connection lasts (transact-rs/sqlx#4328).
    pub(crate) keeps_statements: bool,
}

/// Looks at one, by a prepared statement.
pub(crate) async fn habits(connections: &Connections, statement_timeout: Duration) -> Result<Habits> {
    let default = "SELECT current_setting('default_transaction_isolation') = 'read committed' \
         AND current_setting('default_transaction_read_only') = 'off'";
    let ask = async {
        let mut connection = connections.acquire().await?;
        let answer = sqlx::query_scalar(default).fetch_one(&mut **connection);
        let is_read_committed = within(statement_timeout, answer).await?;
        let keeps_statements = connection.cached_statements_size() > 0;
        connection.done();
        Ok(Habits { is_read_committed, keeps_statements })
    };
    ask.await.map_err(|error| failure(error).into_error("connect"))
}
