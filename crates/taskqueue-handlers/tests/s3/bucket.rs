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
}

pub(crate) fn config() -> S3Config {
    let url = std::env::var("TASKQUEUE_S3_URL").expect("TASKQUEUE_S3_URL names an S3 gateway");
    S3Config::from_url(&url).unwrap()
}

impl Bucket {
    pub(crate) async fn new() -> Self {
        let config = config();
        let client = config.client().unwrap();
        let name = format!("s3-{}", TaskId::generate());
        client.create_bucket().bucket(&name).send().await.unwrap();
        engine::report("s3", &config).await;
        Self { name, store: Arc::new(S3Store::new(config).unwrap()), client }
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
