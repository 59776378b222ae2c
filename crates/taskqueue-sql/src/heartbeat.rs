//! Heartbeats: the transaction, and what its answers mean.

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use taskqueue_core::{Heartbeat, Lease, Shards, State, TaskId};

use crate::operation::Operation;
use crate::settle::standings;
use crate::shard::{access_to, by_shard};
use crate::{Access, Attempt, Dialect};

/// Extends leases.
pub(crate) struct Extend {
    pub(crate) leases: Vec<Lease>,
    pub(crate) visibility_timeout: Duration,
}

#[async_trait]
impl<D: Dialect> Operation<D> for Extend {
    type Answer = Vec<Heartbeat>;
    const NAME: &'static str = "heartbeat";

    fn access(&self, shards: Shards) -> Access {
        access_to(shards, self.leases.iter().map(|lease| lease.task_id))
    }

    async fn run(
        &self,
        dialect: &D,
        connection: &mut D::Connection,
        shards: Shards,
    ) -> Attempt<Vec<Heartbeat>> {
        let now = dialect.now();
        let mut live = HashSet::new();
        for (shard, part) in by_shard(shards, &self.leases, |lease| lease.task_id) {
            let more = dialect.heartbeat(connection, now, shard, &part, self.visibility_timeout).await?;
            live = if live.is_empty() { more } else { &live | &more };
        }
        let is_extended = |lease: &Lease| live.contains(&(lease.task_id, lease.token));
        let others = self.leases.iter().filter(|lease| !is_extended(lease));
        let others: Vec<TaskId> = others.map(|lease| lease.task_id).collect();
        let standings = standings(dialect, connection, shards, &others).await?;
        let answer = |lease: &Lease| match standings.get(&lease.task_id) {
            _ if is_extended(lease) => Heartbeat::Extended,
            Some((token, State::Running)) if *token == lease.token => Heartbeat::Locked,
            _ => Heartbeat::Lost,
        };
        Ok(self.leases.iter().map(answer).collect())
    }
}
