//! A statement of the queue with the time that it may take. It owns the limit; it knows no statement.
//!
//! A network that swallows packets reports neither an end nor an error, for as long as TCP hopes, which is a quarter of
//! an hour.

use std::future::Future;
use std::io;
use std::time::Duration;

use sqlx::postgres::{PgArguments, PgQueryResult, PgRow};
use sqlx::{Encode, PgConnection, Postgres, SqlStr, Type};

/// A query whose answer is waited for no longer than the limit.
pub(crate) struct Query<'q> {
    query: sqlx::query::Query<'q, Postgres, PgArguments>,
    limit: Duration,
}

impl<'q> Query<'q> {
    pub(crate) fn new(sql: SqlStr, is_prepared: bool, limit: Duration) -> Self {
        Self { query: sqlx::query(sql).persistent(is_prepared), limit }
    }

    pub(crate) fn bind<T: Encode<'q, Postgres> + Type<Postgres> + 'q>(self, value: T) -> Self {
        Self { query: self.query.bind(value), ..self }
    }

    pub(crate) async fn fetch_all(self, connection: &mut PgConnection) -> sqlx::Result<Vec<PgRow>> {
        within(self.limit, self.query.fetch_all(connection)).await
    }

    pub(crate) async fn fetch_one(self, connection: &mut PgConnection) -> sqlx::Result<PgRow> {
        within(self.limit, self.query.fetch_one(connection)).await
    }

    pub(crate) async fn fetch_optional(self, connection: &mut PgConnection) -> sqlx::Result<Option<PgRow>> {
        within(self.limit, self.query.fetch_optional(connection)).await
    }

    pub(crate) async fn execute(self, connection: &mut PgConnection) -> sqlx::Result<PgQueryResult> {
        within(self.limit, self.query.execute(connection)).await
    }
}

/// The answer, or an error of the connection when it is not there in time. The connection must not be used again then.
pub(crate) async fn within<T>(
    limit: Duration,
    answer: impl Future<Output = sqlx::Result<T>>,
) -> sqlx::Result<T> {
    tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| {
        let late = format!("no answer to a statement within {limit:?}");
        Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, late)))
    })
}
