//! The receiving end: a local HTTP server that takes S3 notifications as an outside system would. It owns reading
//! the wire format, on its own, so that it can contradict the sender; it knows nothing of the queue.

use std::collections::HashSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde::Deserialize;
use taskqueue_core::{Clock, SystemClock, TaskId};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::verify::{Delivery, Object};

/// The header by which a delivery names its task: the same on each attempt.
const TASK_ID_HEADER: &str = "webhook-id";

/// A running server. It stops when it is dropped.
#[derive(Debug)]
pub(super) struct Receiver {
    address: SocketAddr,
    inbox: Inbox,
    server: JoinHandle<()>,
}

#[derive(Debug, Clone, Default)]
struct Inbox {
    received: Arc<Mutex<Received>>,
    arrival: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Received {
    deliveries: Vec<Delivery>,
    tasks: HashSet<TaskId>,
}

impl Receiver {
    /// Starts a server on a free port of this machine only.
    pub(super) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let inbox = Inbox::default();
        let app = Router::new().route("/", post(receive)).with_state(inbox.clone());
        let server = tokio::spawn(async move {
            // It ends with an error only when the listener breaks; the demo then sees that nothing arrives.
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self { address, inbox, server })
    }

    /// Where to deliver to.
    pub(super) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// How many tasks have arrived, each counted once.
    pub(super) fn tasks(&self) -> u64 {
        self.inbox.lock().tasks.len() as u64
    }

    /// How many requests have arrived.
    pub(super) fn requests(&self) -> u64 {
        self.inbox.lock().deliveries.len() as u64
    }

    /// Waits until something has arrived since the last wait.
    pub(super) async fn arrival(&self) {
        self.inbox.arrival.notified().await;
    }

    /// All that arrived.
    pub(super) fn deliveries(&self) -> Vec<Delivery> {
        self.inbox.lock().deliveries.clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, delivery: Delivery) {
        let mut received = self.lock();
        received.tasks.extend(delivery.task_id);
        received.deliveries.push(delivery);
        drop(received);
        self.arrival.notify_one();
    }
}

async fn receive(State(inbox): State<Inbox>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let task_id = headers.get(TASK_ID_HEADER).and_then(|id| id.to_str().ok()?.parse::<TaskId>().ok());
    let delivery = Delivery { task_id, objects: objects(&body), at: SystemClock.now() };
    inbox.keep(delivery);
    StatusCode::OK
}

#[derive(Debug, Deserialize)]
struct Notification {
    #[serde(rename = "Records")]
    records: Vec<Record>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    event_name: String,
    s3: S3,
}

#[derive(Debug, Deserialize)]
struct S3 {
    bucket: BucketEntity,
    #[serde(default)]
    object: ObjectEntity,
}

#[derive(Debug, Deserialize)]
struct BucketEntity {
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ObjectEntity {
    key: String,
    size: Option<u64>,
    e_tag: Option<String>,
    sequencer: String,
}

/// The objects that a notification names; none when it is no notification.
fn objects(body: &[u8]) -> Vec<Object> {
    let notification = serde_json::from_slice::<Notification>(body);
    notification.map_or_else(|_| Vec::new(), |it| it.records.into_iter().map(Object::from).collect())
}

impl From<Record> for Object {
    fn from(record: Record) -> Self {
        let S3 { bucket, object } = record.s3;
        Self {
            event_name: record.event_name,
            bucket: bucket.name,
            key: decode_key(&object.key),
            etag: object.e_tag,
            size: object.size,
            sequencer: object.sequencer,
        }
    }
}

/// S3 sends keys form-encoded: a space as `+`, other bytes as `%XX`.
fn decode_key(encoded: &str) -> String {
    let bytes = encoded.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = (byte == b'%').then(|| encoded.get(at + 1..at + 3)).flatten();
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(value) => {
                decoded.push(value);
                at += 3;
            }
            None => {
                decoded.push(if byte == b'+' { b' ' } else { byte });
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const BODY: &str = r#"{"Records":[{"eventVersion":"2.1","eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"b"},
        "object":{"key":"a/x%2By+%C3%A4.txt","size":5,"eTag":"e","sequencer":"01"}}}]}"#;

    #[test]
    fn a_key_is_decoded_as_s3_encodes_it() {
        assert_eq!(decode_key("a/x%2By+z%25"), "a/x+y z%");
        assert_eq!(decode_key("%C3%A4 %zz %"), "ä %zz %");
    }

    #[test]
    fn a_body_that_is_no_notification_has_no_objects() {
        assert!(objects(b"{}").is_empty() && objects(b"nonsense").is_empty());
        assert_eq!(objects(BODY.as_bytes())[0].key, "a/x+y ä.txt");
    }

    #[tokio::test]
    async fn each_request_is_kept_with_the_task_that_it_names() {
        let receiver = Receiver::start().await.expect("a port is free");
        let id = TaskId::generate();
        for _ in 0..2 {
            let mut stream = tokio::net::TcpStream::connect(receiver.address).await.expect("it listens");
            let length = BODY.len();
            let request = format!(
                "POST / HTTP/1.1\r\nhost: x\r\n{TASK_ID_HEADER}: {id}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{BODY}"
            );
            stream.write_all(request.as_bytes()).await.expect("it reads");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("it answers");
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
        assert_eq!((receiver.tasks(), receiver.requests()), (1, 2));
        let delivery = receiver.deliveries().remove(0);
        assert_eq!((delivery.task_id, delivery.objects.len()), (Some(id), 1));
    }
}
