//! Where an S3 server is, who asks it, and how long it may take. It makes the SDK's client and sends nothing.

use std::fmt;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use reqwest::Url;
use taskqueue_core::{Error, Result};

use crate::percent::of_credentials;

const OPERATION: &str = "s3";
const GIB: u64 = 1 << 30;

/// An S3 server and how it is used. `Debug` hides the credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Config {
    /// The server's URL (`https://s3.example.org`), without credentials; none: AWS, by the region.
    pub endpoint: Option<String>,
    /// The region that requests are signed for; `us-east-1` by default, which most other servers take.
    pub region: String,
    /// Who asks.
    pub credentials: S3Credentials,
    /// Whether the bucket is the first part of the path rather than of the host's name. Most servers other than AWS
    /// need it: the default with an endpoint.
    pub path_style: bool,
    /// How long a connection may take; default 10 s.
    pub connect_timeout: Duration,
    /// How long the server may take to answer a request that carries no data, or once its data is sent; default 60 s.
    pub answer_timeout: Duration,
    /// How long the server may take for what is work in the store itself: a copy, the completion of an upload; default
    /// 15 min.
    pub work_timeout: Duration,
    /// How long a transfer may stand still, to or from the server, before it is given up; default 30 s.
    pub stall_timeout: Duration,
    /// The largest object, in bytes, that is copied in one request; larger ones are copied in parts of this size, at
    /// least 5 MiB. Default and most: 5 GiB, which is S3's limit.
    pub copy_bytes_max: u64,
}

/// An access key. `Debug` shows only its id.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Credentials {
    /// The key's id.
    pub access_key_id: String,
    /// The secret.
    pub secret_access_key: String,
    /// Of temporary credentials.
    pub session_token: Option<String>,
}

impl S3Credentials {
    /// An access key for good.
    pub fn new(access_key_id: impl Into<String>, secret_access_key: impl Into<String>) -> Self {
        Self {
            access_key_id: access_key_id.into(),
            secret_access_key: secret_access_key.into(),
            session_token: None,
        }
    }

    /// Those in `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and, where there is one, `AWS_SESSION_TOKEN`.
    ///
    /// # Errors
    /// `InvalidInput` when one of the first two is missing or empty.
    pub fn from_environment() -> Result<Self> {
        let found = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let needed = |name: &str| {
            found(name).ok_or_else(|| Error::invalid_input(OPERATION, format!("{name} is not set")))
        };
        Ok(Self {
            access_key_id: needed("AWS_ACCESS_KEY_ID")?,
            secret_access_key: needed("AWS_SECRET_ACCESS_KEY")?,
            session_token: found("AWS_SESSION_TOKEN"),
        })
    }
}

impl fmt::Debug for S3Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Credentials").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

impl S3Config {
    /// The server at `endpoint`, with the defaults of the other fields; none: AWS.
    pub fn new(endpoint: Option<String>, credentials: S3Credentials) -> Self {
        Self {
            path_style: endpoint.is_some(),
            endpoint,
            region: "us-east-1".to_owned(),
            credentials,
            connect_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(60),
            work_timeout: Duration::from_secs(15 * 60),
            stall_timeout: Duration::from_secs(30),
            copy_bytes_max: 5 * GIB,
        }
    }

    /// From one URL, as databases are named: `https://key:secret@s3.example.org`, with `?region=…` where it is not
    /// `us-east-1`. Credentials that it does not hold come from the environment.
    ///
    /// # Errors
    /// `InvalidInput` for what is not such a URL, and when there are no credentials. No message repeats it.
    pub fn from_url(text: &str) -> Result<Self> {
        let invalid = |what: &str| Error::invalid_input(OPERATION, format!("the store's URL {what}"));
        let url = Url::parse(text).map_err(|_| invalid("is not a URL"))?;
        let host = url.host_str().ok_or_else(|| invalid("has no host"))?;
        let port = url.port().map_or(String::new(), |port| format!(":{port}"));
        let endpoint = format!("{}://{host}{port}{}", url.scheme(), url.path().trim_end_matches('/'));
        let credentials = match (url.username(), url.password()) {
            ("", None) => S3Credentials::from_environment()?,
            (id, Some(secret)) if !id.is_empty() => {
                S3Credentials::new(of_credentials(id), of_credentials(secret))
            }
            _ => return Err(invalid("has half a pair of credentials")),
        };
        let mut config = Self::new(Some(endpoint), credentials);
        for (name, value) in url.query_pairs() {
            match &*name {
                "region" => config.region = value.into_owned(),
                _ => return Err(invalid("has a parameter other than region")),
            }
        }
        config.validate()?;
        Ok(config)
    }

    /// Checks what the SDK would not say clearly.
    ///
    /// # Errors
    /// `InvalidInput` for an endpoint that is no `http` or `https` URL or has credentials in it, an empty region or
    /// access key, a time of zero, and sizes that S3 does not allow.
    pub fn validate(&self) -> Result<()> {
        let invalid = |what: &'static str| Err(Error::invalid_input(OPERATION, what));
        if let Some(endpoint) = &self.endpoint {
            let url = Url::parse(endpoint).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
            let Some(url) = url else { return invalid("the endpoint is not an http or https URL") };
            if !url.username().is_empty() || url.password().is_some() {
                return invalid("the endpoint has credentials in it");
            }
        }
        if self.region.is_empty() {
            return invalid("the region is empty");
        }
        if self.credentials.access_key_id.is_empty() || self.credentials.secret_access_key.is_empty() {
            return invalid("the access key or its secret is empty");
        }
        let times = [self.connect_timeout, self.answer_timeout, self.work_timeout, self.stall_timeout];
        if times.iter().any(Duration::is_zero) {
            return invalid("a timeout is zero");
        }
        if !(5 << 20..=5 * GIB).contains(&self.copy_bytes_max) {
            return invalid("copy_bytes_max is not from 5 MiB to 5 GiB");
        }
        Ok(())
    }

    /// The SDK's client so configured, for what the port does not have, such as making buckets.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn client(&self) -> Result<Client> {
        self.validate()?;
        let S3Credentials { access_key_id, secret_access_key, session_token } = self.credentials.clone();
        let credentials =
            Credentials::new(access_key_id, secret_access_key, session_token, None, "taskqueue");
        let mut builder = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(self.region.clone()))
            .credentials_provider(credentials)
            .force_path_style(self.path_style)
            .http_client(self.http_client())
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().connect_timeout(self.connect_timeout).build())
            // Ours say what stood still, and take a slow source for no fault of the server.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        builder.set_endpoint_url(self.endpoint.clone());
        Ok(Client::from_conf(builder.build()))
    }

    /// Without TLS no certificates are looked for: a machine may have none.
    fn http_client(&self) -> SharedHttpClient {
        let is_plain = self.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http:"));
        if is_plain {
            Builder::new().build_http()
        } else {
            Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_the_server_is_and_who_asks() {
        let config = S3Config::from_url("http://key:a%2Fb+c@127.0.0.1:7480/?region=eu").expect("it is one");
        assert_eq!(config.endpoint.as_deref(), Some("http://127.0.0.1:7480"));
        assert_eq!(config.credentials, S3Credentials::new("key", "a/b+c"));
        assert_eq!((config.region.as_str(), config.path_style), ("eu", true));
    }

    #[test]
    fn no_text_shows_a_secret() {
        let shown = format!("{:?}", S3Config::new(None, S3Credentials::new("key", "hidden")));
        assert!(shown.contains("key") && !shown.contains("hidden"), "{shown}");
        let refused = S3Config::from_url("s3://key:hidden@host").expect_err("no scheme of ours").to_string();
        assert!(!refused.contains("hidden"), "{refused}");
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let ok = S3Config::new(Some("http://host".into()), S3Credentials::new("key", "secret"));
        assert!(ok.validate().is_ok());
        for wrong in [
            S3Config { endpoint: Some("host:80".into()), ..ok.clone() },
            S3Config { endpoint: Some("http://key:secret@host".into()), ..ok.clone() },
            S3Config { region: String::new(), ..ok.clone() },
            S3Config { credentials: S3Credentials::new("key", ""), ..ok.clone() },
            S3Config { stall_timeout: Duration::ZERO, ..ok.clone() },
            S3Config { copy_bytes_max: 1, ..ok },
        ] {
            assert!(wrong.validate().is_err(), "{wrong:?}");
        }
    }
}
