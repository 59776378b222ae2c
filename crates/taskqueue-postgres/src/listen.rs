//! Wake-ups between processes through LISTEN and NOTIFY. They are hints: polling is what correctness rests on. It owns
//! when to notify, when to listen, and how to tell that listening works; it knows no task.
//!
//! NOTIFY takes a lock of the whole server at commit, so it is never part of a queue's transaction: a task of its own
//! sends one for all that became ready since the last one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sqlx::AssertSqlSafe;
use sqlx::postgres::{PgConnectOptions, PgListener, PgNotification, PgPoolOptions};
use taskqueue_core::WakeUp;
use taskqueue_core::hash::fnv1a_64;
use taskqueue_sql::{TableName, within};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::session::Connections;

/// The shortest time between two notifications of one queue. The first after a quiet time is sent at once.
const NOTIFY_INTERVAL: Duration = Duration::from_millis(10);
/// How long others are told later where a worker of this process waits: it has most likely claimed the tasks by then, without
/// the notification's work of both sides beside its claim.
const LOCAL_FIRST: Duration = Duration::from_millis(2);
/// How long sending one may take; then it is given up.
const SEND_TIME_MAX: Duration = Duration::from_secs(5);
/// How long the server may take to listen, and a notification to be heard in a self-test.
const HEAR_TIME_MAX: Duration = Duration::from_secs(5);
/// After how much silence the listener tests itself, give or take.
const TEST_INTERVAL: Duration = Duration::from_secs(30);
/// After so many new connections that heard nothing, listening is given up.
const DEAF_MAX: u32 = 3;
/// After so many connections in a row that could not be listened to, a warning says so; the next ones are tried all the same.
const REFUSED_MAX: u32 = 5;
const RECONNECT_MIN: Duration = Duration::from_millis(100);
/// What a self-test's notification begins with, so that it wakes nobody.
const TEST: &str = "test:";
/// The longest name of a channel, in bytes: the server's limit of identifiers.
const CHANNEL_BYTES_MAX: usize = 63;

/// The wake-ups of one queue. Dropping it ends its tasks.
#[derive(Debug)]
pub(crate) struct Wakes {
    channel: Channel,
    listens: bool,
    news: Arc<News>,
    announcer: OnceLock<()>,
    listener: OnceLock<()>,
    /// The runtime that the queue was opened on: wake-ups may be asked for outside of any.
    runtime: Handle,
    tracker: TaskTracker,
    stop: CancellationToken,
    _stops_when_dropped: DropGuard,
}

/// What is to be announced.
#[derive(Debug, Default)]
struct News {
    is_there: Notify,
    /// Whether nobody here waits for it.
    is_urgent: AtomicBool,
}

/// Where notifications go, and in whose name.
#[derive(Debug, Clone)]
struct Channel {
    connections: Connections,
    name: String,
    /// The payload: its own notifications do not wake a queue a second time.
    sender: String,
}

impl Wakes {
    /// Wake-ups for the queues on `table`. Starts nothing yet. Within a runtime only.
    pub(crate) fn new(connections: Connections, table: &TableName, listens: bool) -> Self {
        let stop = CancellationToken::new();
        let sender = format!("{:016x}", rand::random::<u64>());
        Self {
            channel: Channel { connections, name: channel_of(table), sender },
            listens,
            news: Arc::default(),
            announcer: OnceLock::new(),
            listener: OnceLock::new(),
            runtime: Handle::current(),
            tracker: TaskTracker::new(),
            _stops_when_dropped: stop.clone().drop_guard(),
            stop,
        }
    }

    /// Lets the other queues know, soon; a worker of this process that waits comes first.
    pub(crate) fn announce(&self, is_awaited: bool) {
        self.announcer.get_or_init(|| {
            let announcing = announce(self.channel.clone(), Arc::clone(&self.news), self.stop.clone());
            self.tracker.spawn_on(announcing, &self.runtime);
        });
        if !is_awaited {
            self.news.is_urgent.store(true, Ordering::Relaxed);
        }
        self.news.is_there.notify_one();
    }

    /// Rouses `wake_up` from now on when others announce.
    pub(crate) fn hear(&self, wake_up: &WakeUp) {
        if !self.listens {
            return;
        }
        self.listener.get_or_init(|| {
            let listener = Listener { channel: self.channel.clone(), wake_up: wake_up.clone() };
            let stop = self.stop.clone();
            let listening = async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = listener.run() => {}
                }
            };
            self.tracker.spawn_on(listening, &self.runtime);
        });
    }

    /// Sends what is to be announced still, and ends the tasks.
    pub(crate) async fn close(&self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// Sends one notification for all announcements since the last one, the last time when stopped.
async fn announce(channel: Channel, news: Arc<News>, stop: CancellationToken) {
    let rest = async |time| {
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(time) => {}
        }
    };
    loop {
        tokio::select! {
            biased;
            () = news.is_there.notified() => {}
            () = stop.cancelled() => return,
        }
        if !news.is_urgent.swap(false, Ordering::Relaxed) {
            rest(LOCAL_FIRST).await;
        }
        if let Err(error) = channel.send(&channel.sender).await {
            tracing::debug!(%error, "no notification could be sent; others find the tasks by polling");
        }
        rest(NOTIFY_INTERVAL).await;
    }
}

impl Channel {
    /// A statement of its own, outside any transaction. In one round trip: names and payloads are this file's, without
    /// quotes.
    async fn send(&self, payload: &str) -> sqlx::Result<()> {
        let notify = format!("SELECT pg_notify('{}', '{payload}')", self.name);
        let sending = async {
            let mut connection = self.connections.acquire().await?;
            sqlx::raw_sql(AssertSqlSafe(notify)).execute(&mut **connection).await?;
            connection.done();
            Ok(())
        };
        within(SEND_TIME_MAX, sending).await
    }
}

/// Why a connection is listened to no longer.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// It never heard anything.
    Deaf,
    /// It worked, and then it was lost or heard nothing any more.
    Lost,
}

struct Listener {
    channel: Channel,
    wake_up: WakeUp,
}

impl Listener {
    /// Listens on one connection after the other, until listening turns out not to work here.
    async fn run(self) {
        let (mut failures, mut deaf, mut refused) = (0, 0, 0);
        loop {
            let end = self.listen().await;
            self.wake_up.set_hears_others(false);
            match end {
                Ok(End::Lost) => (failures, deaf, refused) = (0, 0, 0),
                Ok(End::Deaf) => (failures, deaf, refused) = (failures + 1, deaf + 1, 0),
                Err(error) => {
                    (failures, refused) = (failures + 1, refused + 1);
                    tell_of(&error, refused);
                }
            }
            if deaf == DEAF_MAX {
                tracing::warn!(
                    "notifications do not arrive, as behind a pooler in transaction mode: \
                     wake-ups between processes are off, tasks are found by polling"
                );
                return;
            }
            sleep(wait(failures, rand::random())).await;
        }
    }

    async fn listen(&self) -> sqlx::Result<End> {
        let pool = PgPoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
        // Anew each time: the service may have given its pool another password since.
        let options = PgConnectOptions::clone(&self.channel.connections.pool().0.connect_options());
        let pool = pool.test_before_acquire(false).connect_lazy_with(options);
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.eager_reconnect(false);
        within(HEAR_TIME_MAX, listener.listen(&self.channel.name)).await?;
        if !self.hears(&mut listener).await? {
            return Ok(End::Deaf);
        }
        self.wake_up.set_hears_others(true);
        // For what was announced while nobody listened.
        self.wake_up.notify();
        loop {
            let silence = TEST_INTERVAL.mul_f64(0.75 + rand::random::<f64>() / 2.0);
            match timeout(silence, listener.try_recv()).await {
                Ok(Ok(Some(notification))) => self.take(&notification),
                Ok(Ok(None) | Err(_)) => return Ok(End::Lost),
                Err(_) => match self.hears(&mut listener).await {
                    Ok(true) => {}
                    Ok(false) | Err(_) => return Ok(End::Lost),
                },
            }
        }
    }

    /// Whether what another connection sends is heard. One that could not send proves nothing.
    async fn hears(&self, listener: &mut PgListener) -> sqlx::Result<bool> {
        let payload = format!("{TEST}{:016x}", rand::random::<u64>());
        if let Err(error) = self.channel.send(&payload).await {
            tracing::debug!(%error, "whether notifications arrive could not be tested");
            return Ok(true);
        }
        let hearing = async {
            loop {
                match listener.try_recv().await? {
                    Some(notification) if notification.payload() == payload => return Ok(()),
                    Some(notification) => self.take(&notification),
                    None => return Err(sqlx::Error::WorkerCrashed),
                }
            }
        };
        timeout(HEAR_TIME_MAX, hearing).await.map_or(Ok(false), |heard| heard.map(|()| true))
    }

    fn take(&self, notification: &PgNotification) {
        let payload = notification.payload();
        if payload != self.channel.sender && !payload.starts_with(TEST) {
            self.wake_up.notify();
        }
    }
}

/// Says that a connection could not be listened to, once so that it is seen: one may fail while the server starts anew.
fn tell_of(error: &sqlx::Error, refused: u32) {
    if refused == REFUSED_MAX {
        tracing::warn!(
            %error,
            "no connection can be listened to: until one can, tasks of other processes are found by polling"
        );
    } else {
        tracing::debug!(%error, "the listening connection failed");
    }
}

/// How long to wait before the next connection: longer after each failure, up to 26 s, less up to half at random.
fn wait(failures: u32, random: f64) -> Duration {
    RECONNECT_MIN.saturating_mul(2_u32.pow(failures.min(8))).mul_f64(1.0 - random.clamp(0.0, 1.0) / 2.0)
}

/// The channel of the queues on a table. It is the database's own, so that the database is not part of it.
fn channel_of(table: &TableName) -> String {
    let schema = table.schema().map_or_else(String::new, |schema| format!("{schema}."));
    let name = format!("taskqueue:{schema}{}", table.name());
    // Processes of different versions share a channel.
    if name.len() <= CHANNEL_BYTES_MAX { name } else { format!("taskqueue:{:016x}", fnv1a_64(name.bytes())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_on_different_tables_have_different_channels_within_the_servers_limit() {
        let table = TableName::new("outbox").unwrap();
        assert_eq!(channel_of(&table), "taskqueue:outbox");
        assert_eq!(channel_of(&table.in_schema("billing").unwrap()), "taskqueue:billing.outbox");
        let long = |last: &str| {
            let table = TableName::new("t".repeat(47) + last).unwrap();
            channel_of(&table.in_schema("s".repeat(48)).unwrap())
        };
        assert!(long("a").len() <= CHANNEL_BYTES_MAX);
        assert_ne!(long("a"), long("b"));
        assert_eq!(long("a"), long("a"));
    }

    #[test]
    fn reconnecting_waits_longer_each_time_and_never_for_all_at_once() {
        assert_eq!(wait(0, 0.0), RECONNECT_MIN);
        assert_eq!(wait(3, 0.0), RECONNECT_MIN * 8);
        assert_eq!(wait(3, 1.0), RECONNECT_MIN * 4);
        assert_eq!(wait(u32::MAX, 0.0), RECONNECT_MIN * 256);
    }
}
