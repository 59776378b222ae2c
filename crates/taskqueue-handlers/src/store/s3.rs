//! The object store on the S3 protocol, through the SDK of AWS. It owns what each operation of the port asks of the
//! SDK; what comes back is read in `read`, what goes wrong in `failure`, bodies are in `upload` and `download`.
//!
//! The SDK retries nothing: the queue does, and a body is sent once. Payloads that are streamed are not signed
//! (`UNSIGNED-PAYLOAD`), and checksums are sent only where S3 requires one, since many stores do not know the trailers
//! that carry them; who needs certainty compares ETags.

mod call;
mod config;
mod copy;
mod download;
mod failure;
mod order;
mod read;
mod request;
mod status;
mod upload;

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::types::{
    CompletedMultipartUpload, CompletedPart, Delete, EncodingType, GlacierJobParameters, ObjectIdentifier,
    StorageClass, Tier,
};
use taskqueue_core::payloads::RestoreTier;

pub use self::config::{S3Config, S3Credentials};
use self::read::object_info;
use self::request::with_attributes;
use super::{
    Attributes, Body, Condition, CopyObject, DeleteOutcome, GetObject, ListObjects, ListVersions, ObjectBody,
    ObjectInfo, ObjectPage, ObjectRef, ObjectStore, Part, RestoreRequest, RestoreStarted, StoreError,
    StoreErrorKind, Upload, UploadPage, VersionPage, Written,
};

/// A store that speaks S3. Clones share their connections.
#[derive(Debug, Clone)]
pub struct S3Store {
    client: Client,
    config: S3Config,
}

impl S3Store {
    /// A store of this configuration. It connects when it is first used.
    ///
    /// # Errors
    /// As [`S3Config::validate`].
    pub fn new(config: S3Config) -> taskqueue_core::Result<Self> {
        Ok(Self { client: config.client()?, config })
    }

    /// Why a HEAD was refused. The answer has no body and so no code, and an expired token or another region looks like a
    /// request that makes no sense: a read of one byte is asked for the reason.
    async fn reason(&self, object: &ObjectRef, error: StoreError) -> StoreError {
        let is_refused = matches!(error.kind(), StoreErrorKind::Denied | StoreErrorKind::Invalid);
        if error.code().is_some() || !is_refused {
            return error;
        }
        let get = GetObject { object: object.clone(), range: Some((0, 0)), if_match: None };
        let why = self.get(&get).await.err();
        // That an empty object has no first byte is no reason.
        let is_reason = |why: &StoreError| why.code().is_some_and(|code| code != "InvalidRange");
        why.filter(|why| why.kind().is_transient() || is_reason(why)).unwrap_or(error)
    }

    async fn begin_upload(
        &self,
        object: &ObjectRef,
        attributes: &Attributes,
        tagging: Option<String>,
    ) -> Result<Upload, StoreError> {
        let request = self.client.create_multipart_upload().bucket(&object.bucket).key(&object.key);
        let request = with_attributes!(request, attributes)
            .set_storage_class(storage_class(attributes.storage_class.as_deref()))
            .set_tagging(tagging);
        let created = self.answered("begin an upload of", object, request.send()).await?;
        let id = created.upload_id().map(str::to_owned);
        let id = id.ok_or_else(|| read::malformed(object, "an upload without an id"))?;
        Ok(Upload { object: object.clone(), id })
    }
}

#[async_trait]
impl ObjectStore for S3Store {
    async fn head(&self, object: &ObjectRef) -> Result<ObjectInfo, StoreError> {
        let request = self.client.head_object().bucket(&object.bucket).key(&object.key);
        let request = request.set_version_id(object.version_id.clone());
        let head = match self.answered("head", object, request.send()).await {
            Err(error) => return Err(self.reason(object, error).await),
            Ok(head) => head,
        };
        Ok(object_info!(&head, read::size(head.content_length())))
    }

    async fn get(&self, get: &GetObject) -> Result<ObjectBody, StoreError> {
        let object = &get.object;
        let request = self.client.get_object().bucket(&object.bucket).key(&object.key);
        let request = request
            .set_version_id(object.version_id.clone())
            .set_range(get.range.map(|(first, last)| format!("bytes={first}-{last}")))
            .set_if_match(get.if_match.as_deref().map(quoted));
        let got = self.answered("get", object, request.send()).await?;
        let length = read::size(got.content_length());
        let info = object_info!(&got, got.content_range().and_then(read::whole_size).unwrap_or(length));
        let data = download::stream(object.to_string(), got.body, length, self.config.stall_timeout);
        Ok(ObjectBody { info, data })
    }

    async fn put(
        &self,
        object: &ObjectRef,
        attributes: &Attributes,
        condition: &Condition,
        body: Body,
    ) -> Result<Written, StoreError> {
        let length = content_length(object, body.length)?;
        let (body, sent) = upload::body(body);
        let (if_match, if_none_match) = condition_headers(condition);
        let request = self.client.put_object().bucket(&object.bucket).key(&object.key);
        let request = with_attributes!(request, attributes)
            .set_storage_class(storage_class(attributes.storage_class.as_deref()))
            .set_if_match(if_match)
            .set_if_none_match(if_none_match)
            .content_length(length)
            .body(body);
        let put = self.streamed("put", object, &sent, request.send()).await;
        let put = put.map_err(|error| absent_is_changed(error, condition))?;
        Ok(read::written(put.e_tag(), put.version_id()))
    }

    async fn copy(&self, copy: &CopyObject) -> Result<Written, StoreError> {
        if copy.size > self.config.copy_bytes_max {
            self.copy_parts(copy).await
        } else {
            self.copy_whole(copy).await
        }
    }

    async fn delete(&self, object: &ObjectRef, condition: &Condition) -> Result<(), StoreError> {
        if *condition == Condition::IfAbsent {
            return Err(StoreError::new(
                StoreErrorKind::Invalid,
                format!("delete {object}: if it is absent"),
            ));
        }
        let request = self.client.delete_object().bucket(&object.bucket).key(&object.key);
        let request =
            request.set_version_id(object.version_id.clone()).set_if_match(condition_headers(condition).0);
        let deleted = self.answered("delete", object, request.send()).await.map(drop);
        absent_is_done(deleted)
    }

    async fn delete_many(
        &self,
        bucket: &str,
        objects: &[ObjectRef],
    ) -> Result<Vec<DeleteOutcome>, StoreError> {
        if objects.is_empty() {
            return Ok(Vec::new());
        }
        let identifier = |object: &ObjectRef| {
            let identifier = ObjectIdentifier::builder().key(&object.key);
            identifier.set_version_id(object.version_id.clone()).build().expect("it has a key")
        };
        let identifiers: Vec<_> = objects.iter().map(identifier).collect();
        let delete = Delete::builder().set_objects(Some(identifiers)).quiet(true).build();
        let delete = delete.expect("it has objects");
        let request = self.client.delete_objects().bucket(bucket).delete(delete);
        let answer = self.answered("delete many of", &bucket, request.send()).await?;
        Ok(read::delete_outcomes(objects, answer.errors()))
    }

    async fn list(&self, list: &ListObjects) -> Result<ObjectPage, StoreError> {
        let request = self.client.list_objects_v2().bucket(&list.bucket).encoding_type(EncodingType::Url);
        let request = request
            .set_prefix(list.prefix.clone())
            .set_start_after(list.start_after.clone())
            .set_continuation_token(list.continuation.clone())
            .set_max_keys(limit(list.limit));
        let answer = self.answered("list", &list.bucket, request.send()).await?;
        read::object_page(&answer)
    }

    async fn list_versions(&self, list: &ListVersions) -> Result<VersionPage, StoreError> {
        let request = self.client.list_object_versions().bucket(&list.bucket);
        let (key, version) = list.after.clone().unzip();
        let request = request
            .encoding_type(EncodingType::Url)
            .set_prefix(list.prefix.clone())
            .set_key_marker(key)
            .set_version_id_marker(version.flatten())
            .set_max_keys(limit(list.limit));
        let order = order::OrderOf::default();
        let sent = request.customize().interceptor(order.clone()).send();
        let answer = self.answered("list the versions of", &list.bucket, sent).await?;
        let mut page = read::version_page(&answer, &order)?;
        // Ceph begins with the versions of the key that it is to begin behind.
        if let Some((key, None)) = &list.after {
            page.versions.retain(|version| version.key > *key);
        }
        Ok(page)
    }

    async fn create_upload(&self, object: &ObjectRef, attributes: &Attributes) -> Result<Upload, StoreError> {
        self.begin_upload(object, attributes, None).await
    }

    async fn upload_part(&self, upload: &Upload, number: u32, body: Body) -> Result<Part, StoreError> {
        let object = &upload.object;
        let size = body.length;
        let length = content_length(object, size)?;
        let (body, sent) = upload::body(body);
        let request = self.client.upload_part().bucket(&object.bucket).key(&object.key).upload_id(&upload.id);
        let request = request.part_number(part_number(number)).content_length(length).body(body);
        let part = self.streamed("upload a part of", object, &sent, request.send()).await?;
        let etag_is_opaque =
            read::etag_is_opaque(part.server_side_encryption(), part.sse_customer_algorithm());
        Ok(Part { number, etag: read::etag(part.e_tag()), etag_is_opaque, size })
    }

    async fn list_parts(&self, upload: &Upload) -> Result<Vec<Part>, StoreError> {
        let object = &upload.object;
        let mut parts = Vec::new();
        let mut marker = None;
        loop {
            let request = self.client.list_parts().bucket(&object.bucket).key(&object.key);
            let request = request.upload_id(&upload.id).set_part_number_marker(marker);
            let page = self.answered("list the parts of", object, request.send()).await?;
            parts.extend(page.parts().iter().map(read::part));
            marker = page.next_part_number_marker().map(str::to_owned);
            if page.is_truncated() != Some(true) || page.parts().is_empty() || marker.is_none() {
                return Ok(parts);
            }
        }
    }

    async fn complete_upload(
        &self,
        upload: &Upload,
        parts: &[Part],
        condition: &Condition,
    ) -> Result<Written, StoreError> {
        let object = &upload.object;
        let part = |part: &Part| {
            CompletedPart::builder().part_number(part_number(part.number)).e_tag(quoted(&part.etag)).build()
        };
        let parts = parts.iter().map(part).collect();
        let whole = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let (if_match, if_none_match) = condition_headers(condition);
        let request = self.client.complete_multipart_upload().bucket(&object.bucket).key(&object.key);
        let request = request
            .upload_id(&upload.id)
            .multipart_upload(whole)
            .set_if_match(if_match)
            .set_if_none_match(if_none_match);
        let completed = self.worked("complete the upload of", object, request.send()).await;
        let completed = completed.map_err(|error| absent_is_changed(error, condition))?;
        Ok(read::written(completed.e_tag(), completed.version_id()))
    }

    async fn abort_upload(&self, upload: &Upload) -> Result<(), StoreError> {
        let object = &upload.object;
        let request = self.client.abort_multipart_upload().bucket(&object.bucket).key(&object.key);
        let aborted =
            self.answered("abort the upload of", object, request.upload_id(&upload.id).send()).await;
        absent_is_done(aborted.map(drop))
    }

    async fn list_uploads(&self, list: &ListObjects) -> Result<UploadPage, StoreError> {
        let after = list.continuation.as_deref().map(read::upload_marker).transpose()?;
        let (key, id) = after.map_or((list.start_after.clone(), None), |(key, id)| (Some(key), Some(id)));
        // Not encoded: asked for that, Ceph encodes the keys without saying so, and not the marker.
        let request = self.client.list_multipart_uploads().bucket(&list.bucket);
        let request = request
            .set_prefix(list.prefix.clone())
            .set_key_marker(key)
            .set_upload_id_marker(id)
            .set_max_uploads(limit(list.limit));
        let answer = self.answered("list the uploads of", &list.bucket, request.send()).await?;
        read::upload_page(&list.bucket, &answer)
    }

    async fn tags(&self, object: &ObjectRef) -> Result<BTreeMap<String, String>, StoreError> {
        let request = self.client.get_object_tagging().bucket(&object.bucket).key(&object.key);
        let request = request.set_version_id(object.version_id.clone());
        let answer = self.answered("read the tags of", object, request.send()).await?;
        Ok(answer.tag_set().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect())
    }

    async fn restore(
        &self,
        object: &ObjectRef,
        restore: &RestoreRequest,
    ) -> Result<RestoreStarted, StoreError> {
        let tier = match restore.tier {
            RestoreTier::Expedited => Tier::Expedited,
            RestoreTier::Standard => Tier::Standard,
            RestoreTier::Bulk => Tier::Bulk,
        };
        let job = GlacierJobParameters::builder().tier(tier).build().expect("it has a tier");
        let days = i32::try_from(restore.days).unwrap_or(i32::MAX);
        let wish =
            aws_sdk_s3::types::RestoreRequest::builder().days(days).glacier_job_parameters(job).build();
        let request = self.client.restore_object().bucket(&object.bucket).key(&object.key);
        let request = request.set_version_id(object.version_id.clone()).restore_request(wish);
        let status = status::StatusOf::default();
        let sent = request.customize().interceptor(status.clone()).send();
        match self.answered("restore", object, sent).await {
            Ok(_) if status.get() == Some(200) => Ok(RestoreStarted::AlreadyRestored),
            Ok(_) => Ok(RestoreStarted::Accepted),
            Err(error) if error.code() == Some("RestoreAlreadyInProgress") => Ok(RestoreStarted::InProgress),
            Err(error) => Err(error),
        }
    }
}

/// The headers `If-Match` and `If-None-Match`.
fn condition_headers(condition: &Condition) -> (Option<String>, Option<String>) {
    match condition {
        Condition::Always => (None, None),
        Condition::IfMatch(etag) => (Some(quoted(etag)), None),
        Condition::IfAbsent => (None, Some("*".to_owned())),
    }
}

fn quoted(etag: &str) -> String {
    format!("\"{etag}\"")
}

fn storage_class(name: Option<&str>) -> Option<StorageClass> {
    name.map(StorageClass::from)
}

/// 0 is the store's own number.
fn limit(limit: u32) -> Option<i32> {
    i32::try_from(limit).ok().filter(|limit| *limit > 0)
}

fn part_number(number: u32) -> i32 {
    // Larger ones are the store's to refuse: it knows no part above 10,000.
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn content_length(object: &ObjectRef, length: u64) -> Result<i64, StoreError> {
    i64::try_from(length).map_err(|_| {
        StoreError::new(StoreErrorKind::Invalid, format!("{object}: {length} bytes are too many"))
    })
}

/// What is absent is deleted already, unless it is the bucket that is absent.
fn absent_is_done(deleted: Result<(), StoreError>) -> Result<(), StoreError> {
    let is_absent = |error: &StoreError| error.is_not_found() && error.code() != Some("NoSuchBucket");
    deleted.or_else(|error| if is_absent(&error) { Ok(()) } else { Err(error) })
}

/// An object that is to have an ETag and is absent has changed. S3 says so as it says that there is no object.
fn absent_is_changed(error: StoreError, condition: &Condition) -> StoreError {
    match (condition, error.code()) {
        (Condition::IfMatch(_), Some(code @ "NoSuchKey")) => {
            StoreError::new(StoreErrorKind::PreconditionFailed, error.to_string()).with_code(Some(code))
        }
        _ => error,
    }
}
