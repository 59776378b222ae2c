//! A statement of the queue with the time that it may take. It owns the limit; it knows no statement.

use std::time::Duration;

use futures::TryStreamExt as _;
use sqlx::postgres::{PgArguments, PgQueryResult, PgRow};
use sqlx::{Encode, PgConnection, Postgres, SqlStr, Type};
use taskqueue_sql::{Attempt, within};

use crate::error::failure;

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

    /// What `read` makes of each row. It is read as it arrives: of many rows the first are no longer at hand when the last is
    /// there.
    pub(crate) async fn fetch_read<T>(
        self,
        connection: &mut PgConnection,
        mut read: impl FnMut(&PgRow) -> Attempt<T>,
    ) -> Attempt<Vec<T>> {
        let reading = async {
            let (mut rows, mut answer) = (self.query.fetch(connection), Vec::new());
            while let Some(row) = rows.try_next().await? {
                match read(&row) {
                    Ok(read) => answer.push(read),
                    Err(failure) => return Ok(Err(failure)),
                }
            }
            Ok(Ok(answer))
        };
        within(self.limit, reading).await.map_err(failure)?
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
