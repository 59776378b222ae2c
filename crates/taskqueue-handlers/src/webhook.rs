//! Webhooks: a POST for each task. It owns the two handlers and what they take from a task; how one delivery is
//! made is in `sender`, `client`, `address`, `answer`, `signature` and `redact`.
//!
//! Each delivery has the headers of the Standard Webhooks specification: `webhook-id` (the task's id),
//! `webhook-timestamp` (Unix seconds) and, where there is a secret, `webhook-signature`.
//!
//! **A second run** of the same task POSTs the same body again with the same `webhook-id`: deliveries are at
//! least once, and the receiver drops what it has had by that id.

mod address;
mod answer;
mod client;
mod config;
mod redact;
mod sender;
mod signature;

use std::time::Duration;

use async_trait::async_trait;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use taskqueue_core::payloads::WebhookPayload;
use taskqueue_core::{Outcome, Result, TaskId};
use taskqueue_worker::{Handler, TaskContext, TaskError};

pub use self::address::AddressPolicy;
pub use self::config::{TIMEOUT_DEFAULT, WebhookConfig};
pub use self::sender::{Delivery, Signing, WebhookSender};
pub use self::signature::SigningSecret;
use crate::HandlerError;

/// Delivers tasks of type `webhook`: the URL, the headers and the body are those of a [`WebhookPayload`].
#[derive(Debug, Clone)]
pub struct WebhookHandler {
    sender: WebhookSender,
}

impl WebhookHandler {
    /// A handler that delivers with `sender`.
    pub fn new(sender: WebhookSender) -> Self {
        Self { sender }
    }

    /// Delivers one payload; see [`WebhookSender::deliver`].
    ///
    /// # Errors
    /// As [`WebhookSender::deliver`]; permanent for a malformed URL or header, and for a header that the delivery
    /// sets itself.
    pub async fn deliver(&self, id: TaskId, payload: &WebhookPayload) -> Result<(), HandlerError> {
        let mut delivery = Delivery::new(id, url(&payload.url)?, payload.body.as_str());
        delivery.headers = headers(payload)?;
        delivery.signing = payload.secret_name.clone().map_or(Signing::Default, Signing::Named);
        delivery.timeout = payload.timeout_ms.map(Duration::from_millis);
        self.sender.deliver(delivery).await
    }
}

#[async_trait]
impl Handler for WebhookHandler {
    async fn handle(&self, cx: TaskContext) -> Result<Outcome, TaskError> {
        let payload = cx.decode()?;
        self.deliver(cx.id(), &payload).await?;
        Ok(Outcome::done())
    }
}

/// Delivers tasks of any type to one fixed URL: the body is the task's payload, byte for byte. Two more headers,
/// `taskqueue-type` and `taskqueue-attempt`, say what it is.
#[derive(Debug, Clone)]
pub struct EndpointHandler {
    sender: WebhookSender,
    endpoint: Endpoint,
}

/// A fixed receiver. `Debug` shows only its origin.
#[derive(Clone)]
pub struct Endpoint(Url);

impl Endpoint {
    /// Checks that `text` is an absolute `http` or `https` URL.
    ///
    /// # Errors
    /// `InvalidInput` when it is not. The message does not repeat it, as it may hold a token.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = || {
            taskqueue_core::Error::invalid_input(
                "webhook",
                "the endpoint is not an absolute http or https URL",
            )
        };
        let url = Url::parse(text).map_err(|_| invalid())?;
        if matches!(url.scheme(), "http" | "https") { Ok(Self(url)) } else { Err(invalid()) }
    }

    pub(crate) fn url(&self) -> &Url {
        &self.0
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Endpoint({})", redact::origin(&self.0))
    }
}

impl EndpointHandler {
    /// A handler that delivers to `endpoint` with `sender`.
    pub fn new(sender: WebhookSender, endpoint: Endpoint) -> Self {
        Self { sender, endpoint }
    }
}

#[async_trait]
impl Handler for EndpointHandler {
    async fn handle(&self, cx: TaskContext) -> Result<Outcome, TaskError> {
        let mut delivery = Delivery::new(cx.id(), self.endpoint.url().clone(), cx.payload().as_str());
        let task_type =
            HeaderValue::from_str(cx.task_type().as_str()).expect("task types are printable ASCII");
        delivery.headers.insert("taskqueue-type", task_type);
        delivery.headers.insert("taskqueue-attempt", cx.attempt().into());
        self.sender.deliver(delivery).await?;
        Ok(Outcome::done())
    }
}

fn url(text: &str) -> Result<Url, HandlerError> {
    Url::parse(text).map_err(|error| HandlerError::permanent(format!("webhook URL is not a URL: {error}")))
}

fn headers(payload: &WebhookPayload) -> Result<HeaderMap, HandlerError> {
    let mut headers = HeaderMap::new();
    for (name, value) in payload.headers.iter().flatten() {
        let invalid = || HandlerError::permanent(format!("webhook header {name:?} is malformed"));
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
        let mut value = HeaderValue::from_str(value).map_err(|_| invalid())?;
        value.set_sensitive(true);
        if is_reserved(&name) {
            return Err(HandlerError::permanent(format!("webhook header {name} is set by the delivery")));
        }
        headers.insert(name, value);
    }
    Ok(headers)
}

/// Headers that a payload must not set: they are the delivery's own, or decide where a message ends.
fn is_reserved(name: &HeaderName) -> bool {
    let name = name.as_str();
    let framing =
        ["host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "expect"];
    name.starts_with("webhook-") || framing.contains(&name)
}
