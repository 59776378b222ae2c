//! Connections of the pool, and each while a call uses it: with an open transaction, or without one where a statement may run by
//! itself, which saves two round trips. It owns what becomes of the connection afterwards: back to the pool after a
//! proper end, closed otherwise. It knows no statement of the queue.
//!
//! The driver's own transaction puts the connection back whatever happened. One that was left in the middle of an
//! answer would then wait, with its place in the pool, for a server that may be gone; and one to a server that was
//! demoted would be handed out again.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::PgPoolOptions;
use sqlx::{PgConnection, PgPool, Postgres, Row as _};
use taskqueue_core::Result;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};

use crate::error::failure;
use crate::kept::{Keeping, Kept};
use taskqueue_sql::within;

/// How long a rollback may take, which the server does at once.
const ROLLBACK_TIME_MAX: Duration = Duration::from_secs(5);

/// Where the queue's calls get their connections.
#[derive(Debug, Clone)]
pub(crate) struct Connections(Arc<Source>);

#[derive(Debug)]
struct Source {
    pool: PgPool,
    kept: Kept<PoolConnection<Postgres>>,
    statement_timeout: Duration,
}

impl Connections {
    /// Those of a pool. `keeps`: how many may stay at hand between calls, which is how many others cannot have.
    pub(crate) fn new(pool: PgPool, keeps: usize, statement_timeout: Duration) -> Self {
        Self(Arc::new(Source { pool, kept: Kept::new(keeps), statement_timeout }))
    }

    pub(crate) fn pool(&self) -> &PgPool {
        &self.0.pool
    }

    /// Keeps none at hand from now on: others want them.
    pub(crate) fn keep_none(&self) {
        self.0.kept.stop().into_iter().for_each(|connection| self.0.give_back(connection));
    }

    /// Closes the pool once the calls under way have ended.
    pub(crate) async fn close(&self) {
        self.keep_none();
        self.0.pool.close().await;
    }

    /// A connection for one statement, which is a transaction by itself.
    pub(crate) async fn single(&self) -> sqlx::Result<Session> {
        let connection = Some(self.acquire().await?);
        Ok(Session { source: Arc::clone(&self.0), connection, in_transaction: false, is_ended: false })
    }

    /// A transaction that this statement begins.
    pub(crate) async fn begin(&self, begin: &'static str) -> sqlx::Result<Session> {
        let mut session = self.single().await?;
        session.in_transaction = true;
        within(self.0.statement_timeout, sqlx::raw_sql(begin).execute(&mut *session)).await?;
        Ok(session)
    }

    async fn acquire(&self) -> sqlx::Result<Keeping<PoolConnection<Postgres>>> {
        loop {
            match self.0.kept.take() {
                Ok(old) if old.is_old(Instant::now()) => self.0.give_back(old.value),
                Ok(kept) => return Ok(kept),
                Err(_waiting) => {
                    let value = self.0.pool.acquire().await?;
                    return Ok(Keeping { value, since: Instant::now() });
                }
            }
        }
    }
}

impl Source {
    /// The pool asks the server once more, with no limit of its own, and the place in the pool is taken meanwhile.
    /// Outside of a runtime, as in the drop of a queue that outlived it, nobody can ask: the connection is closed.
    fn give_back(&self, mut connection: PoolConnection<Postgres>) {
        let limit = self.statement_timeout;
        match Handle::try_current() {
            Ok(runtime) => {
                runtime.spawn(async move { timeout(limit, connection.return_to_pool()).await });
            }
            Err(_) => drop(connection.detach()),
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.kept.stop().into_iter().for_each(|connection| self.give_back(connection));
    }
}

/// A connection with or without an open transaction. Dropped without an end, it closes the connection, which rolls
/// back.
#[derive(Debug)]
pub(crate) struct Session {
    source: Arc<Source>,
    /// There until the session is dropped.
    connection: Option<Keeping<PoolConnection<Postgres>>>,
    in_transaction: bool,
    is_ended: bool,
}

impl Session {
    /// Commits what is open.
    pub(crate) async fn commit(mut self) -> sqlx::Result<()> {
        if self.in_transaction {
            within(self.source.statement_timeout, sqlx::raw_sql("COMMIT").execute(&mut *self)).await?;
        }
        self.is_ended = true;
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
        let limit = self.source.statement_timeout.min(ROLLBACK_TIME_MAX);
        let answer = within(limit, sqlx::raw_sql(rollback).fetch_one(&mut *self)).await;
        let is_read_only = answer.and_then(|row| row.try_get::<String, _>(0));
        self.is_ended = matches!(is_read_only.as_deref(), Ok("off"));
    }
}

impl Deref for Session {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection.as_ref().expect("it is there until the session is dropped").value
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection.as_mut().expect("it is there until the session is dropped").value
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(mut keeping) = self.connection.take() else { return };
        if !self.is_ended {
            keeping.value.close_on_drop();
        } else if let Some(connection) = self.source.kept.put(keeping, Instant::now()) {
            self.source.give_back(connection);
        }
    }
}

/// Makes READ COMMITTED the default of the pool's connections, which must be the queue's own and no pooler's.
pub(crate) fn read_committed(options: PgPoolOptions) -> PgPoolOptions {
    options.after_connect(|connection, _| {
        Box::pin(async move {
            let set = "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED";
            sqlx::raw_sql(set).execute(connection).await.map(drop)
        })
    })
}

/// Whether a statement outside of a transaction runs as the queue's must: a stricter level would turn skipped rows
/// into serialization failures. A server or a role has one default for all connections, unless somebody sets another
/// one on a connection that is the caller's.
pub(crate) async fn is_read_committed(connections: &Connections) -> Result<bool> {
    let default = "SELECT current_setting('default_transaction_isolation') = 'read committed' \
         AND current_setting('default_transaction_read_only') = 'off'";
    let ask = async {
        let mut session = connections.single().await?;
        let answer = sqlx::query_scalar(default).fetch_one(&mut *session);
        let answer = within(connections.0.statement_timeout, answer).await?;
        session.commit().await.map(|()| answer)
    };
    ask.await.map_err(|error| failure(error).into_error("connect"))
}
