//! The sink that publishes to NATS, by its core protocol or into a JetStream. It knows nothing of records.

mod config;
mod thread;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_nats::connection::State;
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::context::{ContextBuilder, PublishErrorKind};
use async_nats::{Client, ConnectOptions, Event, HeaderMap, PublishErrorKind as SendErrorKind, jetstream};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use taskqueue_core::{Error, ErrorKind, Result};

use self::config::Login;
pub use self::config::{NatsConfig, NatsMode};
use self::thread::Thread;
use super::{EventNotification, EventSink};
use crate::HandlerError;

/// Publishes each notification to one subject. It reconnects by itself; cheap to clone, clones share the connection.
///
/// A delivery that ran into its timeout may still reach the server when the connection is back.
#[derive(Debug, Clone)]
pub struct NatsSink {
    client: Client,
    stream: jetstream::Context,
    config: NatsConfig,
    complaints: Arc<Complaints>,
    /// Of the client of the core protocol. The client hands complaints to a task of its own, which must have counted
    /// them before a delivery looks.
    thread: Option<Thread>,
    hosts: String,
}

/// What the server complained about. Core NATS has no answer to one publication, only errors of the connection.
#[derive(Debug, Default)]
struct Complaints {
    count: AtomicU64,
    last: Mutex<Option<String>>,
}

impl NatsSink {
    /// A sink with this configuration. Nobody has to be there yet: a delivery waits for the connection.
    ///
    /// # Errors
    /// `InvalidInput` for a subject, a URL or a timeout that is none; `Backend` when TLS cannot be set up.
    pub async fn connect(config: NatsConfig) -> Result<Self> {
        let servers = config.validate()?;
        let hosts = servers.hosts();
        let complaints = Arc::new(Complaints::default());
        let heard = Arc::clone(&complaints);
        let mut options =
            ConnectOptions::new().name("taskqueue").retry_on_initial_connect().event_callback(move |event| {
                heard.hear(&event);
                std::future::ready(())
            });
        options = match servers.login {
            Some(Login::User { name, password }) => options.user_and_password(name, password),
            Some(Login::Token(token)) => options.token(token),
            None => options,
        };
        let failed = || Error::new(ErrorKind::Backend, "event", format!("nats at {hosts}: cannot be set up"));
        let thread = (config.mode == NatsMode::Core).then(Thread::start).transpose();
        let thread = thread.map_err(|source| failed().with_source(source))?;
        let connecting = options.connect(servers.addresses);
        let client = match &thread {
            Some(thread) => thread.run(connecting).await,
            None => connecting.await,
        };
        let client = client.map_err(|source| failed().with_source(source))?;
        let stream =
            ContextBuilder::new().timeout(config.timeout).ack_timeout(config.timeout).build(client.clone());
        Ok(Self { client, stream, config, complaints, thread, hosts })
    }

    /// Whether the connection is there now.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    async fn store(&self, notification: &EventNotification) -> Result<(), HandlerError> {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, notification.id.to_string().as_str());
        let body = Bytes::from(notification.json.clone());
        let failed = |error: jetstream::context::PublishError| {
            let message = self.message(&error.to_string());
            match error.kind() {
                PublishErrorKind::MaxPayloadExceeded => self.too_large(message),
                // Also where no stream takes the subject: a cluster without a leader answers the same.
                _ => HandlerError::transient(message),
            }
        };
        let publication = self.stream.publish_with_headers(self.config.subject.clone(), headers, body);
        publication.await.map_err(failed)?.await.map_err(failed)?;
        Ok(())
    }

    /// The server handles what one connection sends in its order, so a message to ourselves that comes back has seen
    /// the publication before it handled; unless the connection was another one by then.
    async fn hand_over(&self, thread: &Thread, notification: &EventNotification) -> Result<(), HandlerError> {
        if !self.is_connected() {
            // Answered once there is a connection: the first one is no broken one.
            self.client
                .flush()
                .await
                .map_err(|error| HandlerError::transient(self.message(&error.to_string())))?;
        }
        let before = self.connection();
        let transient = |error: &dyn fmt::Display| HandlerError::transient(self.message(&error.to_string()));
        let echo = self.client.new_inbox();
        let mut echoes = self.client.subscribe(echo.clone()).await.map_err(|error| transient(&error))?;
        let body = Bytes::from(notification.json.clone());
        let published = self.client.publish(self.config.subject.clone(), body).await;
        published.map_err(|error| match error.kind() {
            SendErrorKind::MaxPayloadExceeded => self.too_large(self.message(&error.to_string())),
            _ => transient(&error),
        })?;
        self.client.publish(echo, Bytes::new()).await.map_err(|error| transient(&error))?;
        self.client.flush().await.map_err(|error| transient(&error))?;
        let came = thread.run(async move {
            let came = echoes.next().await.is_some();
            // A complaint that came before the echo is with its task by now, which is polled before we are again.
            tokio::task::yield_now().await;
            came
        });
        if !came.await || self.connection() != before {
            return Err(transient(&"the connection broke off"));
        }
        Ok(())
    }

    /// Final if the server has said how much it takes; before that the client only guesses.
    fn too_large(&self, message: String) -> HandlerError {
        if self.is_connected() { HandlerError::permanent(message) } else { HandlerError::transient(message) }
    }

    /// Which connection this is, and how often a server complained.
    fn connection(&self) -> (u64, u64) {
        let connects = self.client.statistics().connects.load(Ordering::Relaxed);
        (connects, self.complaints.count.load(Ordering::Relaxed))
    }

    fn message(&self, what: &str) -> String {
        let complaint = self.complaints.last.lock().unwrap_or_else(PoisonError::into_inner);
        let said = complaint.as_ref().map_or_else(String::new, |text| format!(" (the server said: {text})"));
        format!("publish to NATS at {} failed: {what}{said}", self.hosts)
    }
}

#[async_trait]
impl EventSink for NatsSink {
    async fn deliver(&self, notification: &EventNotification) -> Result<(), HandlerError> {
        let delivery = async {
            match &self.thread {
                Some(thread) => self.hand_over(thread, notification).await,
                None => self.store(notification).await,
            }
        };
        let in_time = tokio::time::timeout(self.config.timeout, delivery).await;
        in_time.unwrap_or_else(|_| {
            let what = format!("no answer within {:?}", self.config.timeout);
            Err(HandlerError::transient(self.message(&what)))
        })
    }
}

impl Complaints {
    fn hear(&self, event: &Event) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::ServerError(error) => {
                self.count.fetch_add(1, Ordering::Relaxed);
                *last = Some(error.to_string());
            }
            Event::Connected => *last = None,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::TcpListener;

    use super::*;

    /// What the client says first to a server whose URL has these credentials.
    async fn hello(credentials: &str) -> serde_json::Value {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("nats://{credentials}@{}", listener.local_addr().unwrap());
        let _sink = NatsSink::connect(NatsConfig::new(url, "events")).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        stream.write_all(b"INFO {\"server_id\":\"s\",\"max_payload\":1024}\r\n").await.unwrap();
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        serde_json::from_str(line.strip_prefix("CONNECT ").unwrap()).unwrap()
    }

    #[tokio::test]
    async fn the_server_is_told_the_credentials_of_its_url() {
        let user = hello("ada:a%40b+c&d=").await;
        assert_eq!((&user["user"], &user["pass"]), (&"ada".into(), &"a@b+c&d=".into()));
        assert_eq!(hello("s3cr%2Ft").await["auth_token"], "s3cr/t");
    }

    #[tokio::test]
    async fn what_is_no_subject_url_or_timeout_is_refused_without_being_shown() {
        for subject in ["", "a..b", "a.*", "a.>", "a b"] {
            assert!(NatsConfig::new("nats://localhost", subject).validate().is_err(), "{subject}");
        }
        let error =
            NatsSink::connect(NatsConfig::new("amqp://user:hunter2@host", "events")).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        let config = NatsConfig::new("nats://localhost", "events").timeout(Duration::ZERO);
        assert!(config.validate().is_err());
    }

    #[tokio::test]
    async fn an_error_and_debug_show_the_hosts_and_no_secret() {
        for mode in [NatsMode::JetStream, NatsMode::Core] {
            let config = NatsConfig::new("nats://user:hunter2@127.0.0.1:9", "events").mode(mode);
            let sink = NatsSink::connect(config.timeout(Duration::from_millis(20))).await.unwrap();
            let error = sink.deliver(&EventNotification::new(taskqueue_core::TaskId::generate(), "{}")).await;
            let shown = format!("{error:?} {:?}", sink.config);
            assert!(shown.contains("127.0.0.1:9") && !shown.contains("hunter2"), "{shown}");
            assert!(!error.unwrap_err().is_permanent());
        }
    }

    /// A server that refuses what is published to `events`, and says so together with what it sends next.
    async fn refuse(listener: TcpListener) -> std::io::Result<()> {
        let (read, mut write) = listener.accept().await?.0.into_split();
        let (mut lines, mut echo_sid) = (BufReader::new(read).lines(), String::new());
        write.write_all(b"INFO {\"server_id\":\"s\",\"max_payload\":1024}\r\n").await?;
        while let Some(line) = lines.next_line().await? {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["PING"] => write.write_all(b"PONG\r\n").await?,
                ["SUB", _, sid] => sid.clone_into(&mut echo_sid),
                ["PUB", subject, "0"] => {
                    let refusal = "-ERR 'Permissions Violation for Publish to \"events\"'";
                    let answer = format!("{refusal}\r\nMSG {subject} {echo_sid} 0\r\n\r\n");
                    write.write_all(answer.as_bytes()).await?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// On one thread that polls whoever was woken last: the delivery comes before the task that counts complaints.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_publication_that_the_server_refuses_is_no_delivery() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("nats://{}", listener.local_addr().unwrap());
        tokio::spawn(refuse(listener));
        let config = NatsConfig::new(url, "events").mode(NatsMode::Core);
        let delivering = tokio::spawn(async move {
            let sink = NatsSink::connect(config).await.unwrap();
            for _ in 0..20 {
                let notification = EventNotification::new(taskqueue_core::TaskId::generate(), "{}");
                let error = sink.deliver(&notification).await.expect_err("it was refused");
                assert!(error.to_string().contains("Permissions Violation"), "{error}");
            }
        });
        delivering.await.unwrap();
    }
}
