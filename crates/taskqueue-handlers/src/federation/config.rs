//! Which external bucket stands behind a local one, and where that is known from. It owns the two ports (the configured
//! buckets, the way to an external store) and what goes through them; where either is kept is others' business.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use taskqueue_core::{Error, Result};

use crate::HandlerError;
use crate::store::ObjectStore;

/// A local bucket and the external one that it is federated with. It holds no secret: credentials are named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FederationConfig {
    /// The local bucket.
    pub bucket: String,
    /// The external bucket.
    pub external: ExternalBucket,
    /// Whether discovery and ingest wait. `false` by default; while it is set, their tasks are put off.
    #[serde(default)]
    pub paused: bool,
    /// What becomes of a local object that is newer than the external one. Kept by default.
    #[serde(default)]
    pub conflict: Conflict,
    /// Whether an external ETag of 32 hexadecimal digits is the MD5 of the data, as it is unless the external store
    /// encrypts with customers' keys (SSE-C, SSE-KMS). `true` by default: then data with another MD5 is refused, unless
    /// the store says that the object is encrypted so, as S3 does. `false` is for a store that does not say it.
    #[serde(default = "yes")]
    pub etag_is_md5: bool,
}

/// Where an external bucket is, and who reads it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExternalBucket {
    /// The URL of its store: `https://s3.eu-north-1.amazonaws.com`.
    pub endpoint: String,
    /// The region that requests are signed for.
    pub region: String,
    /// Its name there.
    pub bucket: String,
    /// The name of the credentials that the worker is configured with.
    pub credentials: String,
}

/// What becomes of a local object that has other content than the external one of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Conflict {
    /// The one that was modified later stays. A local object was modified when its copy was made, so an external change
    /// that falls into the time of a copy counts as older than it.
    #[default]
    KeepNewer,
    /// The external object replaces the local one: the external bucket is the truth.
    Overwrite,
}

/// Where it is known which buckets are federated.
#[async_trait]
pub trait FederationConfigStore: Send + Sync + 'static {
    /// The configuration of a local bucket; `None` when it is not federated. Asked for each task, so that a pause takes
    /// effect without a restart.
    ///
    /// # Errors
    /// When it cannot be said now.
    async fn get(&self, bucket: &str) -> Result<Option<FederationConfig>, HandlerError>;
}

/// The way to external stores.
#[async_trait]
pub trait ExternalStores: Send + Sync + 'static {
    /// The store that holds this bucket, to be used with the credentials that it names.
    ///
    /// # Errors
    /// Permanent for credentials that the worker has not got, and for an endpoint that is none.
    async fn open(&self, external: &ExternalBucket) -> Result<Arc<dyn ObjectStore>, HandlerError>;
}

impl FederationConfig {
    /// A bucket that is not paused, with the defaults of everything else.
    pub fn new(bucket: impl Into<String>, external: ExternalBucket) -> Self {
        Self {
            bucket: bucket.into(),
            external,
            paused: false,
            conflict: Conflict::default(),
            etag_is_md5: true,
        }
    }

    /// Checks what was set.
    ///
    /// # Errors
    /// `InvalidInput` for a name that is empty and an endpoint that is no `http` or `https` URL, or has credentials in it.
    /// The message does not repeat the endpoint.
    pub fn validate(&self) -> Result<()> {
        let ExternalBucket { endpoint, region, bucket, credentials } = &self.external;
        let named = [
            ("bucket", &self.bucket),
            ("external.region", region),
            ("external.bucket", bucket),
            ("external.credentials", credentials),
        ];
        if let Some((name, _)) = named.into_iter().find(|(_, value)| value.is_empty()) {
            return Err(self.invalid(format!("{name} is empty")));
        }
        let url = reqwest::Url::parse(endpoint).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let Some(url) = url else {
            return Err(self.invalid("external.endpoint is not an absolute http or https URL".to_owned()));
        };
        if !url.username().is_empty() || url.password().is_some() {
            let message = "external.endpoint has credentials in it: name some in external.credentials";
            return Err(self.invalid(message.to_owned()));
        }
        Ok(())
    }

    fn invalid(&self, what: String) -> Error {
        Error::invalid_input("federation", format!("bucket {:?}: {what}", self.bucket))
    }
}

/// `endpoint/bucket`, for errors and logs, without credentials that do not belong there.
impl fmt::Display for ExternalBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoint = self.endpoint.rsplit_once('@').map_or(self.endpoint.as_str(), |(_, host)| host);
        write!(f, "{}/{}", endpoint.trim_end_matches('/'), self.bucket)
    }
}

/// Buckets that are fixed when the worker starts.
#[async_trait]
impl FederationConfigStore for BTreeMap<String, FederationConfig> {
    async fn get(&self, bucket: &str) -> Result<Option<FederationConfig>, HandlerError> {
        Ok(Self::get(self, bucket).cloned())
    }
}

#[async_trait]
impl<S: FederationConfigStore + ?Sized> FederationConfigStore for Arc<S> {
    async fn get(&self, bucket: &str) -> Result<Option<FederationConfig>, HandlerError> {
        (**self).get(bucket).await
    }
}

#[async_trait]
impl<S: ExternalStores + ?Sized> ExternalStores for Arc<S> {
    async fn open(&self, external: &ExternalBucket) -> Result<Arc<dyn ObjectStore>, HandlerError> {
        (**self).open(external).await
    }
}

/// One store that holds every external bucket.
#[derive(Clone)]
pub struct OneStore(pub Arc<dyn ObjectStore>);

#[async_trait]
impl ExternalStores for OneStore {
    async fn open(&self, _external: &ExternalBucket) -> Result<Arc<dyn ObjectStore>, HandlerError> {
        Ok(Arc::clone(&self.0))
    }
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> FederationConfig {
        let external = ExternalBucket {
            endpoint: "https://s3.example.org".into(),
            region: "eu-north-1".into(),
            bucket: "old".into(),
            credentials: "partner".into(),
        };
        FederationConfig::new("photos", external)
    }

    #[test]
    fn what_is_left_out_is_the_default_and_what_is_misspelt_is_refused() {
        let json = r#"{"bucket":"photos","external":{"endpoint":"https://s3.example.org","region":"eu-north-1",
            "bucket":"old","credentials":"partner"}}"#;
        assert_eq!(serde_json::from_str::<FederationConfig>(json).expect("it is whole"), config());
        assert!(serde_json::from_str::<FederationConfig>(&json.replace("\"region\"", "\"regoin\"")).is_err());
    }

    #[test]
    fn an_endpoint_that_is_no_url_and_an_empty_name_are_refused() {
        assert!(config().validate().is_ok());
        let mut endpoint = config();
        endpoint.external.endpoint = "s3.example.org".into();
        assert!(endpoint.validate().is_err_and(|error| error.to_string().contains("external.endpoint")));
        let mut secret = config();
        secret.external.endpoint = "https://key:hunter2@s3.example.org".into();
        let error = secret.validate().expect_err("it holds a secret").to_string();
        assert!(error.contains("external.endpoint has credentials"), "{error}");
        assert!(!format!("{error} {}", secret.external).contains("hunter2"), "{error}");
        let mut name = config();
        name.external.credentials.clear();
        assert!(name.validate().is_err_and(|error| error.to_string().contains("external.credentials")));
    }
}
