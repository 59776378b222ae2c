//! How the server's answers are taken: within a time, and as the engine means its errors. It knows no statement.

use std::time::Duration;

use taskqueue_sql::within;

use crate::engine::Engine;
use crate::error::of_engine;

/// How long an engine may take to answer, and what it means by its errors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answers {
    pub(crate) engine: Engine,
    pub(crate) statement_timeout: Duration,
}

impl Answers {
    /// That of a statement.
    pub(crate) async fn take<T>(self, answer: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
        self.take_after(Duration::ZERO, answer).await
    }

    /// That of a statement that waits so long for others before it begins.
    pub(crate) async fn take_after<T>(
        self,
        wait: Duration,
        answer: impl Future<Output = sqlx::Result<T>>,
    ) -> sqlx::Result<T> {
        let limit = self.statement_timeout.saturating_add(wait);
        within(limit, answer).await.map_err(|error| of_engine(self.engine, error))
    }
}
