//! What a worker says to the server, said once on each connection that is opened for it, with nothing to do. The first statement of
//! its kind on a connection is read and prepared, and the server reads its catalog for it: 5 to 10 ms, which the first tasks
//! would wait for. It changes nothing.

use taskqueue_core::{LeaseToken, Shard, TaskType, WorkerId};
use taskqueue_sql::{Attempt, Claiming, Dialect as _, InUse};

use crate::claiming::claim_nothing;
use crate::dialect::PostgresDialect;
use crate::pool::DriverPool;
use crate::settling::complete;

/// Opens the connections that may stay at hand, one after the other, and rehearses on each. What is not prepared cannot be
/// rehearsed.
pub(crate) async fn rehearse(dialect: &PostgresDialect) {
    if dialect.runs_single_statements() {
        dialect.connections().open_ahead(|connection| rehearse_on(dialect, connection)).await;
    }
}

/// A connection on which that fails is closed: what is wrong is told by the call that meets it.
async fn rehearse_on(dialect: &PostgresDialect, mut connection: InUse<DriverPool>) {
    match say_all(dialect, &mut connection).await {
        Ok(()) => connection.done(),
        Err(failure) => tracing::debug!(?failure, "a worker's statements could not be rehearsed"),
    }
}

async fn say_all(dialect: &PostgresDialect, connection: &mut InUse<DriverPool>) -> Attempt<()> {
    let nothing = Claiming {
        types: vec![TaskType::new("rehearsal")?],
        limit: 0,
        token: LeaseToken::generate(),
        worker_id: WorkerId::unique("rehearsal")?,
        visibility_timeout: dialect.options().visibility_timeout,
        is_extra: false,
    };
    claim_nothing(dialect, connection, &nothing).await?;
    complete(dialect, connection, Shard::FIRST, &[], Vec::new()).await.map(drop)
}
