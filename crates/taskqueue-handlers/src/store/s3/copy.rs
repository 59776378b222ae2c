//! Copies within the store: in one request, or in parts where the object is larger than one may take. It knows no
//! task.

use std::collections::BTreeMap;

use aws_sdk_s3::types::MetadataDirective;

use super::request::with_attributes;
use super::{S3Store, condition_headers, part_number, quoted, read, storage_class};
use crate::store::{
    Attributes, CopyObject, ObjectRef, ObjectStore, Part, StoreError, StoreErrorKind, Upload, Written,
};

impl S3Store {
    pub(super) async fn copy_whole(&self, copy: &CopyObject) -> Result<Written, StoreError> {
        let target = &copy.target;
        let (if_match, if_none_match) = condition_headers(&copy.condition);
        let request = self.client.copy_object().bucket(&target.bucket).key(&target.key);
        let mut request = request
            .copy_source(source_header(&copy.source))
            .set_copy_source_if_match(copy.if_match.as_deref().map(quoted))
            .set_if_match(if_match)
            .set_if_none_match(if_none_match)
            .set_storage_class(storage_class(Some(copy.storage_class.as_deref().unwrap_or("STANDARD"))));
        if let Some(attributes) = &copy.attributes {
            request = with_attributes!(request.metadata_directive(MetadataDirective::Replace), attributes);
        }
        let copied = self.worked("copy to", target, request.send()).await?;
        let etag = copied.copy_object_result().and_then(|result| result.e_tag());
        Ok(read::written(etag, copied.version_id()))
    }

    /// As one copy: of one state of the source, and nothing is left behind when it fails.
    pub(super) async fn copy_parts(&self, copy: &CopyObject) -> Result<Written, StoreError> {
        let source = self.head(&copy.source).await?;
        if copy.if_match.as_ref().is_some_and(|etag| *etag != source.etag) || copy.size != source.size {
            let message = format!("copy to {}: the source {} has changed", copy.target, copy.source);
            return Err(StoreError::new(StoreErrorKind::PreconditionFailed, message));
        }
        let attributes = Attributes {
            storage_class: copy.storage_class.clone(),
            ..copy.attributes.clone().unwrap_or(source.attributes)
        };
        let upload = self.begin_upload(&copy.target, &attributes, self.tagging(&copy.source).await?).await?;
        let copied = self.fill(&upload, copy, &source.etag).await;
        if copied.is_err() {
            // Its parts would cost their room for ever; a lifecycle rule is what remains when this fails too.
            self.abort_upload(&upload).await.ok();
        }
        copied
    }

    /// The source's tags, which a copy in one request has by itself; none where it has none, or the store knows none.
    async fn tagging(&self, source: &ObjectRef) -> Result<Option<String>, StoreError> {
        match self.tags(source).await {
            Ok(tags) => Ok(tagging_header(&tags)),
            Err(error) if matches!(error.kind(), StoreErrorKind::NotSupported | StoreErrorKind::NotFound) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn fill(&self, upload: &Upload, copy: &CopyObject, etag: &str) -> Result<Written, StoreError> {
        let size_max = self.config.copy_bytes_max;
        let mut parts = Vec::new();
        for (number, first) in
            (1..).zip((0..copy.size).step_by(usize::try_from(size_max).unwrap_or(usize::MAX)))
        {
            let last = (first + size_max).min(copy.size) - 1;
            parts.push(self.copy_part(upload, copy, etag, (number, first, last)).await?);
        }
        self.complete_upload(upload, &parts, &copy.condition).await
    }

    async fn copy_part(
        &self,
        upload: &Upload,
        copy: &CopyObject,
        etag: &str,
        (number, first, last): (u32, u64, u64),
    ) -> Result<Part, StoreError> {
        let target = &copy.target;
        let request = self.client.upload_part_copy().bucket(&target.bucket).key(&target.key);
        let request = request
            .upload_id(&upload.id)
            .part_number(part_number(number))
            .copy_source(source_header(&copy.source))
            .copy_source_range(format!("bytes={first}-{last}"))
            .copy_source_if_match(quoted(etag));
        // Ceph asks for the length of a body that is none, and the SDK leaves it out.
        let request = request.customize().mutate_request(|request| {
            request.headers_mut().insert("content-length", "0");
        });
        let copied = self.worked("copy a part to", target, request.send()).await?;
        let etag = read::etag(copied.copy_part_result().and_then(|result| result.e_tag()));
        Ok(Part { number, etag, etag_is_opaque: false, size: last - first + 1 })
    }
}

/// `bucket/key?versionId=…`, URL-encoded but for the slashes: the SDK leaves this header to its user.
fn source_header(source: &ObjectRef) -> String {
    let path = format!("{}/{}", encoded(&source.bucket), encoded(&source.key));
    source
        .version_id
        .as_ref()
        .map_or(path.clone(), |version| format!("{path}?versionId={}", encoded(version)))
}

/// `team=a%20b&…`.
fn tagging_header(tags: &BTreeMap<String, String>) -> Option<String> {
    let pair = |(name, value): (&String, &String)| format!("{}={}", encoded(name), encoded(value));
    (!tags.is_empty()).then(|| tags.iter().map(pair).collect::<Vec<_>>().join("&"))
}

fn encoded(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte);
    text.bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_url_encoded_but_for_its_slashes() {
        let source = ObjectRef::new("b", "a b/ü?+&%.txt").version(Some("v 1".into()));
        assert_eq!(source_header(&source), "b/a%20b/%C3%BC%3F%2B%26%25.txt?versionId=v%201");
    }

    #[test]
    fn tags_are_url_encoded_and_none_are_no_header() {
        let tags = [("team", "a b/ü"), ("of & by", "x=1")];
        let tags = tags.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(tagging_header(&tags.into()).as_deref(), Some("of%20%26%20by=x%3D1&team=a%20b/%C3%BC"));
        assert_eq!(tagging_header(&BTreeMap::new()), None);
    }
}
