//! The bound: programs that use the best statements on the best table for the work, and do nothing else. No fence, no
//! retries, no errors told apart. They know no queue.

pub(crate) mod mysql;
pub(crate) mod postgres;
pub(crate) mod sqlite;

use std::time::Duration;

use anyhow::{Result, bail};
use async_trait::async_trait;

/// Tasks that one claim and one completion carry.
pub(crate) const CYCLE_BATCH: usize = 500;
/// Connections that claim and complete at once. More are slower: they walk over each other's locked rows.
pub(crate) const CYCLE_CONNECTIONS: usize = 2;

/// What becomes of a completed task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// Its row is kept.
    Keep,
    /// Its row is deleted.
    Delete,
}

/// How a bare consumer learns of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// From the same process.
    InProcess,
    /// From the server.
    FromServer,
}

/// A bare program on a server. Clients are numbered from 0 and have a connection each.
#[async_trait]
pub trait Bare: Send + Sync {
    /// Adds ready tasks, by whatever is fastest.
    ///
    /// # Errors
    /// What the server says.
    async fn fill(&self, tasks: usize) -> Result<()>;

    /// Claims and completes until nothing is ready; answers how many tasks that were.
    ///
    /// # Errors
    /// What the server says.
    async fn drain(&self, finish: Finish) -> Result<usize>;

    /// Inserts and commits one task.
    ///
    /// # Errors
    /// What the server says.
    async fn insert(&self, client: usize) -> Result<()>;

    /// Inserts one task inside a transaction.
    ///
    /// # Errors
    /// What the server says.
    async fn insert_in_transaction(&self, client: usize) -> Result<()>;

    /// Inserts and commits so many tasks in one statement.
    ///
    /// # Errors
    /// What the server says.
    async fn insert_many(&self, client: usize, tasks: usize) -> Result<()>;

    /// Claims and commits up to so many tasks, in the order of their inserts; answers their keys.
    ///
    /// # Errors
    /// What the server says; where there is none.
    async fn claim(&self, client: usize, limit: usize) -> Result<Vec<i64>> {
        bail!("client {client} cannot claim {limit} tasks: this engine has no server")
    }

    /// Completes and commits claimed tasks.
    ///
    /// # Errors
    /// What the server says; where there is none.
    async fn complete(&self, client: usize, keys: &[i64]) -> Result<()> {
        bail!("client {client} cannot complete {} tasks: this engine has no server", keys.len())
    }

    /// For each of so many tasks, one every `pause`: the time from before its insert until it is claimed.
    ///
    /// # Errors
    /// What the server says; where the server cannot signal.
    async fn latencies(&self, signal: Signal, tasks: usize, pause: Duration) -> Result<Vec<Duration>> {
        bail!("{signal:?} of {tasks} tasks every {pause:?} is not measured on this server")
    }
}
