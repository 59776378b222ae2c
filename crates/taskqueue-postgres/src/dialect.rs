//! PostgreSQL as the calls see it: its connections, its literal statements, and what it remembers of them. What the statements
//! are is `claim.rs`'s business, which calls there are that of `calls.rs`.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use sqlx::{AssertSqlSafe, PgConnection, SqlSafeStr as _};
use taskqueue_sql::cursor::Cursors;
use taskqueue_sql::{Attempt, Options, Row, Sharding, Unsettled};

use crate::claim::Literal;
use crate::cleanup::WalkStarts;
use crate::config::{Engine, Source};
use crate::due::Due;
use crate::error::failure;
use crate::listen::Wakes;
use crate::query::Query;
use crate::session::{Connections, Session};
use crate::turns::Turns;
use crate::wire;

/// What a queue's calls have of the server. `unsettled` is told of each connection that the queue's own pool opens.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) connections: Connections,
    pub(crate) unsettled: Arc<Unsettled>,
    /// Whether single statements need no transaction of their own.
    pub(crate) runs_single_statements: bool,
}

/// PostgreSQL behind [`SqlQueue`](taskqueue_sql::SqlQueue).
#[derive(Debug)]
pub(crate) struct PostgresDialect {
    opened: Opened,
    /// The engine, where the pool is the caller's.
    pub(crate) of_callers: Option<Engine>,
    /// None where wake-ups are off.
    pub(crate) wakes: Option<Wakes>,
    pub(crate) options: Options,
    literal: Literal,
    sharding: Sharding,
    pub(crate) walk_starts: WalkStarts,
    cursors: Cursors,
    pub(crate) due: Due,
    pub(crate) turns: Turns,
    /// How often it was looked, type by type, behind what others have locked.
    pub(crate) looks_behind: AtomicUsize,
    pub(crate) contention_retries_max: u32,
    prepared_statements: bool,
    statement_timeout: Duration,
    /// What stands for the current time, where a test has its own.
    now_sql: Option<&'static str>,
}

impl PostgresDialect {
    pub(crate) fn new(
        opened: Opened,
        engine: Engine,
        wakes: Option<Wakes>,
        config: &crate::PostgresConfig,
        literal: Literal,
        sharding: Sharding,
    ) -> Self {
        let server = if config.testing.is_on_postgres { Engine::Postgres } else { engine };
        Self {
            opened,
            of_callers: matches!(config.source, Source::Pool(_)).then_some(server),
            wakes,
            literal,
            sharding,
            walk_starts: WalkStarts::default(),
            cursors: Cursors::new(config.testing.scanning),
            due: Due::new(config.testing.scanning),
            turns: Turns::default(),
            looks_behind: AtomicUsize::new(0),
            options: config.options.clone(),
            contention_retries_max: config.contention_retries_max,
            prepared_statements: config.prepared_statements,
            statement_timeout: config.statement_timeout,
            now_sql: config.testing.now_sql,
        }
    }

    pub(crate) fn connections(&self) -> &Connections {
        &self.opened.connections
    }

    pub(crate) fn sharding(&self) -> &Sharding {
        &self.sharding
    }

    pub(crate) fn literal(&self) -> &Literal {
        &self.literal
    }

    pub(crate) fn cursors(&self) -> &Cursors {
        &self.cursors
    }

    pub(crate) fn unsettled(&self) -> &Unsettled {
        &self.opened.unsettled
    }

    /// A connection for one statement, which is a transaction by itself.
    pub(crate) async fn single(&self) -> Attempt<Session> {
        Session::single(self.connections(), self.of_callers, self.statement_timeout).await.map_err(failure)
    }

    pub(crate) fn runs_single_statements(&self) -> bool {
        self.opened.runs_single_statements
    }

    /// A literal statement. Its text holds checked identifiers and placeholders only.
    pub(crate) fn query<'q>(&self, sql: &str) -> Query<'q> {
        let sql = match self.now_sql {
            Some(now) => AssertSqlSafe(sql.replace("now()", now)).into_sql_str(),
            None => AssertSqlSafe(sql).into_sql_str(),
        };
        Query::new(sql, self.prepared_statements, self.statement_timeout)
    }

    /// The rows of a literal query.
    pub(crate) async fn rows(&self, connection: &mut PgConnection, query: Query<'_>) -> Attempt<Vec<Row>> {
        query.fetch_read(connection, wire::row).await
    }
}
