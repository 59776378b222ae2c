//! Object stores, as the handlers see them: the operations of S3 that they need, in the store's own terms. It owns the
//! port and what goes through it; no protocol, and nothing of tasks.
//!
//! ETags are without quotes, times are UTC, sizes are bytes. Keys are as they are, not URL-encoded.

mod error;
pub mod memory;
#[cfg(feature = "s3")]
mod s3;
mod types;

use std::collections::BTreeMap;

use async_trait::async_trait;

pub(crate) use self::error::found;
pub use self::error::{StoreError, StoreErrorKind};
pub use self::memory::MemoryStore;
#[cfg(feature = "s3")]
pub use self::s3::{S3Config, S3Credentials, S3Store};
pub use self::types::{
    Attributes, Body, Condition, CopyObject, DeleteOutcome, GetObject, ListObjects, ListVersions,
    MultipartUpload, ObjectBody, ObjectInfo, ObjectPage, ObjectRef, Part, RestoreRequest, RestoreStarted,
    RestoreState, Upload, UploadPage, Version, VersionPage, Written,
};
/// The SDK, for what the port does not have: see [`S3Config::client`].
#[cfg(feature = "s3")]
pub use aws_sdk_s3;

/// What the handlers ask of an object store. Adapters retry nothing that cannot be repeated: a body is sent once.
///
/// Every operation answers `NotFound` for a bucket, object, version or upload that is not there, `PreconditionFailed`
/// for a condition that does not hold, and `NotSupported` for what the store has not got.
#[async_trait]
pub trait ObjectStore: Send + Sync + 'static {
    /// What is known of an object or version without its data. A delete marker is `NotFound`.
    async fn head(&self, object: &ObjectRef) -> Result<ObjectInfo, StoreError>;

    /// Reads an object, or a range of it, as a stream. A body that ends early ends with an error, never silently.
    async fn get(&self, get: &GetObject) -> Result<ObjectBody, StoreError>;

    /// Writes an object in one request, as a stream of a length that is known.
    async fn put(
        &self,
        object: &ObjectRef,
        attributes: &Attributes,
        condition: &Condition,
        body: Body,
    ) -> Result<Written, StoreError>;

    /// Copies within the store, also onto itself to change its storage class or attributes.
    async fn copy(&self, copy: &CopyObject) -> Result<Written, StoreError>;

    /// Deletes the object, which leaves a delete marker in a bucket with versions; or, with a version, that version for
    /// good. What is absent is deleted already: `Ok`.
    async fn delete(&self, object: &ObjectRef, condition: &Condition) -> Result<(), StoreError>;

    /// Deletes up to 1,000 objects or versions of one bucket in one request; answers one for one. Absent ones are
    /// deleted already.
    async fn delete_many(
        &self,
        bucket: &str,
        objects: &[ObjectRef],
    ) -> Result<Vec<DeleteOutcome>, StoreError>;

    /// One page of the current objects, in the order of their keys.
    async fn list(&self, list: &ListObjects) -> Result<ObjectPage, StoreError>;

    /// One page of all versions and delete markers, by key, the newest of each key first.
    async fn list_versions(&self, list: &ListVersions) -> Result<VersionPage, StoreError>;

    /// Begins a multipart upload.
    async fn create_upload(&self, object: &ObjectRef, attributes: &Attributes) -> Result<Upload, StoreError>;

    /// Sends one part, numbered from 1. All but the last have at least 5 MiB.
    async fn upload_part(&self, upload: &Upload, number: u32, body: Body) -> Result<Part, StoreError>;

    /// The parts that are there, in their order: what an interrupted upload need not send again.
    async fn list_parts(&self, upload: &Upload) -> Result<Vec<Part>, StoreError>;

    /// Makes the parts one object.
    async fn complete_upload(
        &self,
        upload: &Upload,
        parts: &[Part],
        condition: &Condition,
    ) -> Result<Written, StoreError>;

    /// Forgets an upload and its parts. One that is not there is `Ok`.
    async fn abort_upload(&self, upload: &Upload) -> Result<(), StoreError>;

    /// One page of the uploads that were begun and not completed, by key.
    async fn list_uploads(&self, list: &ListObjects) -> Result<UploadPage, StoreError>;

    /// The object's tags.
    async fn tags(&self, object: &ObjectRef) -> Result<BTreeMap<String, String>, StoreError> {
        Err(StoreError::new(StoreErrorKind::NotSupported, format!("tags of {object}: the store has none")))
    }

    /// Asks for an archived object to be made readable. It takes hours: [`ObjectInfo::restore`] says how far it is.
    async fn restore(
        &self,
        object: &ObjectRef,
        restore: &RestoreRequest,
    ) -> Result<RestoreStarted, StoreError>;
}
