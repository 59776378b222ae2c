//! The two buckets of `demo s3`: made, filled with objects of many sizes, compared one by one, and removed. It knows no
//! queue; what it compares with it reads from the store itself.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use md5::{Digest, Md5};
use taskqueue_core::TaskId;
use taskqueue_handlers::federation::SOURCE_ETAG_KEY;
use taskqueue_handlers::store::{
    Attributes, Condition, GetObject, ListObjects, ObjectRef, ObjectStore, S3Config, S3Store, StoreError,
};

use crate::failure::{Failure, Outcome};
use crate::progress::Progress;

/// How many requests are under way at once.
const AT_ONCE: usize = 16;
const KIB: usize = 1024;
/// Sizes that take turns; the last one is sent in parts.
const SIZES: [usize; 6] = [0, 100, 3 * KIB, 20 * KIB, 100 * KIB, 700];
const LARGE: usize = 11 * KIB * KIB;
/// One object of so many is a large one.
const LARGE_EVERY: usize = 500;

/// Two buckets of one server.
pub(super) struct Buckets {
    config: S3Config,
    store: S3Store,
    pub(super) external: String,
    pub(super) local: String,
}

/// What the comparison found.
#[derive(Debug, Default)]
pub(super) struct Compared {
    pub(super) objects: u64,
    pub(super) same: u64,
    /// Keys that the local bucket lacks.
    pub(super) missing: Vec<String>,
    /// Keys whose objects differ.
    pub(super) different: Vec<String>,
    /// Keys that only the local bucket has.
    pub(super) extra: Vec<String>,
}

impl Compared {
    /// Whether each object is there, as it was, and nothing else is.
    pub(super) fn holds(&self) -> bool {
        self.missing.is_empty() && self.different.is_empty() && self.extra.is_empty()
    }
}

/// What one object is, for the comparison.
#[derive(Debug, PartialEq, Eq)]
struct Content {
    size: u64,
    md5: Vec<u8>,
    attributes: Attributes,
}

impl Buckets {
    /// Makes both, with names that nobody else has.
    pub(super) async fn create(config: &S3Config) -> Outcome<Self> {
        let name = format!("taskqueue-demo-{}", TaskId::generate());
        let buckets = Self {
            store: S3Store::new(config.clone())?,
            config: config.clone(),
            external: format!("{name}-old"),
            local: format!("{name}-new"),
        };
        let client = config.client()?;
        for bucket in [&buckets.external, &buckets.local] {
            let made = client.create_bucket().bucket(bucket).send().await;
            made.map_err(|error| failed(&format!("cannot make the bucket {bucket}"), &causes(&error)))?;
        }
        Ok(buckets)
    }

    /// Puts objects into the external one, and gives their size in bytes.
    pub(super) async fn fill(&self, objects: usize) -> Outcome<u64> {
        let mut progress = Progress::lines("written", "objects", objects as u64);
        let puts = stream::iter(0..objects).map(|index| self.put(index)).buffer_unordered(AT_ONCE);
        let mut puts = std::pin::pin!(puts);
        let (mut done, mut bytes) = (0, 0);
        while let Some(written) = puts.try_next().await.map_err(|error| store_failed(&error))? {
            (done, bytes) = (done + 1, bytes + written);
            progress.set(done, "")?;
        }
        Ok(bytes)
    }

    /// Compares them, object by object: size, MD5 of the data, metadata, content type.
    pub(super) async fn compare(&self) -> Outcome<Compared> {
        let (there, mut here) = (self.keys(&self.external).await?, self.keys(&self.local).await?);
        let mut compared = Compared { objects: there.len() as u64, ..Compared::default() };
        let mut progress = Progress::lines("compared", "objects", compared.objects);
        let mut found = Vec::new();
        for key in there {
            if here.remove(&key) {
                found.push(key);
            } else {
                compared.missing.push(key);
            }
        }
        compared.extra = here.into_iter().collect();
        let checks = stream::iter(found).map(|key| self.is_same(key)).buffer_unordered(AT_ONCE);
        let mut checks = std::pin::pin!(checks);
        while let Some((key, is_same)) = checks.try_next().await.map_err(|error| store_failed(&error))? {
            if is_same {
                compared.same += 1;
            } else {
                compared.different.push(key);
            }
            progress.set(compared.same, "")?;
        }
        Ok(compared)
    }

    /// Removes both, and what is in them.
    pub(super) async fn remove(&self) -> Outcome {
        let client = self.config.client()?;
        for bucket in [&self.external, &self.local] {
            let keys: Vec<ObjectRef> =
                self.keys(bucket).await?.into_iter().map(|key| ObjectRef::new(bucket, key)).collect();
            for batch in keys.chunks(1000) {
                let deleted = self.store.delete_many(bucket, batch).await;
                deleted.map_err(|error| store_failed(&error))?;
            }
            let removed = client.delete_bucket().bucket(bucket).send().await;
            removed
                .map_err(|error| failed(&format!("cannot remove the bucket {bucket}"), &causes(&error)))?;
        }
        Ok(())
    }

    async fn put(&self, index: usize) -> Result<u64, StoreError> {
        let size = if index % LARGE_EVERY == LARGE_EVERY / 2 { LARGE } else { SIZES[index % SIZES.len()] };
        let object = ObjectRef::new(&self.external, format!("folder {}/größe+{index:05}.bin", index % 7));
        let mut attributes =
            Attributes { content_type: Some("image/x-demo".to_owned()), ..Attributes::default() };
        attributes.metadata.insert("number".to_owned(), index.to_string());
        let body = data(index, size).into();
        self.store.put(&object, &attributes, &Condition::Always, body).await?;
        Ok(size as u64)
    }

    async fn keys(&self, bucket: &str) -> Outcome<BTreeSet<String>> {
        let mut keys = BTreeSet::new();
        let mut list = ListObjects { bucket: bucket.to_owned(), ..ListObjects::default() };
        loop {
            let page = self.store.list(&list).await.map_err(|error| store_failed(&error))?;
            keys.extend(page.objects.into_iter().map(|object| object.key));
            list.continuation = page.continuation;
            if list.continuation.is_none() {
                return Ok(keys);
            }
        }
    }

    async fn is_same(&self, key: String) -> Result<(String, bool), StoreError> {
        let there = self.content(&self.external, &key).await?;
        let here = self.content(&self.local, &key).await?;
        Ok((key, there == here))
    }

    async fn content(&self, bucket: &str, key: &str) -> Result<Content, StoreError> {
        let get = GetObject { object: ObjectRef::new(bucket, key), range: None, if_match: None };
        let body = self.store.get(&get).await?;
        let (size, mut attributes) = (body.info.size, body.info.attributes);
        attributes.metadata.remove(SOURCE_ETAG_KEY);
        let md5 = body.data.try_fold(Md5::new(), |mut md5, piece: Bytes| async move {
            md5.update(&piece);
            Ok(md5)
        });
        Ok(Content { size, md5: md5.await?.finalize().to_vec(), attributes })
    }
}

/// Data that no two objects share.
fn data(index: usize, size: usize) -> Bytes {
    let text = format!("object {index} ");
    text.bytes().cycle().take(size).collect::<Vec<u8>>().into()
}

fn store_failed(error: &StoreError) -> Failure {
    Failure::failed(format!("demo s3: {error}"))
}

fn failed(what: &str, why: &str) -> Failure {
    Failure::failed(format!("demo s3: {what}: {why}"))
}

/// An error of the SDK with its sources: its own text says only where it stopped.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
