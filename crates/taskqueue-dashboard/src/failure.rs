//! Why a request was not answered: a status, a kind for programs, and a text for people. It owns what is told of an error
//! of the queue; it knows no page.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use taskqueue_core::{Error, ErrorKind};

/// Why a request was not answered. It travels in a response's extensions to where it is written as a page or as JSON.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Failure {
    #[serde(skip)]
    pub(crate) status: StatusCode,
    /// For programs.
    pub(crate) kind: &'static str,
    /// For people.
    pub(crate) text: String,
}

impl Failure {
    /// A failure of the dashboard's own.
    pub(crate) fn new(status: StatusCode, kind: &'static str, text: impl Into<String>) -> Self {
        Self { status, kind, text: text.into() }
    }

    /// What is told of an error of the queue. What the database said may name hosts and users: that goes to the log.
    pub(crate) fn of_queue(error: &Error) -> Self {
        let (status, kind) = class(error.kind());
        match error.kind() {
            // These say only what the request itself brought.
            ErrorKind::InvalidInput | ErrorKind::TaskNotFound => Self::new(status, kind, error.to_string()),
            _ => {
                tracing::warn!(%error, operation = error.operation(), "the dashboard's query failed");
                Self::new(status, kind, told(error.kind()))
            }
        }
    }

    /// The database took too long.
    pub(crate) fn too_slow(limit: Duration) -> Self {
        let text = format!("the database did not answer within {}; nothing is known of it", seconds(limit));
        Self::new(StatusCode::GATEWAY_TIMEOUT, "too_slow", text)
    }

    /// No question could be begun.
    pub(crate) fn busy(limit: Duration) -> Self {
        let text = format!("earlier queries were still under way after {}; nothing was done", seconds(limit));
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", text)
    }

    /// A question ended without an answer: the queue panicked, or the service is stopping.
    pub(crate) fn broken() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "backend", told(ErrorKind::Backend))
    }

    /// The task is not in a state in which this can be done.
    pub(crate) fn conflict(text: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", text)
    }

    /// The request makes no sense.
    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_input", text)
    }

    /// There is no such page.
    pub(crate) fn no_page() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "there is no such page")
    }

    /// What a status says of a request that was refused before the dashboard saw it.
    pub(crate) fn of_status(status: StatusCode) -> Option<Self> {
        match status {
            StatusCode::PAYLOAD_TOO_LARGE => {
                Some(Self::new(status, "too_large", "the request's body is longer than 64 KiB"))
            }
            _ if status.is_client_error() => Some(Self::new(
                status,
                "invalid_input",
                "the request cannot be read: its path or its body is wrong",
            )),
            _ => None,
        }
    }

    /// Whether the others of a batch would fail as well.
    pub(crate) fn is_of_the_database(&self) -> bool {
        self.status.is_server_error()
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::of_queue(&error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

fn class(kind: ErrorKind) -> (StatusCode, &'static str) {
    match kind {
        ErrorKind::InvalidInput => (StatusCode::BAD_REQUEST, "invalid_input"),
        ErrorKind::TaskNotFound => (StatusCode::NOT_FOUND, "task_not_found"),
        ErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        ErrorKind::QueueClosed => (StatusCode::SERVICE_UNAVAILABLE, "queue_closed"),
        ErrorKind::NotMigrated => (StatusCode::SERVICE_UNAVAILABLE, "not_migrated"),
        ErrorKind::DatabaseNotFound => (StatusCode::SERVICE_UNAVAILABLE, "database_not_found"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "backend"),
    }
}

fn told(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Unavailable => "the database cannot be reached, or is busy or not writable now",
        ErrorKind::QueueClosed => "the queue was closed: the service is stopping",
        ErrorKind::NotMigrated => "the queue's tables are not there, or are another version's: migrate first",
        ErrorKind::DatabaseNotFound => "the server has no such database",
        _ => "the database failed or refused; the service's log has its words",
    }
}

/// A limit in words. Those of a user are whole seconds; a test's may be shorter.
fn seconds(limit: Duration) -> String {
    format!("{} s", limit.as_secs_f64())
}
