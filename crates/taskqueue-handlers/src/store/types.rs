//! What goes in and out of an object store. Data; it decides nothing.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use taskqueue_core::payloads::RestoreTier;

use super::StoreError;

/// An object, or one version of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// The version; none: the current one. `null` is the version of what was written before a bucket had versions.
    pub version_id: Option<String>,
}

impl ObjectRef {
    /// The current object of this name.
    pub fn new(bucket: impl Into<String>, key: impl Into<String>) -> Self {
        Self { bucket: bucket.into(), key: key.into(), version_id: None }
    }

    /// The given version, if one is given.
    #[must_use]
    pub fn version(mut self, version_id: Option<String>) -> Self {
        self.version_id = version_id;
        self
    }
}

/// `bucket/key`, with `?versionId=` where there is one: for errors and logs.
impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.bucket, self.key)?;
        self.version_id.as_ref().map_or(Ok(()), |version| write!(f, "?versionId={version}"))
    }
}

/// What the store keeps with an object beside its data.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attributes {
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Content-Encoding`.
    pub content_encoding: Option<String>,
    /// `Content-Disposition`.
    pub content_disposition: Option<String>,
    /// `Content-Language`.
    pub content_language: Option<String>,
    /// `Cache-Control`.
    pub cache_control: Option<String>,
    /// The user's metadata, without `x-amz-meta-`.
    pub metadata: BTreeMap<String, String>,
    /// The storage class; none: the standard one.
    pub storage_class: Option<String>,
}

/// What is known of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its size.
    pub size: u64,
    /// Its ETag.
    pub etag: String,
    /// Whether the store says that the ETag is no MD5 of the data, whatever its form: encrypted under SSE-KMS or SSE-C.
    pub etag_is_opaque: bool,
    /// When it was written, to the second in answers of S3.
    pub last_modified: DateTime<Utc>,
    /// Its version, in a bucket with versions.
    pub version_id: Option<String>,
    /// What is kept with it. The storage class is `None` for the standard one.
    pub attributes: Attributes,
    /// Where a restore stands.
    pub restore: RestoreState,
}

/// Where the restore of an archived object stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RestoreState {
    /// None was asked for.
    #[default]
    None,
    /// It is under way.
    Ongoing,
    /// The restored copy is there.
    Restored {
        /// Until when, where the store says so.
        expires: Option<DateTime<Utc>>,
    },
}

/// When an operation may change something, so that check and act are one step.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Condition {
    /// Always.
    #[default]
    Always,
    /// While the object has this ETag.
    IfMatch(String),
    /// While there is no such object.
    IfAbsent,
}

impl Condition {
    /// Whether it holds where the object has this ETag; `None`: where there is no such object.
    pub(crate) fn holds(&self, etag: Option<&str>) -> bool {
        match self {
            Self::Always => true,
            Self::IfMatch(expected) => etag == Some(expected),
            Self::IfAbsent => etag.is_none(),
        }
    }
}

/// A read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetObject {
    /// What is read.
    pub object: ObjectRef,
    /// First and last byte, both included; none: all.
    pub range: Option<(u64, u64)>,
    /// Only while it has this ETag.
    pub if_match: Option<String>,
}

/// Data that comes from a store.
pub struct ObjectBody {
    /// What is known of the object. For a range `size` is still that of the whole.
    pub info: ObjectInfo,
    /// The data, in pieces as they arrive.
    pub data: BoxStream<'static, Result<Bytes, StoreError>>,
}

/// Data that goes to a store.
pub struct Body {
    /// How much, in bytes.
    pub length: u64,
    /// The data; as much as `length` says, else the write fails.
    pub data: BoxStream<'static, Result<Bytes, StoreError>>,
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        let length = bytes.len() as u64;
        Self { length, data: Box::pin(futures::stream::iter([Ok(bytes)])) }
    }
}

/// A write that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The ETag.
    pub etag: String,
    /// The version, in a bucket with versions.
    pub version_id: Option<String>,
}

/// A copy within the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyObject {
    /// From where.
    pub source: ObjectRef,
    /// To where.
    pub target: ObjectRef,
    /// The source's size, in bytes: a store copies only so much in one request.
    pub size: u64,
    /// Only while the source has this ETag.
    pub if_match: Option<String>,
    /// When the target may be written.
    pub condition: Condition,
    /// What the copy has instead of the source's attributes; none: the source's, but for the storage class.
    pub attributes: Option<Attributes>,
    /// The copy's storage class; none: the standard one.
    pub storage_class: Option<String>,
}

/// What became of one of many deletes.
pub type DeleteOutcome = Result<(), StoreError>;

/// A listing of current objects, or of uploads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListObjects {
    /// The bucket.
    pub bucket: String,
    /// Keys with this prefix; none: all.
    pub prefix: Option<String>,
    /// Keys after this one, in the order of their UTF-8 bytes.
    pub start_after: Option<String>,
    /// Where the page before this one ended; goes before `start_after`.
    pub continuation: Option<String>,
    /// The most entries, 1 to 1,000; 0: the store's own number.
    pub limit: u32,
}

/// A page of current objects.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ObjectPage {
    /// The objects, whose versions are not known.
    pub objects: Vec<Version>,
    /// Where the next page begins; none: this is the last.
    pub continuation: Option<String>,
}

/// A listing of versions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListVersions {
    /// The bucket.
    pub bucket: String,
    /// Keys with this prefix; none: all.
    pub prefix: Option<String>,
    /// Behind this key and version; with no version, behind all of this key.
    pub after: Option<(String, Option<String>)>,
    /// The most entries, 1 to 1,000; 0: the store's own number.
    pub limit: u32,
}

/// A page of versions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VersionPage {
    /// The versions and delete markers.
    pub versions: Vec<Version>,
    /// What the next page begins after; none: this is the last.
    pub next: Option<(String, Option<String>)>,
}

/// An entry of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The key.
    pub key: String,
    /// The version, where versions are listed.
    pub version_id: Option<String>,
    /// Whether it is the current one.
    pub is_latest: bool,
    /// Whether it is a delete marker, which has neither size nor ETag.
    pub is_delete_marker: bool,
    /// Its size.
    pub size: u64,
    /// Its ETag.
    pub etag: String,
    /// When it was written.
    pub last_modified: DateTime<Utc>,
    /// Its storage class; none: the standard one.
    pub storage_class: Option<String>,
}

/// A multipart upload that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// What it becomes.
    pub object: ObjectRef,
    /// The store's id of it.
    pub id: String,
}

/// An upload in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MultipartUpload {
    /// The upload.
    pub upload: Upload,
    /// When it was begun.
    pub initiated: DateTime<Utc>,
}

/// A page of uploads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UploadPage {
    /// The uploads.
    pub uploads: Vec<MultipartUpload>,
    /// Where the next page begins; none: this is the last.
    pub continuation: Option<String>,
}

/// A part of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its number, from 1.
    pub number: u32,
    /// Its ETag.
    pub etag: String,
    /// Whether the store says that the ETag is no MD5 of the data. Listings of S3 do not say it.
    pub etag_is_opaque: bool,
    /// Its size.
    pub size: u64,
}

/// What a restore asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestoreRequest {
    /// How long the restored copy stays.
    pub days: u32,
    /// How fast it is to be.
    pub tier: RestoreTier,
}

/// What a restore request met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestoreStarted {
    /// It has begun.
    Accepted,
    /// One is under way already.
    InProgress,
    /// The restored copy was there; it stays as long as was asked for.
    AlreadyRestored,
}
