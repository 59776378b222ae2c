//! Two buckets with versions on the server: one is filled, and both are compared. It reads and writes through the port
//! of object stores, which tests of its own hold against the server.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use md5::{Digest, Md5};
use taskqueue_handlers::federation::SOURCE_ETAG_KEY;
use taskqueue_handlers::store::aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use taskqueue_handlers::store::{
    Attributes, Condition, GetObject, ListVersions, ObjectRef, ObjectStore, S3Config, S3Store, Version,
};
use tokio::runtime::Runtime;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
/// How many requests are under way at once.
const AT_ONCE: usize = 32;
/// Every so many keys have a history.
const HISTORY_EVERY: usize = 25;

pub(crate) struct World {
    runtime: Runtime,
    config: S3Config,
    store: S3Store,
    pub(crate) external: String,
    pub(crate) local: String,
}

/// What is compared of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Content {
    key: String,
    is_delete_marker: bool,
    size: u64,
    md5: Vec<u8>,
    /// Only where it can be kept: that of an object that was written in one request.
    etag: Option<String>,
    attributes: Attributes,
}

impl World {
    pub(crate) fn create() -> Self {
        let url = std::env::var("TASKQUEUE_S3_URL").expect("no server: TASKQUEUE_S3_URL is not set");
        let config = S3Config::from_url(&url).expect("it is the URL of a store");
        let name = format!("taskqueue-{:016x}", rand::random::<u64>());
        let world = Self {
            runtime: Runtime::new().expect("the host lets the test start a runtime"),
            store: S3Store::new(config.clone()).expect("valid"),
            config,
            external: format!("{name}-old"),
            local: format!("{name}-new"),
        };
        world.runtime.block_on(async {
            let client = world.config.client().expect("valid");
            for bucket in [&world.external, &world.local] {
                client.create_bucket().bucket(bucket).send().await.expect("a bucket can be made");
                let versions =
                    VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
                let on = client.put_bucket_versioning().bucket(bucket).versioning_configuration(versions);
                on.send().await.expect("versions can be turned on");
            }
        });
        world
    }

    /// Fills the external bucket, and gives the number of versions and delete markers in it.
    pub(crate) fn fill(&self, objects: usize) -> u64 {
        let write = |index| async move { self.write_key(index, objects).await };
        let keys = stream::iter(0..objects).map(write).buffer_unordered(AT_ONCE);
        self.runtime.block_on(keys.fold(0, |sum, versions| async move { sum + versions }))
    }

    /// Of the sizes that objects have, most are small; a few are sent in parts, one has 64 MiB.
    fn size(index: usize, objects: usize) -> usize {
        match index {
            1 if objects >= 5000 => 64 * MIB,
            1 => 20 * MIB,
            _ if index % 2000 == 7 => 17 * MIB + 3,
            _ if index % 200 == 9 => MIB + index,
            _ if index.is_multiple_of(31) => 0,
            _ => (index * 7919) % (32 * KIB),
        }
    }

    async fn write_key(&self, index: usize, objects: usize) -> u64 {
        let key = format!("folder {}/größe+&{index:05}", index % 13);
        let object = ObjectRef::new(&self.external, &key);
        let mut attributes =
            Attributes { content_type: Some("image/x-test".into()), ..Attributes::default() };
        attributes.cache_control = index.is_multiple_of(3).then(|| "max-age=60".into());
        attributes.metadata.insert("number".into(), index.to_string());
        let put = async |version: usize, size: usize| {
            let mut attributes = attributes.clone();
            attributes.metadata.insert("version".into(), version.to_string());
            let body = data(index, version, size).into();
            self.store.put(&object, &attributes, &Condition::Always, body).await.expect("it can be put");
        };
        if index % HISTORY_EVERY != 3 {
            put(0, Self::size(index, objects)).await;
            return 1;
        }
        // The same content twice, other content, deleted, there again, and for some deleted for now.
        put(0, 500 + index).await;
        put(0, 500 + index).await;
        put(2, 300 + index).await;
        self.store.delete(&object, &Condition::Always).await.expect("it can be deleted");
        put(3, index).await;
        if index.is_multiple_of(2) {
            self.store.delete(&object, &Condition::Always).await.expect("it can be deleted");
            return 6;
        }
        5
    }

    /// The file of `work --config`.
    pub(crate) fn handlers_file(&self) -> String {
        let (endpoint, region) = (self.config.endpoint.as_deref().expect("it has one"), &self.config.region);
        format!(
            r#"
[credentials.test]
access_key_id = {{ env = "TEST_S3_ID" }}
secret_access_key = {{ env = "TEST_S3_SECRET" }}
[store]
endpoint = "{endpoint}"
region = "{region}"
credentials = "test"
[transfer]
multipart_above_mib = 8
part_mib = 5
[[federation.buckets]]
bucket = "{}"
external = {{ endpoint = "{endpoint}", region = "{region}", bucket = "{}", credentials = "test" }}
"#,
            self.local, self.external
        )
    }

    /// The variables that the file names.
    pub(crate) fn variables(&self) -> [(&'static str, String); 2] {
        let credentials = &self.config.credentials;
        [
            ("TEST_S3_ID", credentials.access_key_id.clone()),
            ("TEST_S3_SECRET", credentials.secret_access_key.clone()),
        ]
    }

    /// Compares the buckets version by version, in their order.
    #[track_caller]
    pub(crate) fn assert_the_same(&self, versions: u64) {
        let (there, here) = self
            .runtime
            .block_on(async { (self.contents(&self.external).await, self.contents(&self.local).await) });
        assert_eq!(there.len() as u64, versions, "the external bucket has not changed");
        let differs = |at: &usize| match (there.get(*at), here.get(*at)) {
            (Some((_, there)), Some((_, here))) => !here.is_copy_of(there),
            _ => true,
        };
        if let Some(at) = (0..there.len().max(here.len())).find(differs) {
            let key = there.get(at).into_iter().chain(here.get(at)).map(|(version, _)| &version.key).min();
            let key = key.expect("one of them has an entry there");
            let [there, here] = [&there, &here].map(|bucket| history(bucket, key));
            panic!("{key:?} has another history, newest first, outside:\n{there}and here:\n{here}");
        }
        let uploads =
            taskqueue_handlers::store::ListObjects { bucket: self.local.clone(), ..Default::default() };
        let uploads =
            self.runtime.block_on(self.store.list_uploads(&uploads)).expect("it can be listed").uploads;
        println!("{versions} versions are the same; {} uploads of killed workers are left", uploads.len());
    }

    async fn contents(&self, bucket: &str) -> Vec<(Version, Content)> {
        let mut versions = Vec::new();
        let mut list = ListVersions { bucket: bucket.to_owned(), ..ListVersions::default() };
        loop {
            let page = self.store.list_versions(&list).await.expect("it can be listed");
            versions.extend(page.versions);
            list.after = page.next;
            if list.after.is_none() {
                break;
            }
        }
        let contents = stream::iter(versions).map(|version| self.content(bucket, version)).buffered(AT_ONCE);
        contents.collect().await
    }

    async fn content(&self, bucket: &str, version: Version) -> (Version, Content) {
        let mut content = Content {
            key: version.key.clone(),
            is_delete_marker: version.is_delete_marker,
            size: version.size,
            md5: Vec::new(),
            etag: None,
            attributes: Attributes::default(),
        };
        if version.is_delete_marker {
            return (version, content);
        }
        let object = ObjectRef::new(bucket, &version.key).version(version.version_id.clone());
        let get = GetObject { object, range: None, if_match: None };
        let body = self.store.get(&get).await.expect("it can be read");
        content.etag = (!body.info.etag.contains('-')).then(|| body.info.etag.clone());
        content.attributes = body.info.attributes;
        content.attributes.metadata.remove(SOURCE_ETAG_KEY);
        let md5 = body.data.try_fold(Md5::new(), |mut md5, piece: Bytes| async move {
            md5.update(&piece);
            Ok(md5)
        });
        content.md5 = md5.await.expect("it can be read").finalize().to_vec();
        (version, content)
    }
}

impl Content {
    fn is_copy_of(&self, there: &Self) -> bool {
        let etag = self.etag.clone().or_else(|| there.etag.clone());
        Self { etag, ..self.clone() } == *there
    }
}

/// What a bucket has of a key, a line each.
fn history(bucket: &[(Version, Content)], key: &str) -> String {
    let of_key = bucket.iter().filter(|(version, _)| version.key == key);
    of_key.map(|(version, content)| format!("  {version:?}\n    {:?}\n", content.attributes)).collect()
}

/// Data that no two versions share.
fn data(index: usize, version: usize, size: usize) -> Bytes {
    format!("object {index} version {version} ").bytes().cycle().take(size).collect::<Vec<u8>>().into()
}
