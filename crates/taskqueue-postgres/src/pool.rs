//! The driver's pool, for the queue's connections. What becomes of them is `taskqueue_sql`'s business.

use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres};
use taskqueue_sql::Pool;

/// The driver's pool.
#[derive(Debug)]
pub(crate) struct DriverPool(pub(crate) PgPool);

impl Pool for DriverPool {
    type Connection = PoolConnection<Postgres>;
    type Error = sqlx::Error;

    async fn acquire(&self) -> sqlx::Result<PoolConnection<Postgres>> {
        self.0.acquire().await
    }

    async fn give_back(mut connection: PoolConnection<Postgres>) {
        connection.return_to_pool().await;
    }

    fn discard(mut connection: PoolConnection<Postgres>) {
        connection.close_on_drop();
    }

    fn drop_outside(connection: PoolConnection<Postgres>) {
        drop(connection.detach());
    }
}
