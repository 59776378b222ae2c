//! Asks the server what it is and how much it takes at once. What its answers mean is `engine.rs`'s business.

use std::time::Duration;

use sqlx::MySqlConnection;
use taskqueue_sql::{Attempt, within};

use crate::engine::{Engine, PACKET_QUESTION, QUESTION, Server};
use crate::error::failure;
use crate::wire;

/// What the server is.
pub(crate) async fn server(
    connection: &mut MySqlConnection,
    engine: Option<Engine>,
    statement_timeout: Duration,
) -> Attempt<Server> {
    let row =
        within(statement_timeout, sqlx::query(QUESTION).fetch_one(connection)).await.map_err(failure)?;
    let mut row = wire::row(&row)?;
    Ok(Server::new(&row.text(0)?, &row.text_opt(1)?.unwrap_or_default(), engine))
}

/// What the server is that the queue connects to, and how much it takes at once.
pub(crate) async fn connected(
    connection: &mut MySqlConnection,
    engine: Option<Engine>,
    statement_timeout: Duration,
) -> Attempt<Server> {
    let mut server = server(connection, engine, statement_timeout).await?;
    if server.engine != Engine::Vitess {
        let asked = within(statement_timeout, sqlx::query(PACKET_QUESTION).fetch_one(connection)).await;
        let bytes = wire::row(&asked.map_err(failure)?)?.integer(0)?;
        server.packet_bytes_max = usize::try_from(bytes).ok();
    }
    Ok(server)
}
