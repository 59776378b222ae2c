//! Where event notifications go: the trait, and the sink that POSTs them.

use std::sync::Arc;

use async_trait::async_trait;
use taskqueue_core::TaskId;

use crate::HandlerError;
use crate::webhook::{Delivery, Endpoint, WebhookSender};

/// One event notification, ready to be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventNotification {
    /// The task's id, the same at every attempt.
    pub id: TaskId,
    /// `{"Records":[…]}` on one line.
    pub json: String,
    /// What the event is about, `bucket/key`: sinks that order keep the order of what has the same subject.
    pub subject: String,
}

impl EventNotification {
    /// The notification of one task.
    pub fn new(id: TaskId, json: impl Into<String>) -> Self {
        Self { id, json: json.into(), subject: String::new() }
    }

    /// Sets what it is about.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = subject.into();
        self
    }
}

/// Where event notifications go.
#[async_trait]
pub trait EventSink: Send + Sync + 'static {
    /// Delivers, and returns once the notification is where it cannot be lost.
    ///
    /// # Errors
    /// Whether another attempt can help is said by the error.
    ///
    /// # Cancel safety
    /// When the future is dropped the notification may or may not have been delivered.
    async fn deliver(&self, notification: &EventNotification) -> Result<(), HandlerError>;
}

#[async_trait]
impl<S: EventSink + ?Sized> EventSink for Arc<S> {
    async fn deliver(&self, notification: &EventNotification) -> Result<(), HandlerError> {
        (**self).deliver(notification).await
    }
}

#[async_trait]
impl<S: EventSink + ?Sized> EventSink for Box<S> {
    async fn deliver(&self, notification: &EventNotification) -> Result<(), HandlerError> {
        (**self).deliver(notification).await
    }
}

/// POSTs each notification to one endpoint; see [`WebhookSender::deliver`].
#[derive(Debug, Clone)]
pub struct WebhookSink {
    sender: WebhookSender,
    endpoint: Endpoint,
}

impl WebhookSink {
    /// A sink that delivers to `endpoint` with `sender`.
    pub fn new(sender: WebhookSender, endpoint: Endpoint) -> Self {
        Self { sender, endpoint }
    }
}

#[async_trait]
impl EventSink for WebhookSink {
    async fn deliver(&self, notification: &EventNotification) -> Result<(), HandlerError> {
        let url = self.endpoint.url().clone();
        self.sender.deliver(Delivery::new(notification.id, url, notification.json.as_str())).await
    }
}
