//! Runs the statements of the dialect, within the time that their answers may take. It knows none of them.

use sqlx::mysql::{MySqlArguments, MySqlQueryResult, MySqlRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, MySql, MySqlConnection, SqlStr};
use taskqueue_core::Shard;
use taskqueue_sql::Attempt;

use crate::batch::Batch;
use crate::dialect::MysqlDialect;
use crate::error::failure;

impl MysqlDialect {
    /// A literal statement. Its text holds checked identifiers and placeholders only.
    pub(crate) fn query<'q>(&self, sql: &str) -> Query<'q, MySql, MySqlArguments> {
        let sql: SqlStr = sqlx::SqlSafeStr::into_sql_str(AssertSqlSafe(sql));
        sqlx::query(sql)
    }

    /// Runs a statement.
    pub(crate) async fn run(
        &self,
        query: Query<'_, MySql, MySqlArguments>,
        connection: &mut MySqlConnection,
    ) -> sqlx::Result<MySqlQueryResult> {
        self.answers().take(query.execute(connection)).await
    }

    /// Runs a text of several statements without arguments; answers the rows of all.
    pub(crate) async fn text(&self, sql: &str, connection: &mut MySqlConnection) -> Attempt<Vec<MySqlRow>> {
        let text = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(connection);
        self.answers().take(text).await.map_err(failure)
    }

    /// Runs a query.
    pub(crate) async fn rows(
        &self,
        query: Query<'_, MySql, MySqlArguments>,
        connection: &mut MySqlConnection,
    ) -> Attempt<Vec<MySqlRow>> {
        self.answers().take(query.fetch_all(connection)).await.map_err(failure)
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
