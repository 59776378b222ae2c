//! The connections of a queue's calls. They come from the driver's pool, and a few stay at hand between two calls. It owns
//! what becomes of a connection after a call: kept or given back after a proper end, closed otherwise. It knows no statement,
//! and of a driver nothing but that it has a pool.
//!
//! The driver's own transaction puts the connection back whatever happened. One that was left in the middle of an
//! answer would then wait, with its place in the pool, for a server that may be gone; and one to a server that was
//! demoted would be handed out again.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Database, Pool};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};

use crate::kept::{Keeping, Kept};

/// The most connections that stay at hand: as many as a worker uses at once.
const KEPT_MAX: usize = 4;

/// How many connections of a pool of the queue's own may stay at hand: half of them at most, so that others find one.
pub fn kept_of(connections_max: u32) -> usize {
    usize::try_from(connections_max / 2).unwrap_or(KEPT_MAX).min(KEPT_MAX)
}

/// Where the queue's calls get their connections. Cheap to clone.
pub struct Connections<DB: Database>(Arc<Source<DB>>);

struct Source<DB: Database> {
    pool: Pool<DB>,
    kept: Kept<PoolConnection<DB>>,
    is_lent: Arc<AtomicBool>,
    /// How long a connection may take to come back to the pool.
    limit: Duration,
}

impl<DB: Database> Connections<DB> {
    /// Those of a pool. `keeps`: how many may stay at hand, which is how many others cannot have. `is_lent` becomes true
    /// when the service is given the pool.
    pub fn new(pool: Pool<DB>, keeps: usize, is_lent: Arc<AtomicBool>, limit: Duration) -> Self {
        Self(Arc::new(Source { pool, kept: Kept::new(keeps), is_lent, limit }))
    }

    /// The pool, for the queue's own use.
    pub fn pool(&self) -> &Pool<DB> {
        &self.0.pool
    }

    /// The pool, for the service, which wants the connections as well: none stays at hand from now on.
    pub fn lend(&self) -> &Pool<DB> {
        if !self.0.is_lent.swap(true, Ordering::Relaxed) {
            self.0.keep_none();
        }
        &self.0.pool
    }

    /// About how many are open that no call uses.
    pub fn idle(&self) -> usize {
        // The pool's own count passes zero for a moment when a connection changes hands.
        let idle_max = usize::try_from(self.0.pool.options().get_max_connections()).unwrap_or(usize::MAX);
        self.0.pool.num_idle().min(idle_max) + self.0.kept.len()
    }

    /// One for a call.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn acquire(&self) -> sqlx::Result<InUse<DB>> {
        let connection = Some(self.0.acquire().await?);
        Ok(InUse { source: Arc::clone(&self.0), connection, is_done: false })
    }

    /// Closes the pool once the calls under way have ended.
    pub async fn close(&self) {
        self.0.keep_none();
        self.0.pool.close().await;
    }
}

impl<DB: Database> Clone for Connections<DB> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<DB: Database> fmt::Debug for Connections<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connections").field(&self.0.pool).finish()
    }
}

impl<DB: Database> Source<DB> {
    async fn acquire(&self) -> sqlx::Result<Keeping<PoolConnection<DB>>> {
        loop {
            match self.kept.take() {
                Ok(old) if old.is_old(Instant::now()) => self.give_back(old.value),
                Ok(kept) => return Ok(kept),
                Err(_waiting) => {
                    let value = self.pool.acquire().await?;
                    return Ok(Keeping { value, since: Instant::now() });
                }
            }
        }
    }

    fn keep_none(&self) {
        self.kept.stop().into_iter().for_each(|connection| self.give_back(connection));
    }

    /// The pool asks the server once more, with no limit of its own, and the place in the pool is taken meanwhile.
    /// Outside of a runtime, as in the drop of a queue that outlived it, nobody can ask: the connection is closed.
    fn give_back(&self, mut connection: PoolConnection<DB>) {
        let limit = self.limit;
        match Handle::try_current() {
            Ok(runtime) => {
                runtime.spawn(async move { timeout(limit, connection.return_to_pool()).await });
            }
            Err(_) => drop(connection.detach()),
        }
    }
}

impl<DB: Database> Drop for Source<DB> {
    fn drop(&mut self) {
        self.keep_none();
    }
}

/// A connection that a call uses. Unless the call says that it is [`done`](Self::done) the connection is closed, which
/// rolls back what is open.
pub struct InUse<DB: Database> {
    source: Arc<Source<DB>>,
    /// There until this is dropped.
    connection: Option<Keeping<PoolConnection<DB>>>,
    is_done: bool,
}

impl<DB: Database> InUse<DB> {
    /// The call has come to a proper end: others may use the connection.
    pub fn done(mut self) {
        self.is_done = true;
    }
}

impl<DB: Database> fmt::Debug for InUse<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InUse").finish_non_exhaustive()
    }
}

impl<DB: Database> Deref for InUse<DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &DB::Connection {
        &self.connection.as_ref().expect("it is there until this is dropped").value
    }
}

impl<DB: Database> DerefMut for InUse<DB> {
    fn deref_mut(&mut self) -> &mut DB::Connection {
        &mut self.connection.as_mut().expect("it is there until this is dropped").value
    }
}

impl<DB: Database> Drop for InUse<DB> {
    fn drop(&mut self) {
        let Some(mut keeping) = self.connection.take() else { return };
        if !self.is_done {
            keeping.value.close_on_drop();
        } else if let Some(connection) = self.source.kept.put(keeping, Instant::now()) {
            self.source.give_back(connection);
        }
    }
}
