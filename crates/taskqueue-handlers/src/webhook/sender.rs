//! One delivery: build the request, send it, judge the answer. It knows tasks only by the id it is given.

use std::error::Error as _;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, Url};
use taskqueue_core::{Result, TaskId};

use super::address::AddressRefused;
use super::answer::{Verdict, retry_after};
use super::{SigningSecret, WebhookConfig, client, redact};
use crate::HandlerError;

/// One body for one URL. `Debug` shows neither headers nor body, and of the URL only its origin.
#[derive(Clone)]
#[non_exhaustive]
pub struct Delivery {
    /// Sent as `webhook-id`, the same at every attempt: a receiver drops a second delivery by it.
    pub id: TaskId,
    /// Where to.
    pub url: Url,
    /// Headers beside those that every delivery has; a `content-type` replaces `application/json`.
    pub headers: HeaderMap,
    /// Sent byte for byte.
    pub body: Vec<u8>,
    /// Which secret signs it.
    pub signing: Signing,
    /// How long it may take, if that is less than the sender's timeout.
    pub timeout: Option<Duration>,
}

/// Which secret signs a delivery.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Signing {
    /// The sender's default, if it has one.
    #[default]
    Default,
    /// The sender's secret of this name; the delivery fails for good where there is none.
    Named(String),
    /// This one.
    Secret(SigningSecret),
}

impl Delivery {
    /// A delivery without headers of its own, signed by the sender's default secret.
    pub fn new(id: TaskId, url: Url, body: impl Into<Vec<u8>>) -> Self {
        Self {
            id,
            url,
            headers: HeaderMap::new(),
            body: body.into(),
            signing: Signing::Default,
            timeout: None,
        }
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("id", &self.id)
            .field("origin", &redact::origin(&self.url))
            .field("body_bytes", &self.body.len())
            .field("signing", &self.signing)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Delivers webhooks. Cheap to clone; clones share their connections.
///
/// Each delivery is one POST with the headers of the Standard Webhooks specification. Redirects and proxies are
/// not followed, and only allowed addresses are connected to.
#[derive(Debug, Clone)]
pub struct WebhookSender {
    client: Client,
    config: WebhookConfig,
}

impl WebhookSender {
    /// A sender with this configuration.
    ///
    /// # Errors
    /// As [`WebhookConfig::validate`], and `Backend` when TLS cannot be set up.
    pub fn new(config: WebhookConfig) -> Result<Self> {
        config.validate()?;
        Ok(Self { client: client::build(&config)?, config })
    }

    /// Delivers, and returns once the receiver has answered 2xx.
    ///
    /// # Errors
    /// Permanent for any 4xx but 408, 425 and 429, for a URL or an address that is refused, and for a secret that
    /// is not known; any other is worth another attempt, after the answer's `Retry-After` if it has one.
    ///
    /// # Cancel safety
    /// When the future is dropped the receiver may or may not have got the body.
    pub async fn deliver(&self, delivery: Delivery) -> Result<(), HandlerError> {
        self.check_url(&delivery.url)?;
        let origin = redact::origin(&delivery.url);
        let timeout = delivery.timeout.unwrap_or(self.config.timeout).min(self.config.timeout);
        let headers = self.headers(&delivery)?;
        let request = self.client.post(delivery.url.clone()).headers(headers.clone());
        let request = request.timeout(timeout).body(delivery.body);
        let response = request.send().await.map_err(|error| not_sent(&origin, &error, timeout))?;
        self.judge(&delivery.url, response, &headers).await
    }

    /// A host that is an address is never resolved, so it is checked here; names are checked as they resolve.
    fn check_url(&self, url: &Url) -> Result<(), HandlerError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(HandlerError::permanent(format!(
                "webhook URL has the scheme {:?}, not http or https",
                url.scheme()
            )));
        }
        let host = url.host_str().unwrap_or_default();
        let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
        match address {
            Some(address) if !self.config.addresses.allows(address) => {
                Err(refused(&redact::origin(url), "the address is not public"))
            }
            _ => Ok(()),
        }
    }

    fn headers(&self, delivery: &Delivery) -> Result<HeaderMap, HandlerError> {
        let id = delivery.id.to_string();
        let seconds = self.config.clock.now().timestamp();
        let mut headers = delivery.headers.clone();
        headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        if let Some(secret) = self.secret(&delivery.signing)? {
            headers.insert("webhook-signature", ascii(&secret.sign(&id, seconds, &delivery.body)));
        }
        headers.insert("webhook-id", ascii(&id));
        headers.insert("webhook-timestamp", seconds.into());
        Ok(headers)
    }

    fn secret<'a>(&'a self, signing: &'a Signing) -> Result<Option<&'a SigningSecret>, HandlerError> {
        match signing {
            Signing::Default => Ok(self.config.secret.as_ref()),
            Signing::Secret(secret) => Ok(Some(secret)),
            Signing::Named(name) => self.config.named_secrets.get(name).map(Some).ok_or_else(|| {
                HandlerError::permanent(format!("this worker has no signing secret named {name:?}"))
            }),
        }
    }

    async fn judge(&self, url: &Url, mut response: Response, sent: &HeaderMap) -> Result<(), HandlerError> {
        let status = response.status();
        let wait = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| retry_after(value, self.config.clock.now(), self.config.retry_after_max));
        // Also after a 2xx: a body that was read to its end leaves the connection for the next delivery.
        let body = read_bounded(&mut response, self.config.response_bytes_max).await;
        let message = || {
            let excerpt = redact::excerpt(&body, sent, url);
            let excerpt = if excerpt.is_empty() { excerpt } else { format!(": {excerpt}") };
            format!("POST to {} was answered {status}{excerpt}", redact::origin(url))
        };
        match (Verdict::of(status), wait) {
            (Verdict::Delivered, _) => Ok(()),
            (Verdict::Never, _) => Err(HandlerError::permanent(message())),
            (Verdict::Again, Some(wait)) => Err(HandlerError::retry_after(message(), wait)),
            (Verdict::Again, None) => Err(HandlerError::transient(message())),
        }
    }
}

/// At most `most` bytes of a body. The status has decided already, so an answer that breaks off is no error.
async fn read_bounded(response: &mut Response, most: usize) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < most
        && let Ok(Some(chunk)) = response.chunk().await
    {
        body.extend_from_slice(&chunk[..chunk.len().min(most - body.len())]);
    }
    body
}

fn not_sent(origin: &str, error: &reqwest::Error, timeout: Duration) -> HandlerError {
    if causes(error).any(|cause| cause.is::<AddressRefused>()) {
        return refused(origin, &AddressRefused.to_string());
    }
    if error.is_timeout() {
        return HandlerError::transient(format!("POST to {origin} was not answered within {timeout:?}"));
    }
    if error.is_builder() {
        return HandlerError::permanent(format!("POST to {origin} cannot be built"));
    }
    // The outer text repeats the whole URL; the innermost cause (refused, reset, no such host) says enough.
    let cause = causes(error).last().map_or_else(|| "connection failed".to_owned(), ToString::to_string);
    HandlerError::transient(format!("POST to {origin} failed: {cause}"))
}

fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    let mut next = error.source();
    std::iter::from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause)
    })
}

fn refused(origin: &str, why: &str) -> HandlerError {
    HandlerError::permanent(format!("POST to {origin} is refused: {why}"))
}

fn ascii(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("ids and signatures are printable ASCII")
}
