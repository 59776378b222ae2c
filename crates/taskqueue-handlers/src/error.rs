//! Why a delivery or a command failed, and whether another attempt can help. It knows no handler.

use std::time::Duration;

use taskqueue_core::Retry;
use taskqueue_worker::RetryHint;

/// A failed attempt of a ready-made handler. Through `?` it becomes a `TaskError` that keeps its retry decision.
/// Its text holds no secret: no signing secret, no header value, and of a URL only scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct HandlerError {
    message: String,
    #[source]
    hint: Option<RetryHint>,
}

impl HandlerError {
    /// Another attempt can help; the retry policy says when.
    pub fn transient(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    /// Another attempt can help after `delay`.
    pub fn retry_after(message: impl Into<String>, delay: Duration) -> Self {
        Self { message: message.into(), hint: Some(RetryHint::After(delay)) }
    }

    /// No other attempt can help.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: Some(RetryHint::Permanent) }
    }

    /// This failure, which came behind another one and is not to hide it.
    pub(crate) fn behind(self, first: &Self) -> Self {
        Self { message: format!("{first}; then: {}", self.message), ..self }
    }

    /// When another attempt follows, if attempts remain.
    pub fn retry(&self) -> Retry {
        match self.hint {
            None => Retry::ByPolicy,
            Some(RetryHint::After(delay)) => Retry::After(delay),
            Some(_) => Retry::Never,
        }
    }

    /// Whether no other attempt can help.
    pub fn is_permanent(&self) -> bool {
        self.retry() == Retry::Never
    }
}
