//! Where a statement may run without a transaction of its own, which saves two round trips: on connections whose
//! default is READ COMMITTED. It knows no statement of the queue.

use std::ops::{Deref, DerefMut};

use sqlx::pool::PoolConnection;
use sqlx::postgres::PgPoolOptions;
use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use taskqueue_core::Result;

use crate::error::failure;

/// A connection with or without an open transaction.
#[derive(Debug)]
pub(crate) enum Session {
    Single(PoolConnection<Postgres>),
    Open(Transaction<'static, Postgres>),
}

impl Deref for Session {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        match self {
            Self::Single(connection) => connection,
            Self::Open(transaction) => transaction,
        }
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut PgConnection {
        match self {
            Self::Single(connection) => connection,
            Self::Open(transaction) => transaction,
        }
    }
}

/// Makes READ COMMITTED the default of the pool's connections, which must be the queue's own and no pooler's.
pub(crate) fn read_committed(options: PgPoolOptions) -> PgPoolOptions {
    options.after_connect(|connection, _| {
        Box::pin(async move {
            let set = "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE";
            sqlx::raw_sql(set).execute(connection).await.map(drop)
        })
    })
}

/// Whether a statement outside of a transaction runs as the queue's must: a stricter level would turn skipped rows
/// into serialization failures. A server or a role has one default for all connections, unless somebody sets another
/// one on a connection that is the caller's.
pub(crate) async fn is_read_committed(pool: &PgPool) -> Result<bool> {
    let default = "SELECT current_setting('default_transaction_isolation') = 'read committed' \
         AND current_setting('default_transaction_read_only') = 'off'";
    let answer = sqlx::query_scalar(default).fetch_one(pool).await;
    answer.map_err(|error| failure(error).into_error("connect"))
}
