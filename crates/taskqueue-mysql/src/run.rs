//! Runs the statements of the dialect, within the time that their answers may take. It knows none of them.

use sqlx::mysql::{MySqlArguments, MySqlQueryResult};
use sqlx::{AssertSqlSafe, MySql, MySqlConnection, SqlStr};
use taskqueue_core::Shard;
use taskqueue_sql::{Attempt, Field, Row};

use crate::batch::Batch;
use crate::claim::{LIST_MAX, padded};
use crate::dialect::MysqlDialect;
use crate::error::failure;
use crate::wire;

/// A statement that is given its arguments.
pub(crate) type Query<'q> = sqlx::query::Query<'q, MySql, MySqlArguments>;

impl MysqlDialect {
    /// A literal statement. Its text holds checked identifiers and placeholders only.
    pub(crate) fn query<'q>(&self, sql: &str) -> Query<'q> {
        let sql: SqlStr = sqlx::SqlSafeStr::into_sql_str(AssertSqlSafe(sql));
        sqlx::query(sql)
    }

    /// Runs a statement.
    pub(crate) async fn run(
        &self,
        query: Query<'_>,
        connection: &mut MySqlConnection,
    ) -> sqlx::Result<MySqlQueryResult> {
        self.answers().take(query.execute(connection)).await
    }

    /// Runs a text of several statements without arguments; answers the rows of all.
    pub(crate) async fn text(&self, sql: &str, connection: &mut MySqlConnection) -> Attempt<Vec<Row>> {
        let text = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(connection);
        self.answers().take(text).await.map_err(failure)?.iter().map(wire::row).collect()
    }

    /// Runs a query.
    pub(crate) async fn rows(&self, query: Query<'_>, connection: &mut MySqlConnection) -> Attempt<Vec<Row>> {
        Ok(self.fields(query, connection).await?.into_iter().map(Row::new).collect())
    }

    /// The same, before its rows are closed to change.
    pub(crate) async fn fields(
        &self,
        query: Query<'_>,
        connection: &mut MySqlConnection,
    ) -> Attempt<Vec<Vec<Field>>> {
        let rows = self.answers().take(query.fetch_all(connection)).await.map_err(failure)?;
        rows.iter().map(wire::fields).collect()
    }

    /// Runs a query about a list of any length, so many entries at once as a statement takes: `text` is for so many, `bind` gives it
    /// these. Answers the rows of all.
    pub(crate) async fn rows_of<T: Clone + Send + Sync>(
        &self,
        connection: &mut MySqlConnection,
        list: &[T],
        text: impl Fn(usize) -> String + Send,
        bind: impl Fn(Query<'static>, &[T]) -> Query<'static> + Send,
    ) -> Attempt<Vec<Row>> {
        let mut rows = Vec::new();
        for part in list.chunks(LIST_MAX) {
            let part = padded(part);
            let query = bind(self.query(&text(part.len())), &part);
            rows.extend(self.rows(query, &mut *connection).await?);
        }
        Ok(rows)
    }

    /// Runs a statement about a list of any length, likewise; answers how many rows it matched.
    pub(crate) async fn run_of<T: Clone + Send + Sync>(
        &self,
        connection: &mut MySqlConnection,
        list: &[T],
        text: impl Fn(usize) -> String + Send,
        bind: impl Fn(Query<'static>, &[T]) -> Query<'static> + Send,
    ) -> sqlx::Result<u64> {
        let mut rows = 0;
        for part in list.chunks(LIST_MAX) {
            let part = padded(part);
            let query = bind(self.query(&text(part.len())), &part);
            rows += self.run(query, &mut *connection).await?.rows_affected();
        }
        Ok(rows)
    }

    /// Runs a joined update over a batch; answers how many rows it matched.
    pub(crate) async fn each(
        &self,
        connection: &mut MySqlConnection,
        shard: Shard,
        sql: &str,
        batch: Batch,
    ) -> Attempt<u64> {
        let mut rows = 0;
        for (array, _) in batch.into_arrays() {
            let query = self.query(sql).bind(array).bind(shard.number());
            rows += self.run(query, &mut *connection).await.map_err(failure)?.rows_affected();
        }
        Ok(rows)
    }
}
