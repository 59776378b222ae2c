//! Where batches of audit records go: objects of an object store, or an HTTP receiver. It owns their form: JSON lines,
//! gzip. It knows no task.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::DateTime;
use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use sha2::{Digest, Sha256};
use taskqueue_core::TaskId;

use super::batch::Record;
use crate::HandlerError;
use crate::store::{Attributes, Body, Condition, ObjectRef, ObjectStore};
use crate::webhook::{Delivery, Endpoint, WebhookSender};

const LINES: &str = "application/x-ndjson";

/// Records of one hour, in the order of their ids, as JSON lines under gzip. The same records are the same bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditBatch {
    /// The hour in which the records happened, since 1970.
    pub hour: i64,
    /// How many there are.
    pub records: usize,
    /// SHA-256 of the lines, before compression.
    pub digest: [u8; 32],
    /// The lines, compressed.
    pub gzip: Bytes,
}

impl AuditBatch {
    /// A record that a second attempt put in twice is there once.
    pub(super) fn pack(hour: i64, mut records: Vec<Record>) -> io::Result<Self> {
        records.sort_by(|a, b| (&a.id, &a.line).cmp(&(&b.id, &b.line)));
        records.dedup();
        let mut digest = Sha256::new();
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        for record in &records {
            for part in [record.line.as_bytes(), b"\n"] {
                digest.update(part);
                gzip.write_all(part)?;
            }
        }
        let (digest, gzip) = (digest.finalize().into(), gzip.finish()?.into());
        Ok(Self { hour, records: records.len(), digest, gzip })
    }

    /// `yyyy/mm/dd/hh/<digest>.jsonl.gz`, of the hour in which the records happened. Who writes it is no part of it: two
    /// batches of one name are the same bytes.
    pub fn name(&self) -> String {
        let hour = DateTime::from_timestamp(self.hour.saturating_mul(3600), 0).unwrap_or_default();
        let mut name = format!("{}/", hour.format("%Y/%m/%d/%H"));
        for byte in &self.digest[..16] {
            write!(name, "{byte:02x}").expect("a string takes what is written");
        }
        name + ".jsonl.gz"
    }

    /// The same for the same records: a receiver drops a second delivery by it.
    pub fn id(&self) -> TaskId {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.digest[..16]);
        uuid::Builder::from_custom_bytes(bytes).into_uuid().into()
    }
}

/// Where batches go.
#[async_trait]
pub trait AuditDestination: Send + Sync + 'static {
    /// Writes, and returns once the batch is where it cannot be lost.
    ///
    /// # Errors
    /// Whether another attempt can help is said by the error; it is that of every record of the batch.
    async fn write(&self, batch: &AuditBatch) -> Result<(), HandlerError>;
}

#[async_trait]
impl<D: AuditDestination + ?Sized> AuditDestination for Arc<D> {
    async fn write(&self, batch: &AuditBatch) -> Result<(), HandlerError> {
        (**self).write(batch).await
    }
}

/// Writes each batch as an object: `<prefix>yyyy/mm/dd/hh/<digest>.jsonl.gz`. It is done when the store has
/// confirmed the object.
#[derive(Clone)]
pub struct ObjectAudit {
    store: Arc<dyn ObjectStore>,
    /// What all objects have in common: the bucket, and the beginning of their keys.
    place: ObjectRef,
}

impl ObjectAudit {
    /// Objects whose bucket is that of `place`, and whose keys begin with its key, as `audit/`.
    pub fn new(store: Arc<dyn ObjectStore>, place: ObjectRef) -> Self {
        Self { store, place }
    }
}

#[async_trait]
impl AuditDestination for ObjectAudit {
    async fn write(&self, batch: &AuditBatch) -> Result<(), HandlerError> {
        let ObjectRef { bucket, key: prefix, .. } = &self.place;
        let object = ObjectRef::new(bucket, format!("{prefix}{}", batch.name()));
        // No Content-Encoding: the object is a gzip file, and no client is to unpack it on the way.
        let attributes =
            Attributes { content_type: Some("application/gzip".to_owned()), ..Attributes::default() };
        self.store.put(&object, &attributes, &Condition::Always, Body::from(batch.gzip.clone())).await?;
        Ok(())
    }
}

/// POSTs each batch to one endpoint, as `application/x-ndjson` under gzip, with the batch's id as `webhook-id`; see
/// [`WebhookSender::deliver`]. It is done when the receiver has answered 2xx.
#[derive(Debug, Clone)]
pub struct HttpAudit {
    sender: WebhookSender,
    endpoint: Endpoint,
}

impl HttpAudit {
    /// Batches go to `endpoint`, by `sender`.
    pub fn new(sender: WebhookSender, endpoint: Endpoint) -> Self {
        Self { sender, endpoint }
    }
}

#[async_trait]
impl AuditDestination for HttpAudit {
    async fn write(&self, batch: &AuditBatch) -> Result<(), HandlerError> {
        let mut delivery = Delivery::new(batch.id(), self.endpoint.url().clone(), batch.gzip.to_vec());
        delivery.headers.insert(CONTENT_TYPE, HeaderValue::from_static(LINES));
        delivery.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        self.sender.deliver(delivery).await
    }
}
