//! SQLite as the calls see it: its connections, its statements, and how it writes what the portable ones leave open. Which
//! calls there are is the business of `calls.rs`.

use std::time::Duration;

use sea_query::{Expr, SqliteQueryBuilder, Value};
use sqlx::SqlitePool;
use taskqueue_core::clock::subtract;
use taskqueue_core::{TaskId, Timestamp};
use taskqueue_sql::Flavour;

use crate::claim::Sql;
use crate::config::SqliteConfig;
use crate::watch::Watch;

/// How SQLite writes what the portable statements leave open: times are integer microseconds of the host's clock,
/// ids are blobs.
#[derive(Debug, Clone, Copy, Default)]
pub struct SqliteFlavour;

impl Flavour for SqliteFlavour {
    type Builder = SqliteQueryBuilder;
    type Now = Timestamp;

    fn now(&self, now: Timestamp) -> Expr {
        Expr::val(now.timestamp_micros())
    }

    fn ago(&self, now: Timestamp, age: Duration) -> Expr {
        Expr::val(subtract(now, age).timestamp_micros())
    }

    fn id(&self, id: TaskId) -> Value {
        id.as_uuid().into_bytes().to_vec().into()
    }

    fn rank_off_queue(&self) -> Expr {
        Expr::cust("0")
    }
}

/// One SQLite database.
#[derive(Debug)]
pub(crate) struct SqliteDialect {
    pub(crate) config: SqliteConfig,
    pub(crate) writer: SqlitePool,
    pub(crate) readers: SqlitePool,
    pub(crate) sql: Sql,
    /// None where nothing is watched.
    pub(crate) watch: Option<Watch>,
}
