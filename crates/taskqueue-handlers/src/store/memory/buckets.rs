//! What buckets in memory hold: versions by key, and uploads that are under way. It knows no faults and no streams.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::{Bytes, BytesMut};
use md5::{Digest, Md5};
use taskqueue_core::Timestamp;

use super::super::{
    Attributes, Condition, ListObjects, ListVersions, MultipartUpload, ObjectInfo, ObjectPage, ObjectRef,
    Part, RestoreState, StoreError, StoreErrorKind, Upload, UploadPage, Version, VersionPage, Written,
};

/// The most entries of a page.
const PAGE_MAX: u32 = 1000;
/// The version of what a bucket without versions holds.
const NULL_VERSION: &str = "null";

/// Buckets by name.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    by_name: BTreeMap<String, Bucket>,
    uploads: BTreeMap<String, Begun>,
    made: u64,
    /// Whether what is written is encrypted: then its ETag is no MD5.
    pub(super) encrypts: bool,
}

#[derive(Debug, Default)]
struct Bucket {
    is_versioned: bool,
    /// The versions of each key, the newest last; never empty.
    keys: BTreeMap<String, Vec<Entry>>,
}

#[derive(Debug)]
struct Begun {
    object: ObjectRef,
    attributes: Attributes,
    initiated: Timestamp,
    parts: BTreeMap<u32, (Bytes, String)>,
}

/// A version, or a delete marker.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) data: Bytes,
    pub(super) etag: String,
    pub(super) attributes: Attributes,
    last_modified: Timestamp,
    version_id: Option<String>,
    is_delete_marker: bool,
    is_encrypted: bool,
}

impl Entry {
    pub(super) fn object(
        data: Bytes,
        etag: String,
        attributes: Attributes,
        last_modified: Timestamp,
    ) -> Self {
        let (version_id, is_delete_marker, is_encrypted) = (None, false, false);
        Self { data, etag, attributes, last_modified, version_id, is_delete_marker, is_encrypted }
    }

    fn marker(last_modified: Timestamp) -> Self {
        let marker = Self::object(Bytes::new(), String::new(), Attributes::default(), last_modified);
        Self { is_delete_marker: true, ..marker }
    }

    pub(super) fn info(&self) -> ObjectInfo {
        ObjectInfo {
            size: self.data.len() as u64,
            etag: self.etag.clone(),
            etag_is_opaque: self.is_encrypted,
            last_modified: self.last_modified,
            version_id: self.version_id.clone(),
            attributes: self.attributes.clone(),
            restore: RestoreState::None,
        }
    }

    fn listed(&self, key: &str, is_latest: bool, with_version: bool) -> Version {
        let version_id = self.version_id.clone().unwrap_or_else(|| NULL_VERSION.to_owned());
        Version {
            key: key.to_owned(),
            version_id: with_version.then_some(version_id),
            is_latest,
            is_delete_marker: self.is_delete_marker,
            size: self.data.len() as u64,
            etag: self.etag.clone(),
            last_modified: self.last_modified,
            storage_class: self.attributes.storage_class.clone(),
        }
    }

    fn is_version(&self, id: &str) -> bool {
        self.version_id.as_deref().unwrap_or(NULL_VERSION) == id
    }
}

impl Buckets {
    pub(super) fn create(&mut self, name: &str, is_versioned: bool) {
        self.by_name.insert(name.to_owned(), Bucket { is_versioned, ..Bucket::default() });
    }

    pub(super) fn entry(&self, object: &ObjectRef) -> Result<&Entry, StoreError> {
        let versions = self.bucket(&object.bucket)?.keys.get(&object.key);
        let entry = versions.and_then(|versions| match &object.version_id {
            None => versions.last(),
            Some(id) => versions.iter().find(|entry| entry.is_version(id)),
        });
        entry.filter(|entry| !entry.is_delete_marker).ok_or_else(|| not_found(object))
    }

    pub(super) fn write(
        &mut self,
        object: &ObjectRef,
        condition: &Condition,
        entry: Entry,
    ) -> Result<Written, StoreError> {
        self.check(object, condition)?;
        self.append(object, entry)
    }

    pub(super) fn delete(
        &mut self,
        object: &ObjectRef,
        condition: &Condition,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.check(object, condition)?;
        let bucket = self.bucket_mut(&object.bucket)?;
        match &object.version_id {
            Some(id) => {
                if let Some(versions) = bucket.keys.get_mut(&object.key) {
                    versions.retain(|entry| !entry.is_version(id));
                    if versions.is_empty() {
                        bucket.keys.remove(&object.key);
                    }
                }
                Ok(())
            }
            None if bucket.is_versioned => self.append(object, Entry::marker(now)).map(drop),
            None => {
                bucket.keys.remove(&object.key);
                Ok(())
            }
        }
    }

    pub(super) fn list(&self, list: &ListObjects) -> Result<ObjectPage, StoreError> {
        let after = list.continuation.as_deref().or(list.start_after.as_deref()).unwrap_or_default();
        let limit = page(list.limit);
        let current = self.keys_after(&list.bucket, list.prefix.as_deref(), after)?;
        let current = current.filter_map(|(key, versions)| {
            versions
                .last()
                .filter(|entry| !entry.is_delete_marker)
                .map(|entry| entry.listed(key, true, false))
        });
        let mut objects: Vec<Version> = current.take(limit + 1).collect();
        let has_more = objects.len() > limit;
        objects.truncate(limit);
        let continuation = objects.last().filter(|_| has_more).map(|last| last.key.clone());
        Ok(ObjectPage { objects, continuation })
    }

    pub(super) fn list_versions(&self, list: &ListVersions) -> Result<VersionPage, StoreError> {
        let limit = page(list.limit);
        let (after, within) = match &list.after {
            Some((key, version)) => (key.as_str(), version.clone()),
            None => ("", None),
        };
        let rest_of_key = within.iter().flat_map(|id| self.older_than(&list.bucket, after, id));
        let behind = self.keys_after(&list.bucket, list.prefix.as_deref(), after)?;
        let behind = behind.flat_map(|(key, versions)| {
            let newest_first = versions.iter().rev().enumerate();
            newest_first.map(move |(index, entry)| entry.listed(key, index == 0, true))
        });
        let mut versions: Vec<Version> = rest_of_key.chain(behind).take(limit + 1).collect();
        let has_more = versions.len() > limit;
        versions.truncate(limit);
        let next = versions.last().filter(|_| has_more);
        let next = next.map(|last| (last.key.clone(), last.version_id.clone()));
        Ok(VersionPage { versions, next })
    }

    pub(super) fn begin_upload(
        &mut self,
        object: &ObjectRef,
        attributes: Attributes,
        initiated: Timestamp,
    ) -> Result<Upload, StoreError> {
        self.bucket(&object.bucket)?;
        self.made += 1;
        let id = format!("upload-{:06}", self.made);
        let begun = Begun { object: object.clone(), attributes, initiated, parts: BTreeMap::new() };
        self.uploads.insert(id.clone(), begun);
        Ok(Upload { object: object.clone(), id })
    }

    pub(super) fn add_part(&mut self, upload: &Upload, number: u32, data: Bytes) -> Result<Part, StoreError> {
        let begun = self.uploads.get_mut(&upload.id).ok_or_else(|| no_upload(upload))?;
        self.made += 1;
        let etag = md5_hex(&data);
        let etag = if self.encrypts { sealed(&etag, self.made) } else { etag };
        let part = Part { number, etag, etag_is_opaque: self.encrypts, size: data.len() as u64 };
        begun.parts.insert(number, (data, part.etag.clone()));
        Ok(part)
    }

    pub(super) fn parts(&self, upload: &Upload) -> Result<Vec<Part>, StoreError> {
        let begun = self.uploads.get(&upload.id).ok_or_else(|| no_upload(upload))?;
        let parts = begun.parts.iter();
        Ok(parts
            .map(|(number, (data, etag))| Part {
                number: *number,
                etag: etag.clone(),
                etag_is_opaque: false,
                size: data.len() as u64,
            })
            .collect())
    }

    pub(super) fn complete_upload(
        &mut self,
        upload: &Upload,
        parts: &[Part],
        condition: &Condition,
        now: Timestamp,
    ) -> Result<Written, StoreError> {
        self.check(&upload.object, condition)?;
        let begun = self.uploads.get(&upload.id).ok_or_else(|| no_upload(upload))?;
        let (mut data, mut sums) = (BytesMut::new(), Md5::new());
        for part in parts {
            let (bytes, etag) = begun.parts.get(&part.number).ok_or_else(|| no_upload(upload))?;
            if *etag != part.etag {
                let message = format!("part {} of {} has another ETag", part.number, upload.object);
                return Err(StoreError::new(StoreErrorKind::Invalid, message));
            }
            data.extend_from_slice(bytes);
            sums.update(Md5::digest(bytes));
        }
        let etag = format!("{}-{}", hex(&sums.finalize()), parts.len());
        let entry = Entry::object(data.freeze(), etag, begun.attributes.clone(), now);
        let written = self.append(&upload.object, entry)?;
        self.uploads.remove(&upload.id);
        Ok(written)
    }

    pub(super) fn abort_upload(&mut self, upload: &Upload) {
        self.uploads.remove(&upload.id);
    }

    pub(super) fn list_uploads(&self, list: &ListObjects) -> UploadPage {
        let prefix = list.prefix.as_deref().unwrap_or_default();
        let of_bucket = self
            .uploads
            .iter()
            .filter(|(_, begun)| begun.object.bucket == list.bucket && begun.object.key.starts_with(prefix));
        let uploads = of_bucket.map(|(id, begun)| MultipartUpload {
            upload: Upload { object: begun.object.clone(), id: id.clone() },
            initiated: begun.initiated,
        });
        UploadPage { uploads: uploads.collect(), continuation: None }
    }

    pub(super) fn open_uploads(&self) -> usize {
        self.uploads.len()
    }

    fn append(&mut self, object: &ObjectRef, mut entry: Entry) -> Result<Written, StoreError> {
        self.made += 1;
        let made = self.made;
        if self.encrypts && !entry.is_delete_marker {
            (entry.etag, entry.is_encrypted) = (sealed(&entry.etag, made), true);
        }
        let bucket = self.bucket_mut(&object.bucket)?;
        let versions = bucket.keys.entry(object.key.clone()).or_default();
        if bucket.is_versioned {
            entry.version_id = Some(format!("version-{made:06}"));
        } else {
            versions.clear();
        }
        let written = Written { etag: entry.etag.clone(), version_id: entry.version_id.clone() };
        versions.push(entry);
        Ok(written)
    }

    fn check(&self, object: &ObjectRef, condition: &Condition) -> Result<(), StoreError> {
        let etag = self.entry(object).ok().map(|entry| entry.etag.as_str());
        let failed = || StoreError::new(StoreErrorKind::PreconditionFailed, format!("{object} has changed"));
        if condition.holds(etag) { Ok(()) } else { Err(failed()) }
    }

    fn keys_after<'a>(
        &'a self,
        bucket: &str,
        prefix: Option<&'a str>,
        after: &str,
    ) -> Result<impl Iterator<Item = (&'a String, &'a Vec<Entry>)>, StoreError> {
        let prefix = prefix.unwrap_or_default();
        let from = if after.is_empty() { Bound::Unbounded } else { Bound::Excluded(after.to_owned()) };
        let keys = self.bucket(bucket)?.keys.range((from, Bound::Unbounded));
        Ok(keys.filter(move |(key, _)| key.starts_with(prefix)))
    }

    fn older_than(&self, bucket: &str, key: &str, id: &str) -> Vec<Version> {
        let versions = self.by_name.get(bucket).and_then(|bucket| bucket.keys.get(key));
        let newest_first = versions.into_iter().flat_map(|versions| versions.iter().rev());
        let older = newest_first.skip_while(|entry| !entry.is_version(id)).skip(1);
        older.map(|entry| entry.listed(key, false, true)).collect()
    }

    fn bucket(&self, name: &str) -> Result<&Bucket, StoreError> {
        self.by_name.get(name).ok_or_else(|| no_bucket(name))
    }

    fn bucket_mut(&mut self, name: &str) -> Result<&mut Bucket, StoreError> {
        self.by_name.get_mut(name).ok_or_else(|| no_bucket(name))
    }
}

/// The MD5 in hexadecimal.
pub(super) fn md5_hex(data: &[u8]) -> String {
    hex(&Md5::digest(data))
}

/// Another ETag of the same form, each time another one.
fn sealed(etag: &str, made: u64) -> String {
    let parts = etag.split_once('-').map(|(_, parts)| format!("-{parts}"));
    md5_hex(format!("{made} {etag}").as_bytes()) + parts.as_deref().unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn page(limit: u32) -> usize {
    let limit = if limit == 0 { PAGE_MAX } else { limit.min(PAGE_MAX) };
    usize::try_from(limit).unwrap_or(usize::MAX)
}

fn no_bucket(name: &str) -> StoreError {
    StoreError::new(StoreErrorKind::NotFound, format!("there is no bucket {name}"))
}

fn no_upload(upload: &Upload) -> StoreError {
    StoreError::new(StoreErrorKind::NotFound, format!("there is no such upload of {}", upload.object))
}

fn not_found(object: &ObjectRef) -> StoreError {
    StoreError::new(StoreErrorKind::NotFound, format!("there is no {object}"))
}
