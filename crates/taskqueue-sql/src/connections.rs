//! The connections of a queue's calls. They come from the driver's pool, and a few stay at hand between two calls. It owns
//! what becomes of a connection after a call: kept or given back after a proper end, closed otherwise. It knows no statement
//! and no driver.
//!
//! A driver's own transaction puts the connection back whatever happened. One that was left in the middle of an
//! answer would then wait, with its place in the pool, for a server that may be gone; and one to a server that was
//! demoted would be handed out again.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::kept::{Keeping, Kept};

/// The most connections that stay at hand: as many as a worker uses at once.
const KEPT_MAX: usize = 4;
/// About what a log-in takes. So long a call waits until a connection is back in its pool, which would open another else.
const LOG_IN_TIME: Duration = Duration::from_millis(20);

tokio::task_local! {
    /// There while a connection goes back to its pool from the queue.
    static FROM_QUEUE: ();
}

/// Whether the connection that is on its way back to its pool comes from a call of the queue's, which has ended it properly:
/// there is no transaction of the service's to look for. For the pool's own hook.
pub fn comes_from_queue() -> bool {
    FROM_QUEUE.try_with(|()| ()).is_ok()
}

/// How many connections of a pool of the queue's own may stay at hand: half of them at most, so that others find one.
pub fn kept_of(connections_max: u32) -> usize {
    usize::try_from(connections_max / 2).unwrap_or(KEPT_MAX).min(KEPT_MAX)
}

/// A driver's pool.
pub trait Pool: fmt::Debug + Send + Sync + 'static {
    /// A connection with a place in the pool.
    type Connection: Send + 'static;
    /// Why there is none.
    type Error: Send + 'static;

    /// One for a call.
    fn acquire(&self) -> impl Future<Output = Result<Self::Connection, Self::Error>> + Send;

    /// Gives one back that others may use.
    fn give_back(connection: Self::Connection) -> impl Future<Output = ()> + Send + 'static;

    /// Closes one, which rolls back what is open.
    fn discard(connection: Self::Connection);

    /// The same outside of a runtime.
    fn drop_outside(connection: Self::Connection);
}

/// Where the queue's calls get their connections. Cheap to clone.
#[derive(Debug)]
pub struct Connections<P: Pool>(Arc<Source<P>>);

struct Source<P: Pool> {
    pool: P,
    kept: Kept<P::Connection>,
    /// Whether the connections that stay at hand have been opened.
    is_ahead: AtomicBool,
    is_lent: Arc<AtomicBool>,
    /// How long a connection may take to come back to the pool.
    limit: Duration,
}

impl<P: Pool> Connections<P> {
    /// Those of a pool. `keeps`: how many may stay at hand, which is how many others cannot have. `is_lent` becomes true
    /// when the service is given the pool.
    pub fn new(pool: P, keeps: usize, is_lent: Arc<AtomicBool>, limit: Duration) -> Self {
        let (kept, is_ahead) = (Kept::new(keeps), AtomicBool::new(false));
        Self(Arc::new(Source { pool, kept, is_ahead, is_lent, limit }))
    }

    /// Opens as many as may stay at hand, and lets `prepare` use each, so that the first calls of a worker do not wait for
    /// log-ins. Once; none after that. One after the other: each log-in takes as much of both sides' processors as many calls,
    /// and the worker's first calls run meanwhile. What cannot be opened is left to the call that needs it, which says why.
    pub async fn open_ahead<F: Future<Output = ()>>(&self, prepare: impl Fn(InUse<P>) -> F) {
        if self.0.is_ahead.swap(true, Ordering::Relaxed) {
            return;
        }
        for _ in 0..self.0.kept.room() {
            let Ok(value) = self.0.pool.acquire().await else { return };
            prepare(self.in_use(Keeping { value, since: Instant::now() })).await;
        }
    }

    /// The pool, for the queue's own use.
    pub fn pool(&self) -> &P {
        &self.0.pool
    }

    /// The pool, for the service, which wants the connections as well: none stays at hand from now on.
    pub fn lend(&self) -> &P {
        if !self.0.is_lent.swap(true, Ordering::Relaxed) {
            self.keep_none();
        }
        &self.0.pool
    }

    /// How many are at hand.
    pub fn kept(&self) -> usize {
        self.0.kept.len()
    }

    /// Gives back what is at hand, and keeps none from now on.
    pub fn keep_none(&self) {
        self.0.keep_none();
    }

    /// One for a call.
    ///
    /// # Errors
    /// As the pool's.
    pub async fn acquire(&self) -> Result<InUse<P>, P::Error> {
        Ok(self.in_use(self.0.acquire().await?))
    }

    fn in_use(&self, connection: Keeping<P::Connection>) -> InUse<P> {
        InUse { source: Arc::clone(&self.0), connection: Some(connection), is_done: false }
    }
}

impl<P: Pool> Clone for Connections<P> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<P: Pool> Source<P> {
    async fn acquire(&self) -> Result<Keeping<P::Connection>, P::Error> {
        loop {
            match self.kept.take() {
                Ok(old) if old.is_old(Instant::now()) => {
                    if let Some(giving) = self.give_back(old.value) {
                        drop(timeout(LOG_IN_TIME, giving).await);
                    }
                }
                Ok(kept) => return Ok(kept),
                Err(_waiting) => {
                    let value = self.pool.acquire().await?;
                    return Ok(Keeping { value, since: Instant::now() });
                }
            }
        }
    }

    fn keep_none(&self) {
        self.kept.stop().into_iter().for_each(|connection| drop(self.give_back(connection)));
    }

    /// In the background. The pool may ask the server once more, with no limit of its own, and the place in the pool is taken
    /// meanwhile. Outside of a runtime, as in the drop of a queue that outlived it, nobody can ask: then there is no task.
    fn give_back(&self, connection: P::Connection) -> Option<JoinHandle<()>> {
        let Ok(runtime) = Handle::try_current() else {
            P::drop_outside(connection);
            return None;
        };
        let giving = timeout(self.limit, FROM_QUEUE.scope((), P::give_back(connection)));
        Some(runtime.spawn(async { drop(giving.await) }))
    }
}

impl<P: Pool> Drop for Source<P> {
    fn drop(&mut self) {
        self.keep_none();
    }
}

impl<P: Pool> fmt::Debug for Source<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("pool", &self.pool)
            .field("kept", &self.kept.len())
            .finish_non_exhaustive()
    }
}

/// A connection that a call uses. Unless the call says that it is [`done`](Self::done) the connection is closed, which
/// rolls back what is open.
pub struct InUse<P: Pool> {
    source: Arc<Source<P>>,
    /// There until this is dropped.
    connection: Option<Keeping<P::Connection>>,
    is_done: bool,
}

impl<P: Pool> InUse<P> {
    /// The call has come to a proper end: others may use the connection.
    pub fn done(mut self) {
        self.is_done = true;
    }
}

impl<P: Pool> fmt::Debug for InUse<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InUse").finish_non_exhaustive()
    }
}

impl<P: Pool> Deref for InUse<P> {
    type Target = P::Connection;

    fn deref(&self) -> &P::Connection {
        &self.connection.as_ref().expect("it is there until this is dropped").value
    }
}

impl<P: Pool> DerefMut for InUse<P> {
    fn deref_mut(&mut self) -> &mut P::Connection {
        &mut self.connection.as_mut().expect("it is there until this is dropped").value
    }
}

impl<P: Pool> Drop for InUse<P> {
    fn drop(&mut self) {
        let Some(keeping) = self.connection.take() else { return };
        if !self.is_done {
            P::discard(keeping.value);
        } else if let Some(connection) = self.source.kept.put(keeping, Instant::now()) {
            drop(self.source.give_back(connection));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    thread_local! {
        /// How many connections came back from calls of the queue, in this test.
        static CAME_BACK: Cell<usize> = const { Cell::new(0) };
    }

    /// Opens numbered connections, as many as it has.
    #[derive(Debug)]
    struct Numbers {
        opened: AtomicUsize,
        most: usize,
    }

    impl Pool for Numbers {
        type Connection = usize;
        type Error = usize;

        async fn acquire(&self) -> Result<usize, usize> {
            let number = self.opened.fetch_add(1, Ordering::Relaxed);
            if number < self.most { Ok(number) } else { Err(number) }
        }

        async fn give_back(_connection: usize) {
            CAME_BACK.set(CAME_BACK.get() + usize::from(comes_from_queue()));
        }

        fn discard(_connection: usize) {}

        fn drop_outside(_connection: usize) {}
    }

    fn connections(most: usize) -> Connections<Numbers> {
        let numbers = Numbers { opened: AtomicUsize::new(0), most };
        Connections::new(numbers, 3, Arc::default(), Duration::from_secs(1))
    }

    async fn leave(connection: InUse<Numbers>) {
        connection.done();
    }

    #[tokio::test]
    async fn connections_are_opened_ahead_once_one_after_the_other_and_stay_at_hand() {
        let connections = connections(9);
        let used = Cell::new(0);
        let prepare = |connection: InUse<Numbers>| {
            assert_eq!((*connection, connections.kept()), (used.get(), used.get()));
            used.set(used.get() + 1);
            leave(connection)
        };
        connections.open_ahead(prepare).await;
        connections.open_ahead(prepare).await;
        connections.acquire().await.map(InUse::done).expect("three are at hand");
        let opened = connections.pool().opened.load(Ordering::Relaxed);
        assert_eq!((used.get(), connections.kept(), opened), (3, 3, 3));
    }

    #[tokio::test]
    async fn a_call_in_between_finds_what_is_at_hand_already() {
        let connections = connections(9);
        connections.acquire().await.map(InUse::done).expect("there are nine");
        let calls = async |connection: InUse<Numbers>| {
            connections.acquire().await.map(InUse::done).expect("one is at hand");
            connection.done();
        };
        connections.open_ahead(calls).await;
        assert_eq!((connections.kept(), connections.pool().opened.load(Ordering::Relaxed)), (3, 3));
    }

    #[tokio::test]
    async fn what_cannot_be_opened_ahead_is_left_to_the_call_that_needs_it() {
        let connections = connections(2);
        connections.open_ahead(async |connection| drop(connection)).await;
        assert_eq!(connections.acquire().await.err(), Some(3));
    }

    #[tokio::test]
    async fn nothing_is_opened_ahead_of_a_service_that_wants_the_connections_as_well() {
        let connections = connections(9);
        connections.lend();
        connections.open_ahead(leave).await;
        assert_eq!(connections.pool().opened.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_was_kept_for_long_is_back_before_the_pool_is_asked_for_another() {
        let connections = connections(9);
        connections.acquire().await.map(InUse::done).expect("there are nine");
        tokio::time::advance(Duration::from_secs(60)).await;
        let _another = connections.acquire().await;
        assert_eq!((CAME_BACK.get(), connections.kept()), (1, 0));
    }

    #[tokio::test]
    async fn a_pool_is_told_which_connections_come_from_the_queue() {
        let connections = connections(9);
        connections.keep_none();
        connections.acquire().await.map(InUse::done).expect("there are nine");
        while CAME_BACK.get() == 0 {
            tokio::task::yield_now().await;
        }
        Numbers::give_back(0).await;
        assert_eq!(CAME_BACK.get(), 1);
    }
}
