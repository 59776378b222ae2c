//! A bucket for one test, and short ways to put things in it.

use std::sync::Arc;

use aws_sdk_s3::Client;
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use bytes::Bytes;
use futures::TryStreamExt;
use taskqueue_core::TaskId;
use taskqueue_handlers::store::{
    Attributes, Condition, GetObject, ListVersions, ObjectRef, ObjectStore, S3Config, S3Store, StoreError,
    Version, Written,
};

use crate::engine;

pub(crate) struct Bucket {
    pub(crate) name: String,
    pub(crate) store: Arc<S3Store>,
    pub(crate) client: Client,
    pub(crate) config: S3Config,
}

pub(crate) fn config() -> S3Config {
    let url = std::env::var("TASKQUEUE_S3_URL").expect("TASKQUEUE_S3_URL names an S3 gateway");
    S3Config::from_url(&url).unwrap()
}

/// Host and port of that gateway.
pub(crate) fn upstream() -> String {
    address(&config())
}

fn address(config: &S3Config) -> String {
    config.endpoint.as_ref().unwrap().trim_start_matches("http://").to_owned()
}

impl Bucket {
    pub(crate) async fn new() -> Self {
        let bucket = Self::named(&format!("s3-{}", TaskId::generate()), config()).await;
        engine::report("s3", &bucket.config).await;
        bucket
    }

    /// Makes a bucket of this name on a gateway.
    pub(crate) async fn named(name: &str, config: S3Config) -> Self {
        let client = config.client().unwrap();
        client.create_bucket().bucket(name).send().await.unwrap();
        let store = Arc::new(S3Store::new(config.clone()).unwrap());
        Self { name: name.to_owned(), store, client, config }
    }

    /// The way to its gateway over the network at `address`.
    pub(crate) fn through(&self, address: &str) -> Arc<S3Store> {
        let endpoint = Some(format!("http://{address}"));
        Arc::new(S3Store::new(S3Config { endpoint, ..self.config.clone() }).unwrap())
    }

    pub(crate) async fn versioned() -> Self {
        let bucket = Self::new().await;
        let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
        let request = bucket.client.put_bucket_versioning().bucket(&bucket.name);
        request.versioning_configuration(enabled).send().await.unwrap();
        bucket
    }

    pub(crate) fn object(&self, key: &str) -> ObjectRef {
        ObjectRef::new(&self.name, key)
    }

    pub(crate) async fn put(&self, key: &str, data: &[u8]) -> Written {
        self.put_in(key, data, None).await
    }

    pub(crate) async fn put_in(&self, key: &str, data: &[u8], class: Option<&str>) -> Written {
        let attributes = Attributes { storage_class: class.map(str::to_owned), ..Attributes::default() };
        let body = Bytes::copy_from_slice(data).into();
        self.store.put(&self.object(key), &attributes, &Condition::Always, body).await.unwrap()
    }

    pub(crate) async fn read(&self, key: &str) -> Result<Vec<u8>, StoreError> {
        self.read_range(key, None).await
    }

    pub(crate) async fn read_range(
        &self,
        key: &str,
        range: Option<(u64, u64)>,
    ) -> Result<Vec<u8>, StoreError> {
        let got = self.store.get(&GetObject { object: self.object(key), range, if_match: None }).await?;
        let pieces: Vec<Bytes> = got.data.try_collect().await?;
        Ok(pieces.concat())
    }

    pub(crate) async fn versions(&self) -> Vec<Version> {
        let list = ListVersions { bucket: self.name.clone(), ..ListVersions::default() };
        self.store.list_versions(&list).await.unwrap().versions
    }
}
