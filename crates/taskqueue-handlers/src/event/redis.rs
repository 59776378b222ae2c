//! The sink that adds to a stream of Redis, or publishes to a channel of it; Valkey speaks the same protocol. It knows
//! nothing of records.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, ErrorKind, Pipeline, RedisError, ServerErrorKind};
use taskqueue_core::{Error, Result};

use super::{EventNotification, EventSink};
use crate::HandlerError;

/// How notifications go to Redis. `Debug` hides the URL.
#[derive(Clone)]
#[non_exhaustive]
pub struct RedisConfig {
    /// `redis://[user:password@]host:6379/0`.
    pub url: String,
    /// Where they go to.
    pub target: RedisTarget,
    /// What a delivery to a stream waits for.
    pub confirmation: RedisConfirmation,
    /// How long one delivery may take, reconnecting included. 5 s by default; not zero.
    pub timeout: Duration,
}

/// Where in Redis notifications go to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RedisTarget {
    /// An entry of a stream, with the fields `id` (the task's: by it a reader tells a repetition) and `event` (the JSON).
    Stream {
        /// The stream's key.
        key: String,
        /// About how many entries are kept, the newest; `None`: all. Older ones are dropped, read or not.
        length_max: Option<u64>,
    },
    /// A channel. Redis keeps nothing: who is not subscribed at that moment never sees it.
    Channel(String),
}

/// What a delivery to a stream waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RedisConfirmation {
    /// The server has added the entry. What of it survives a crash of the server is said by its `appendfsync`: with
    /// `always` all, with `everysec` all but the last second.
    #[default]
    Added,
    /// It is synced to the disk of the server, and of so many replicas (`WAITAOF`: Redis 7.2, Valkey 7.2). With
    /// `appendfsync everysec` deliveries of one sink then wait up to a second one after the other.
    Synced {
        /// How many replicas.
        replicas: u32,
    },
}

impl RedisConfig {
    /// To `target`, with the defaults of everything else.
    pub fn new(url: impl Into<String>, target: RedisTarget) -> Self {
        let confirmation = RedisConfirmation::default();
        Self { url: url.into(), target, confirmation, timeout: Duration::from_secs(5) }
    }

    /// Sets what a delivery to a stream waits for.
    #[must_use]
    pub fn confirmation(mut self, confirmation: RedisConfirmation) -> Self {
        self.confirmation = confirmation;
        self
    }

    /// Sets how long one delivery may take.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url: _, target, confirmation, timeout } = self;
        f.debug_struct("RedisConfig")
            .field("target", target)
            .field("confirmation", confirmation)
            .field("timeout", timeout)
            .finish_non_exhaustive()
    }
}

/// Adds each notification to one stream, or publishes it to one channel. It reconnects by itself; cheap to clone, clones
/// share the connection.
#[derive(Clone)]
pub struct RedisSink {
    connection: Arc<Mutex<ConnectionManager>>,
    client: Client,
    settings: ConnectionManagerConfig,
    config: RedisConfig,
    host: String,
}

impl RedisSink {
    /// A sink with this configuration. Nobody has to be there yet: the connection is made by the first delivery. To be
    /// called within a Tokio runtime.
    ///
    /// # Errors
    /// `InvalidInput` for a URL or a timeout that is none, and for an empty name. The message does not repeat the URL.
    pub fn new(config: RedisConfig) -> Result<Self> {
        let settings = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(config.timeout))
            .set_response_timeout(Some(config.timeout))
            .set_max_delay(Duration::from_secs(1));
        Self::with_settings(config, settings)
    }

    fn with_settings(config: RedisConfig, settings: ConnectionManagerConfig) -> Result<Self> {
        let invalid = |message: &str| Error::invalid_input("event", format!("redis: {message}"));
        if config.timeout.is_zero() {
            return Err(invalid("timeout is zero: no delivery could succeed"));
        }
        let (RedisTarget::Stream { key: name, .. } | RedisTarget::Channel(name)) = &config.target;
        if name.is_empty() {
            return Err(invalid("the stream or channel has no name"));
        }
        let client = Client::open(config.url.as_str())
            .map_err(|_| invalid("the URL is none as redis://host:6379/0; TLS is not supported"))?;
        let host = client.get_connection_info().addr().to_string();
        let connection = ConnectionManager::new_lazy_with_config(client.clone(), settings.clone())
            .map_err(|_| invalid("the connection cannot be set up"))?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)), client, settings, config, host })
    }

    fn connection(&self) -> ConnectionManager {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A manager keeps what the server said when a connection was set up, and answers every later call with it, unless
    /// that was an I/O error. A new one asks again.
    fn renew(&self) {
        let new = ConnectionManager::new_lazy_with_config(self.client.clone(), self.settings.clone());
        if let Ok(new) = new {
            *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = new;
        }
    }

    async fn publish(&self, channel: &str, notification: &EventNotification) -> Result<(), HandlerError> {
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(channel).arg(&notification.json);
        let mut connection = self.connection();
        publish.query_async::<()>(&mut connection).await.map_err(|error| self.failed(&error))
    }

    async fn add(
        &self,
        key: &str,
        length_max: Option<u64>,
        notification: &EventNotification,
    ) -> Result<(), HandlerError> {
        let mut add = redis::cmd("XADD");
        add.arg(key);
        if let Some(length) = length_max {
            add.arg("MAXLEN").arg("~").arg(length);
        }
        let id = notification.id.to_string();
        add.arg("*").arg("id").arg(id).arg("event").arg(&notification.json);
        let mut connection = self.connection();
        let RedisConfirmation::Synced { replicas } = self.config.confirmation else {
            return add.query_async::<()>(&mut connection).await.map_err(|error| self.failed(&error));
        };
        // In one pipeline: what is waited for are the writes of this very connection.
        let mut commands = Pipeline::new();
        commands.add_command(add).ignore();
        let wait = u64::try_from(self.config.timeout.as_millis()).unwrap_or(u64::MAX);
        commands.cmd("WAITAOF").arg(1).arg(replicas).arg(wait);
        let synced = commands.query_async::<((u32, u32),)>(&mut connection).await;
        let ((here, copies),) = synced.map_err(|error| self.failed(&error))?;
        if here < 1 || copies < replicas {
            return Err(self.transient(&format!("synced here {here}, on replicas {copies} of {replicas}")));
        }
        Ok(())
    }

    fn failed(&self, error: &RedisError) -> HandlerError {
        if is_of_set_up(error) {
            self.renew();
        }
        let code = error.code().unwrap_or("no answer");
        let what = match error.detail() {
            Some(detail) => format!("{code} {detail}"),
            None => error.to_string(),
        };
        if is_permanent(error) { HandlerError::permanent(self.message(&what)) } else { self.transient(&what) }
    }

    fn transient(&self, what: &str) -> HandlerError {
        HandlerError::transient(self.message(what))
    }

    fn message(&self, what: &str) -> String {
        format!("delivery to Redis at {} failed: {what}", self.host)
    }
}

#[async_trait]
impl EventSink for RedisSink {
    async fn deliver(&self, notification: &EventNotification) -> Result<(), HandlerError> {
        let delivery = async {
            match &self.config.target {
                RedisTarget::Stream { key, length_max } => self.add(key, *length_max, notification).await,
                RedisTarget::Channel(channel) => self.publish(channel, notification).await,
            }
        };
        let in_time = tokio::time::timeout(self.config.timeout, delivery).await;
        let late = || self.transient(&format!("no answer within {:?}", self.config.timeout));
        in_time.unwrap_or_else(|_| Err(late()))
    }
}

impl fmt::Debug for RedisSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisSink({}, {:?})", self.host, self.config.target)
    }
}

/// Whether it came of setting a connection up: a login or a database that was refused, or "max number of clients
/// reached" in place of their answer. What a server says of a command is kept within the error; of the protocol 3, of
/// which the URL can ask, a refused login is such an answer, too.
fn is_of_set_up(error: &RedisError) -> bool {
    let is_command = || error.clone().into_server_errors().is_some();
    error.code() == Some("WRONGPASS") || !(error.is_io_error() || is_command())
}

/// Whether the server will say the same the next time: a key that is no stream, a command that is refused. Everything
/// else passes: a login that is refused while its password changes, loading, failing over, full, not to be reached.
fn is_permanent(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::InvalidClientConfig => true,
        ErrorKind::Server(ServerErrorKind::NoPerm) => true,
        ErrorKind::Server(ServerErrorKind::ResponseError) => !is_of_set_up(error),
        ErrorKind::Extension => matches!(error.code(), Some("WRONGTYPE" | "NOAUTH")),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use taskqueue_core::TaskId;
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn an_error_and_debug_show_the_host_and_no_secret() {
        let url = "redis://user:hunter2@127.0.0.1:9/0";
        let config = RedisConfig::new(url, RedisTarget::Channel("events".to_owned()));
        let sink = RedisSink::new(config.timeout(Duration::from_millis(50))).unwrap();
        let error = sink.deliver(&EventNotification::new(TaskId::generate(), "{}")).await.unwrap_err();
        let shown = format!("{error:?} {sink:?} {:?}", sink.config);
        assert!(shown.contains("127.0.0.1:9") && !shown.contains("hunter2"), "{shown}");
        assert!(!error.is_permanent());
    }

    #[tokio::test]
    async fn what_is_no_url_name_or_timeout_is_refused_without_being_shown() {
        let channel = |name: &str| RedisTarget::Channel(name.to_owned());
        let error =
            RedisSink::new(RedisConfig::new("amqp://user:hunter2@host", channel("events"))).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        assert!(RedisSink::new(RedisConfig::new("redis://localhost", channel(""))).is_err());
        let config = RedisConfig::new("redis://localhost", channel("events")).timeout(Duration::ZERO);
        assert!(RedisSink::new(config).is_err());
    }

    /// A server of which `answers` are those to what each connection begins with and to the command after it. What the
    /// client says of itself is answered as by servers that do not know it.
    async fn server(answers: Vec<(&'static str, &'static str)>) -> std::net::SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            for (first, then) in answers {
                let mut lines = BufReader::new(listener.accept().await.unwrap().0).lines();
                let mut answers = [first, then].into_iter();
                // The name of a command is the line after its length, which is the line after the number of its words.
                while let Ok(Some(line)) = lines.next_line().await {
                    let answer = match line.as_str() {
                        "AUTH" | "SELECT" | "PUBLISH" => answers.next().unwrap(),
                        "CLIENT" => "-ERR unknown command\r\n",
                        _ => continue,
                    };
                    lines.get_mut().write_all(answer.as_bytes()).await.unwrap();
                }
            }
        });
        address
    }

    #[tokio::test]
    async fn what_was_refused_when_a_connection_was_set_up_is_asked_for_anew() {
        let refusals = [
            ("user:old@", "", "-WRONGPASS invalid username-password pair\r\n"),
            ("user:old@", "", "-ERR max number of clients reached\r\n"),
            ("", "3", "-ERR DB index is out of range\r\n"),
        ];
        for (login, database, refusal) in refusals {
            let address = server(vec![(refusal, ""), ("+OK\r\n", ":1\r\n")]).await;
            let url = format!("redis://{login}{address}/{database}");
            let config = RedisConfig::new(url, RedisTarget::Channel("events".to_owned()));
            let once = ConnectionManagerConfig::new().set_number_of_retries(0);
            let sink = RedisSink::with_settings(config, once).unwrap();
            let error = sink.deliver(&EventNotification::new(TaskId::generate(), "{}")).await.unwrap_err();
            assert!(!error.is_permanent(), "{refusal}: {error}");
            sink.deliver(&EventNotification::new(TaskId::generate(), "{}")).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_command_that_is_refused_fails_for_good() {
        let address = server(vec![("+OK\r\n", "-ERR wrong number of arguments\r\n")]).await;
        let config = RedisConfig::new(
            format!("redis://user:secret@{address}"),
            RedisTarget::Channel("events".to_owned()),
        );
        let sink = RedisSink::new(config).unwrap();
        let error = sink.deliver(&EventNotification::new(TaskId::generate(), "{}")).await.unwrap_err();
        assert!(error.is_permanent(), "{error}");
    }
}
