//! One object's data from one store to another: streamed, never kept, and checked on its way. It owns requests and
//! their order; which object goes where and whether it should is the handlers' decision.
//!
//! Memory does not grow with the object: a part is not collected, what is read of it is written at once. So it is a few
//! pieces of a stream for each part in flight, whatever the size of the parts.

mod body;
mod condition;
mod config;
mod etag;

use std::sync::{Arc, Mutex, PoisonError};

use futures::{StreamExt, TryStreamExt, stream};
use md5::{Digest, Md5};

use self::body::Sums;
pub(crate) use self::condition::{complete, delete};
pub use self::config::TransferConfig;
pub(crate) use self::etag::Etag;
use crate::HandlerError;
use crate::store::{
    Attributes, Condition, GetObject, ObjectBody, ObjectRef, ObjectStore, Part, StoreError, StoreErrorKind,
    Upload, Written,
};

/// The metadata under which a copy says what its source's ETag is: its own may be another, where it was sent in parts, or
/// where either store encrypts.
pub const SOURCE_ETAG_KEY: &str = "taskqueue-source-etag";

/// What is read: one object or version, in the state that its ETag names.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) object: ObjectRef,
    pub(crate) size: u64,
    pub(crate) etag: String,
    /// Whether an ETag of that form is the MD5 of the data, unless the store says otherwise of this object.
    pub(crate) etag_is_md5: bool,
}

/// Which of the two stores failed.
#[derive(Debug, Clone)]
pub(crate) enum TransferError {
    /// The one that is read.
    Source(StoreError),
    /// The one that is written to.
    Target(StoreError),
    /// The upload of this object has parts that may not be those that it is to have.
    OtherParts(ObjectRef),
}

impl TransferError {
    /// Whether the object that is read is not there any more.
    pub(crate) fn source_is_gone(&self) -> bool {
        matches!(self, Self::Source(error) if error.is_not_found())
    }

    /// Whether the object that is read has another ETag by now.
    pub(crate) fn source_has_changed(&self) -> bool {
        matches!(self, Self::Source(error) if error.kind() == StoreErrorKind::PreconditionFailed)
    }

    /// Whether the condition of the write did not hold.
    pub(crate) fn target_has_changed(&self) -> bool {
        matches!(self, Self::Target(error) if error.kind() == StoreErrorKind::PreconditionFailed)
    }

    /// Whether the upload cannot be gone on with: it is not there, or has other parts.
    pub(crate) fn upload_is_lost(&self) -> bool {
        match self {
            Self::Target(error) => error.is_not_found(),
            Self::OtherParts(_) => true,
            Self::Source(_) => false,
        }
    }
}

impl From<TransferError> for HandlerError {
    fn from(error: TransferError) -> Self {
        match error {
            TransferError::Source(error) | TransferError::Target(error) => error.into(),
            TransferError::OtherParts(object) => {
                Self::transient(format!("the upload of {object} has parts of another size"))
            }
        }
    }
}

/// Copies an object in one request, with a mark of its ETag and one more entry of metadata if one is given. Nothing is
/// written when what was read is not what the source's ETag says. A target that knows no conditions is asked without, right
/// after a look; the source is read anew then, as a body is sent once.
pub(crate) async fn put(
    source: &Source,
    target: &dyn ObjectStore,
    object: &ObjectRef,
    condition: &Condition,
    mark: Option<(&'static str, String)>,
) -> Result<Written, TransferError> {
    match put_if(source, target, object, condition, mark.clone()).await {
        Err(TransferError::Target(error)) if condition::is_not_known(condition, &error) => {
            condition::look(target, object, condition).await.map_err(TransferError::Target)?;
            put_if(source, target, object, &Condition::Always, mark).await
        }
        written => written,
    }
}

async fn put_if(
    source: &Source,
    target: &dyn ObjectStore,
    object: &ObjectRef,
    condition: &Condition,
    mark: Option<(&'static str, String)>,
) -> Result<Written, TransferError> {
    let read = open(source, None).await?;
    let mut attributes = source.marked(&read.info.attributes);
    attributes.metadata.extend(mark.map(|(key, value)| (key.to_owned(), value)));
    let sums = Arc::new(Sums::of_whole(source.md5(read.info.etag_is_opaque)));
    let body = body::checked(read, source.size, Arc::clone(&sums), source.object.to_string());
    let written = target.put(object, &attributes, condition, body).await;
    written.map_err(|error| sums.blame(error))
}

/// Begins an upload of what `source` is, with its attributes and a mark of its ETag.
pub(crate) async fn begin(
    source: &Source,
    attributes: &Attributes,
    target: &dyn ObjectStore,
    object: &ObjectRef,
) -> Result<Upload, StoreError> {
    target.create_upload(object, &source.marked(attributes)).await
}

/// Sends the parts that are not there yet, and gives all of them. A source with the MD5 of the whole as its ETag is read
/// from its start in any case, one part after the other, to check it; else a few parts are in flight at once. Nothing is
/// sent where what is there may have been sent in parts of another size: with no MD5 to tell them apart, a part from
/// another place would make another object.
pub(crate) async fn send_parts(
    source: &Source,
    target: &dyn ObjectStore,
    upload: &Upload,
    config: &TransferConfig,
) -> Result<Vec<Part>, TransferError> {
    let there = target.list_parts(upload).await.map_err(TransferError::Target)?;
    let plan = config.parts(source.size, &source.etag);
    if !config::are_of(&plan, &there) {
        return Err(TransferError::OtherParts(upload.object.clone()));
    }
    let expected = source.md5_if_told().await?;
    let whole = expected.map(|_| Arc::new(Mutex::new(Md5::new())));
    let in_flight = if whole.is_some() { 1 } else { config.parts_in_flight };
    let parts = plan.into_iter().map(|range| {
        let part = PartToSend { source, target, upload, range, whole: whole.clone() };
        part.send(there.iter().find(|part| part.number == range.number).cloned())
    });
    let parts: Vec<Part> = stream::iter(parts).buffered(in_flight).try_collect().await?;
    if let (Some(whole), Some(expected)) = (whole, expected) {
        let found = etag::hex(&whole.lock().unwrap_or_else(PoisonError::into_inner).clone().finalize());
        if found != expected {
            return Err(TransferError::Source(body::other_md5(&source.object.to_string(), &found, expected)));
        }
    }
    Ok(parts)
}

impl Source {
    /// The MD5 that the data must have, where the ETag says it.
    fn md5(&self, etag_is_opaque: bool) -> Option<&str> {
        match Etag::of(&self.etag) {
            Etag::Md5 if self.etag_is_md5 && !etag_is_opaque => Some(&self.etag),
            _ => None,
        }
    }

    /// As [`Self::md5`], with a look at the object where that decides.
    async fn md5_if_told(&self) -> Result<Option<&str>, TransferError> {
        if self.md5(false).is_none() {
            return Ok(None);
        }
        let info = self.store.head(&self.object).await.map_err(TransferError::Source)?;
        Ok(self.md5(info.etag_is_opaque))
    }

    /// Its attributes as a copy has them. What the source says of a source of its own is not the copy's to say.
    fn marked(&self, attributes: &Attributes) -> Attributes {
        let mut attributes = Attributes { storage_class: None, ..attributes.clone() };
        attributes.metadata.insert(SOURCE_ETAG_KEY.to_owned(), self.etag.clone());
        attributes
    }
}

impl Part {
    /// Whether its ETag is the MD5 of its data.
    fn says_md5(&self) -> bool {
        !self.etag_is_opaque && Etag::of(&self.etag) == Etag::Md5
    }
}

/// One part on its way.
struct PartToSend<'a> {
    source: &'a Source,
    target: &'a dyn ObjectStore,
    upload: &'a Upload,
    range: config::PartRange,
    /// The MD5 of all parts so far, where it is to be checked.
    whole: Option<Arc<Mutex<Md5>>>,
}

impl PartToSend<'_> {
    /// Sends the part, unless `there` is it. The answer's ETag is held against the MD5 of what was sent.
    async fn send(mut self, there: Option<Part>) -> Result<Part, TransferError> {
        if let Some(part) = there {
            if self.whole.is_none() || self.reads_as(&part).await? {
                return Ok(part);
            }
            // What is there is not what the source has; its MD5 has been counted already.
            self.whole = None;
        }
        let sums = Arc::new(Sums::of_part(self.whole.clone()));
        let body = self.read(Arc::clone(&sums)).await?;
        let sent = self.target.upload_part(self.upload, self.range.number, body).await;
        let part = sent.map_err(|error| sums.blame(error))?;
        match sums.part_md5() {
            Some(md5) if part.says_md5() && part.etag != md5 => {
                let what = format!("part {} of {}", part.number, self.upload.object);
                Err(TransferError::Target(body::other_md5(&what, &part.etag, &md5)))
            }
            _ => Ok(Part { size: self.range.size(), ..part }),
        }
    }

    /// Reads the part of the source without sending it, and says whether `part` is it.
    async fn reads_as(&self, part: &Part) -> Result<bool, TransferError> {
        let sums = Arc::new(Sums::of_part(self.whole.clone()));
        let body = self.read(Arc::clone(&sums)).await?;
        body.data.try_for_each(|_| async { Ok(()) }).await.map_err(TransferError::Source)?;
        Ok(!part.says_md5() || sums.part_md5().as_deref() == Some(&part.etag))
    }

    async fn read(&self, sums: Arc<Sums>) -> Result<crate::store::Body, TransferError> {
        let read = open(self.source, Some((self.range.first, self.range.last))).await?;
        Ok(body::checked(read, self.range.size(), sums, self.source.object.to_string()))
    }
}

async fn open(source: &Source, range: Option<(u64, u64)>) -> Result<ObjectBody, TransferError> {
    let get = GetObject { object: source.object.clone(), range, if_match: Some(source.etag.clone()) };
    source.store.get(&get).await.map_err(TransferError::Source)
}
