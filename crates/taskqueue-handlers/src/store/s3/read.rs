//! What answers of S3 say, in the store's terms. Pure.
//!
//! Listings of objects ask for URL-encoded keys, since XML has no form for some characters that a key may have; a server
//! that does not encode says so by leaving its name for the encoding out.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Display;

use aws_sdk_s3::operation::list_multipart_uploads::ListMultipartUploadsOutput;
use aws_sdk_s3::operation::list_object_versions::ListObjectVersionsOutput;
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{self, EncodingType, ServerSideEncryption};
use chrono::Utc;

use super::order::OrderOf;
use crate::percent;
use crate::store::{
    DeleteOutcome, MultipartUpload, ObjectPage, ObjectRef, Part, RestoreState, StoreError, StoreErrorKind,
    Upload, UploadPage, Version, VersionPage, Written,
};

/// The class that a store does not name, and some do.
const STANDARD: &str = "STANDARD";

/// What the answers to HEAD and GET have in common, which the SDK has no type for.
macro_rules! object_info {
    ($answer:expr, $size:expr) => {{
        let answer = $answer;
        $crate::store::ObjectInfo {
            size: $size,
            etag: $crate::store::s3::read::etag(answer.e_tag()),
            etag_is_opaque: $crate::store::s3::read::etag_is_opaque(
                answer.server_side_encryption(),
                answer.sse_customer_algorithm(),
            ),
            last_modified: $crate::store::s3::read::time(answer.last_modified()),
            version_id: answer.version_id().map(str::to_owned),
            attributes: $crate::store::Attributes {
                content_type: answer.content_type().map(str::to_owned),
                content_encoding: answer.content_encoding().map(str::to_owned),
                content_disposition: answer.content_disposition().map(str::to_owned),
                content_language: answer.content_language().map(str::to_owned),
                cache_control: answer.cache_control().map(str::to_owned),
                metadata: $crate::store::s3::read::metadata(answer.metadata()),
                storage_class: $crate::store::s3::read::class(answer.storage_class().map(|it| it.as_str())),
            },
            restore: answer.restore().map_or_else(Default::default, $crate::store::s3::read::restore_state),
        }
    }};
}
pub(super) use object_info;

/// Without quotes.
pub(super) fn etag(etag: Option<&str>) -> String {
    etag.unwrap_or_default().trim_matches('"').to_owned()
}

/// Whether an ETag is no MD5, by how the data is encrypted. Under the store's own keys (`AES256`) it is one.
pub(super) fn etag_is_opaque(by_store: Option<&ServerSideEncryption>, by_customer: Option<&str>) -> bool {
    by_customer.is_some() || by_store.is_some_and(|by| *by != ServerSideEncryption::Aes256)
}

pub(super) fn size(length: Option<i64>) -> u64 {
    length.and_then(|length| u64::try_from(length).ok()).unwrap_or_default()
}

pub(super) fn time(time: Option<&DateTime>) -> chrono::DateTime<Utc> {
    time.and_then(|it| chrono::DateTime::from_timestamp(it.secs(), it.subsec_nanos())).unwrap_or_default()
}

pub(super) fn class(name: Option<&str>) -> Option<String> {
    name.filter(|name| !name.is_empty() && *name != STANDARD).map(str::to_owned)
}

pub(super) fn metadata(metadata: Option<&HashMap<String, String>>) -> BTreeMap<String, String> {
    metadata.into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())).collect()
}

pub(super) fn written(tag: Option<&str>, version_id: Option<&str>) -> Written {
    Written { etag: etag(tag), version_id: version_id.map(str::to_owned) }
}

/// The size after the slash of `bytes 0-9/100`.
pub(super) fn whole_size(content_range: &str) -> Option<u64> {
    content_range.rsplit_once('/')?.1.parse().ok()
}

/// `ongoing-request="false", expiry-date="Fri, 21 Dec 2012 00:00:00 GMT"`.
pub(super) fn restore_state(header: &str) -> RestoreState {
    if header.contains("ongoing-request=\"true\"") {
        return RestoreState::Ongoing;
    }
    let date = header.split_once("expiry-date=\"").and_then(|(_, rest)| rest.split('"').next());
    let expires = date.and_then(|date| httpdate::parse_http_date(date).ok()).map(chrono::DateTime::from);
    RestoreState::Restored { expires }
}

pub(super) fn part(part: &types::Part) -> Part {
    let number = part.part_number().and_then(|number| u32::try_from(number).ok()).unwrap_or_default();
    Part { number, etag: etag(part.e_tag()), etag_is_opaque: false, size: size(part.size()) }
}

pub(super) fn malformed(target: &impl Display, what: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, format!("{target}: the store answered {what}"))
}

/// One for one: an answer in quiet form names only what failed.
pub(super) fn delete_outcomes(objects: &[ObjectRef], errors: &[types::Error]) -> Vec<DeleteOutcome> {
    let asked: HashSet<_> = objects.iter().map(identity).collect();
    let (told, stray): (Vec<_>, Vec<_>) =
        errors.iter().partition(|error| failed(error).is_some_and(|it| asked.contains(&it)));
    let told: HashMap<_, _> = told.into_iter().map(|error| (failed(error), error)).collect();
    // One that names no object of the batch may be about any that has no answer of its own.
    let stray = stray.into_iter().find(|error| !is_absent(error));
    let outcome = |object| match told.get(&Some(identity(object))).copied().or(stray) {
        Some(error) if !is_absent(error) => Err(not_deleted(object, error)),
        _ => Ok(()),
    };
    objects.iter().map(outcome).collect()
}

fn identity(object: &ObjectRef) -> (&str, Option<&str>) {
    (&object.key, object.version_id.as_deref())
}

/// Which object an error is about. Ceph writes an empty version where there is none.
fn failed(error: &types::Error) -> Option<(&str, Option<&str>)> {
    Some((error.key()?, error.version_id().filter(|version| !version.is_empty())))
}

/// What is absent is deleted already.
fn is_absent(error: &types::Error) -> bool {
    kind(error) == StoreErrorKind::NotFound
}

/// Each error has only a code. One that is not known may pass, as a failure of the store by itself does.
fn kind(error: &types::Error) -> StoreErrorKind {
    StoreErrorKind::of_answer(500, error.code())
}

fn not_deleted(object: &ObjectRef, error: &types::Error) -> StoreError {
    let said = [error.code(), error.message()].into_iter().flatten().collect::<Vec<_>>().join(": ");
    StoreError::new(kind(error), format!("delete {object}: {said}")).with_code(error.code())
}

pub(super) fn object_page(answer: &ListObjectsV2Output) -> Result<ObjectPage, StoreError> {
    let decode = Decode::of(answer.encoding_type());
    let object = |object: &types::Object| Version {
        key: decode.key(object.key()),
        version_id: None,
        is_latest: true,
        is_delete_marker: false,
        size: size(object.size()),
        etag: etag(object.e_tag()),
        last_modified: time(object.last_modified()),
        storage_class: class(object.storage_class().map(|it| it.as_str())),
    };
    let continuation = answer.next_continuation_token().map(str::to_owned);
    let continuation = next(answer.name(), answer.is_truncated(), continuation)?;
    Ok(ObjectPage { objects: answer.contents().iter().map(object).collect(), continuation })
}

pub(super) fn version_page(
    answer: &ListObjectVersionsOutput,
    order: &OrderOf,
) -> Result<VersionPage, StoreError> {
    let decode = Decode::of(answer.encoding_type());
    let version = |version: &types::ObjectVersion| Version {
        key: decode.key(version.key()),
        version_id: version.version_id().map(str::to_owned),
        is_latest: version.is_latest() == Some(true),
        is_delete_marker: false,
        size: size(version.size()),
        etag: etag(version.e_tag()),
        last_modified: time(version.last_modified()),
        storage_class: class(version.storage_class().map(|it| it.as_str())),
    };
    let marker = |marker: &types::DeleteMarkerEntry| Version {
        key: decode.key(marker.key()),
        version_id: marker.version_id().map(str::to_owned),
        is_latest: marker.is_latest() == Some(true),
        is_delete_marker: true,
        size: 0,
        etag: String::new(),
        last_modified: time(marker.last_modified()),
        storage_class: None,
    };
    let versions = answer.versions().iter().map(version).collect();
    let markers = answer.delete_markers().iter().map(marker).collect();
    let versions = order.restore(versions, markers);
    let bucket = answer.name();
    let versions =
        versions.ok_or_else(|| malformed(&bucket.unwrap_or("list"), "versions whose order is not known"))?;
    let marker = answer.next_version_id_marker().filter(|it| !it.is_empty()).map(str::to_owned);
    let after = answer.next_key_marker().map(|key| (decode.key(Some(key)), marker));
    Ok(VersionPage { versions, next: next(bucket, answer.is_truncated(), after)? })
}

pub(super) fn upload_page(
    bucket: &str,
    answer: &ListMultipartUploadsOutput,
) -> Result<UploadPage, StoreError> {
    let decode = Decode::of(answer.encoding_type());
    let upload = |upload: &types::MultipartUpload| MultipartUpload {
        upload: Upload {
            object: ObjectRef::new(bucket, decode.key(upload.key())),
            id: upload.upload_id().unwrap_or_default().to_owned(),
        },
        initiated: time(upload.initiated()),
    };
    let id = answer.next_upload_id_marker().unwrap_or_default();
    let marker = answer
        .next_key_marker()
        .map(|key| serde_json::to_string(&(decode.key(Some(key)), id)).expect("two texts have a JSON form"));
    let continuation = next(answer.bucket(), answer.is_truncated(), marker)?;
    Ok(UploadPage { uploads: answer.uploads().iter().map(upload).collect(), continuation })
}

/// The key and the id of the upload that a page ended with, from its continuation.
pub(super) fn upload_marker(continuation: &str) -> Result<(String, String), StoreError> {
    serde_json::from_str(continuation).map_err(|_| {
        StoreError::new(StoreErrorKind::Invalid, "list uploads: the continuation is of no page of uploads")
    })
}

/// A page that is said to have a successor and does not say where would end a listing early.
fn next<T>(
    bucket: Option<&str>,
    is_truncated: Option<bool>,
    next: Option<T>,
) -> Result<Option<T>, StoreError> {
    match (is_truncated == Some(true), next) {
        (false, _) => Ok(None),
        (true, Some(next)) => Ok(Some(next)),
        (true, None) => {
            Err(malformed(&bucket.unwrap_or("list"), "a page that does not say where the next begins"))
        }
    }
}

/// How keys are written in a listing.
enum Decode {
    Url,
    Plain,
}

impl Decode {
    fn of(encoding: Option<&EncodingType>) -> Self {
        if encoding == Some(&EncodingType::Url) { Self::Url } else { Self::Plain }
    }

    fn key(&self, key: Option<&str>) -> String {
        let key = key.unwrap_or_default();
        match self {
            Self::Plain => key.to_owned(),
            // S3 writes a space as a plus.
            Self::Url => percent::of_form(key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_is_no_md5_under_keys_that_are_not_the_stores_own() {
        for by in ["aws:kms", "aws:kms:dsse", "aws:backup", "else"] {
            assert!(etag_is_opaque(Some(&by.into()), None), "{by}");
        }
        assert!(etag_is_opaque(None, Some("AES256")));
        assert!(!etag_is_opaque(Some(&"AES256".into()), None) && !etag_is_opaque(None, None));
    }

    #[test]
    fn a_restore_header_says_how_far_it_is() {
        let expires = "2012-12-21T00:00:00Z".parse().expect("a time");
        let done = r#"ongoing-request="false", expiry-date="Fri, 21 Dec 2012 00:00:00 GMT""#;
        assert_eq!(restore_state(done), RestoreState::Restored { expires: Some(expires) });
        assert_eq!(restore_state(r#"ongoing-request="true""#), RestoreState::Ongoing);
    }

    #[test]
    fn keys_of_a_listing_are_decoded_where_they_were_encoded() {
        assert_eq!(Decode::Url.key(Some("a+b%2Bc%26d=e%01%C3%BC/f")), "a b+c&d=e\u{1}ü/f");
        assert_eq!(Decode::Plain.key(Some("a+b%2B")), "a+b%2B");
    }

    #[test]
    fn deletes_are_answered_one_for_one_and_what_was_absent_is_done() {
        let objects = ["a", "b", "c"].map(|key| ObjectRef::new("bucket", key));
        let error = |key: &str, code: &str| types::Error::builder().key(key).code(code).build();
        let outcomes = delete_outcomes(&objects, &[error("b", "SlowDown"), error("c", "NoSuchKey")]);
        assert!(outcomes[0].is_ok() && outcomes[2].is_ok());
        assert_eq!(outcomes[1].as_ref().expect_err("it failed").kind(), StoreErrorKind::Throttled);
    }

    #[test]
    fn a_delete_that_fails_for_no_known_reason_is_tried_again() {
        let is_transient = |code: Option<&str>| {
            let error = types::Error::builder().key("a").set_code(code.map(str::to_owned)).build();
            let outcomes = delete_outcomes(&[ObjectRef::new("bucket", "a")], &[error]);
            outcomes[0].as_ref().expect_err("it failed").kind().is_transient()
        };
        for code in [Some("UnknownError"), Some("SlowDownWrite"), Some(""), None] {
            assert!(is_transient(code), "{code:?}");
        }
        for code in ["AccessDenied", "InvalidArgument", "InvalidRequest", "MalformedXML"] {
            assert!(!is_transient(Some(code)), "{code}");
        }
    }

    #[test]
    fn an_empty_version_in_the_error_of_a_delete_is_none() {
        let objects = ["a", "b"].map(|key| ObjectRef::new("bucket", key));
        let error = types::Error::builder().key("b").version_id("").code("AccessDenied").build();
        let outcomes = delete_outcomes(&objects, &[error]);
        assert!(outcomes[0].is_ok());
        assert_eq!(outcomes[1].as_ref().expect_err("it is there").kind(), StoreErrorKind::Denied);
    }

    #[test]
    fn an_error_about_no_object_of_the_batch_fails_all_that_have_no_answer_of_their_own() {
        let versions = ["1", "2", "3"];
        let objects = versions.map(|id| ObjectRef::new("bucket", "k").version(Some(id.to_owned())));
        let error = || types::Error::builder().code("InternalError");
        let own = error().key("k").version_id("2").code("AccessDenied").build();
        let absent = error().key("k").version_id("3").code("NoSuchVersion").build();
        for stray in [error(), error().key("k"), error().key("k").version_id("4"), error().key("other")] {
            let outcomes = delete_outcomes(&objects, &[own.clone(), absent.clone(), stray.build()]);
            let kinds = outcomes.iter().map(|it| it.as_ref().err().map(StoreError::kind));
            let expected = [Some(StoreErrorKind::Unavailable), Some(StoreErrorKind::Denied), None];
            assert_eq!(kinds.collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn a_page_without_the_place_of_its_successor_is_an_error_and_no_end() {
        assert!(next::<String>(Some("b"), Some(true), None).is_err());
        assert_eq!(next(None, Some(false), Some(1)).expect("the last"), None);
    }
}
