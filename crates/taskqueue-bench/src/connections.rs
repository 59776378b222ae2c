//! Connections to the servers that are measured, past any queue.

use anyhow::{Context, Result};
use sqlx::{Connection as _, Executor as _, MySqlConnection};
use tokio_postgres::{Client, NoTls};

/// A connection, whose other half lives until this is dropped.
///
/// # Errors
/// What the server says.
pub(crate) async fn postgres(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.context("connect to PostgreSQL")?;
    tokio::spawn(connection);
    Ok(client)
}

/// A connection whose transactions are READ COMMITTED, as the queue's are.
///
/// # Errors
/// What the server says.
pub(crate) async fn mysql(url: &str) -> Result<MySqlConnection> {
    let mut connection = MySqlConnection::connect(url).await.context("connect to MySQL")?;
    connection.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
    Ok(connection)
}
