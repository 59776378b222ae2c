//! An object store in memory, with the semantics of S3 and with faults on demand: for tests of handlers, ours and
//! yours. It owns the operations; what a bucket holds is in `buckets`, what goes wrong in `faults`.

mod buckets;
mod faults;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt, stream};
use taskqueue_core::{Clock, ManualClock};

use self::buckets::{Buckets, Entry};
pub use self::faults::{Call, Fault, Operation};
use self::faults::{Effect, Faults};
use super::{
    Attributes, Body, Condition, CopyObject, DeleteOutcome, GetObject, ListObjects, ListVersions, ObjectBody,
    ObjectInfo, ObjectPage, ObjectRef, ObjectStore, Part, RestoreRequest, RestoreStarted, StoreError,
    StoreErrorKind, Upload, UploadPage, VersionPage, Written,
};

/// The size of the pieces in which data is read.
const PIECE_BYTES: usize = 64 * 1024;

/// Objects in memory. Clones share them. ETags are those of S3: the MD5 of the data, or of the parts' MD5s, unless the
/// store is [`encrypted`](Self::encrypted).
#[derive(Debug, Clone)]
pub struct MemoryStore {
    buckets: Arc<Mutex<Buckets>>,
    faults: Faults,
    clock: Arc<dyn Clock>,
}

impl MemoryStore {
    /// No buckets, and a clock that stands still.
    pub fn new() -> Self {
        Self::with_clock(ManualClock::default())
    }

    /// No buckets; modification times come from `clock`.
    pub fn with_clock(clock: impl Clock) -> Self {
        Self { buckets: Arc::default(), faults: Faults::default(), clock: Arc::new(clock) }
    }

    /// Adds a bucket in which each key has one object.
    #[must_use]
    pub fn bucket(self, name: &str) -> Self {
        self.buckets().create(name, false);
        self
    }

    /// Adds a bucket that keeps versions.
    #[must_use]
    pub fn versioned_bucket(self, name: &str) -> Self {
        self.buckets().create(name, true);
        self
    }

    /// Encrypts as S3 does under SSE-KMS: ETags of what is written from now on have the form of an MD5 and are none.
    #[must_use]
    pub fn encrypted(self) -> Self {
        self.buckets().encrypts = true;
        self
    }

    /// Lets the next call that it is for meet this fault. Faults of one operation are met in their order.
    pub fn inject(&self, fault: Fault) {
        self.faults.inject(fault);
    }

    /// Every call so far.
    pub fn calls(&self) -> Vec<Call> {
        self.faults.calls()
    }

    /// The number of uploads that were begun and neither completed nor aborted.
    pub fn open_uploads(&self) -> usize {
        self.buckets().open_uploads()
    }

    fn buckets(&self) -> MutexGuard<'_, Buckets> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn met(&self, operation: Operation, key: &str) -> Result<Option<Effect>, StoreError> {
        self.faults.meet(operation, key)
    }

    /// Takes a body in, with what a fault does to it. Nothing is written unless all of it came.
    async fn receive(&self, body: Body, effect: Option<Effect>, what: &str) -> Result<Bytes, StoreError> {
        let mut data = BytesMut::new();
        let mut pieces = body.data;
        while let Some(piece) = pieces.try_next().await? {
            data.extend_from_slice(&piece);
            if matches!(effect, Some(Effect::CutAfter(bytes)) if data.len() as u64 > bytes) {
                return Err(StoreError::new(
                    StoreErrorKind::Unavailable,
                    format!("{what}: the connection broke"),
                ));
            }
        }
        if data.len() as u64 == body.length {
            return Ok(data.freeze());
        }
        Err(StoreError::new(
            StoreErrorKind::Corrupt,
            format!("{what}: the body has another length than announced"),
        ))
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl ObjectStore for MemoryStore {
    async fn head(&self, object: &ObjectRef) -> Result<ObjectInfo, StoreError> {
        self.met(Operation::Head, &object.key)?;
        self.buckets().entry(object).map(Entry::info)
    }

    async fn get(&self, get: &GetObject) -> Result<ObjectBody, StoreError> {
        let effect = self.met(Operation::Get, &get.object.key)?;
        let (info, data) = {
            let buckets = self.buckets();
            let entry = buckets.entry(&get.object)?;
            (entry.info(), entry.data.clone())
        };
        if get.if_match.as_ref().is_some_and(|etag| *etag != info.etag) {
            return Err(StoreError::new(StoreErrorKind::PreconditionFailed, format!("get {}", get.object)));
        }
        let data = match get.range {
            Some((first, last)) => data.slice(at(first)..at(last.saturating_add(1)).min(data.len())),
            None => data,
        };
        Ok(ObjectBody { info, data: faults::spoil(pieces(data), effect, &get.object) })
    }

    async fn put(
        &self,
        object: &ObjectRef,
        attributes: &Attributes,
        condition: &Condition,
        body: Body,
    ) -> Result<Written, StoreError> {
        let effect = self.met(Operation::Put, &object.key)?;
        let data = self.receive(body, effect, &format!("put {object}")).await?;
        let etag = buckets::md5_hex(&data);
        let entry = Entry::object(data, etag, attributes.clone(), self.clock.now());
        self.buckets().write(object, condition, entry)
    }

    async fn copy(&self, copy: &CopyObject) -> Result<Written, StoreError> {
        self.met(Operation::Copy, &copy.target.key)?;
        let mut buckets = self.buckets();
        let source = buckets.entry(&copy.source)?;
        if copy.if_match.as_ref().is_some_and(|etag| *etag != source.etag) {
            return Err(StoreError::new(StoreErrorKind::PreconditionFailed, format!("copy {}", copy.source)));
        }
        let mut attributes = copy.attributes.clone().unwrap_or_else(|| source.attributes.clone());
        attributes.storage_class.clone_from(&copy.storage_class);
        let data = source.data.clone();
        let etag = buckets::md5_hex(&data);
        let entry = Entry::object(data, etag, attributes, self.clock.now());
        buckets.write(&copy.target, &copy.condition, entry)
    }

    async fn delete(&self, object: &ObjectRef, condition: &Condition) -> Result<(), StoreError> {
        self.met(Operation::Delete, &object.key)?;
        self.buckets().delete(object, condition, self.clock.now())
    }

    async fn delete_many(
        &self,
        bucket: &str,
        objects: &[ObjectRef],
    ) -> Result<Vec<DeleteOutcome>, StoreError> {
        self.met(Operation::DeleteMany, bucket)?;
        let mut buckets = self.buckets();
        let now = self.clock.now();
        Ok(objects.iter().map(|object| buckets.delete(object, &Condition::Always, now)).collect())
    }

    async fn list(&self, list: &ListObjects) -> Result<ObjectPage, StoreError> {
        self.met(Operation::List, &list.bucket)?;
        self.buckets().list(list)
    }

    async fn list_versions(&self, list: &ListVersions) -> Result<VersionPage, StoreError> {
        self.met(Operation::ListVersions, list.prefix.as_deref().unwrap_or_default())?;
        self.buckets().list_versions(list)
    }

    async fn create_upload(&self, object: &ObjectRef, attributes: &Attributes) -> Result<Upload, StoreError> {
        self.met(Operation::CreateUpload, &object.key)?;
        self.buckets().begin_upload(object, attributes.clone(), self.clock.now())
    }

    async fn upload_part(&self, upload: &Upload, number: u32, body: Body) -> Result<Part, StoreError> {
        let effect = self.met(Operation::UploadPart, &upload.object.key)?;
        let data = self.receive(body, effect, &format!("part {number} of {}", upload.object)).await?;
        self.buckets().add_part(upload, number, data)
    }

    async fn list_parts(&self, upload: &Upload) -> Result<Vec<Part>, StoreError> {
        self.met(Operation::ListParts, &upload.object.key)?;
        self.buckets().parts(upload)
    }

    async fn complete_upload(
        &self,
        upload: &Upload,
        parts: &[Part],
        condition: &Condition,
    ) -> Result<Written, StoreError> {
        self.met(Operation::CompleteUpload, &upload.object.key)?;
        self.buckets().complete_upload(upload, parts, condition, self.clock.now())
    }

    async fn abort_upload(&self, upload: &Upload) -> Result<(), StoreError> {
        self.met(Operation::AbortUpload, &upload.object.key)?;
        self.buckets().abort_upload(upload);
        Ok(())
    }

    async fn list_uploads(&self, list: &ListObjects) -> Result<UploadPage, StoreError> {
        self.met(Operation::ListUploads, &list.bucket)?;
        Ok(self.buckets().list_uploads(list))
    }

    async fn restore(
        &self,
        object: &ObjectRef,
        _restore: &RestoreRequest,
    ) -> Result<RestoreStarted, StoreError> {
        self.met(Operation::Restore, &object.key)?;
        let message = format!("restore {object}: a store in memory has no archive");
        Err(StoreError::new(StoreErrorKind::NotSupported, message))
    }
}

fn pieces(data: Bytes) -> stream::BoxStream<'static, Result<Bytes, StoreError>> {
    let starts = (0..data.len()).step_by(PIECE_BYTES);
    stream::iter(starts.map(move |start| Ok(data.slice(start..(start + PIECE_BYTES).min(data.len())))))
        .boxed()
}

fn at(byte: u64) -> usize {
    usize::try_from(byte).unwrap_or(usize::MAX)
}
