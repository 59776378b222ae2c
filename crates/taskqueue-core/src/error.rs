//! The one public error. It owns the kinds that callers match on; it knows no database driver.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::TaskId;

/// What every fallible call of this project returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn std::error::Error + Send + Sync + 'static>;
type SharedSource = Arc<dyn std::error::Error + Send + Sync + 'static>;

/// What went wrong, in the terms a caller can act on. Match on this, never on a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No task has this id.
    TaskNotFound,
    /// The queue holds as many unfinished tasks as its capacity allows.
    QueueFull,
    /// The queue was closed; no call on it can succeed again.
    QueueClosed,
    /// The payload is not JSON, is too large, or is not what its type expects.
    InvalidPayload,
    /// The task has used up its attempts, or its workers died too often. Part of the vocabulary; no call returns it.
    MaxRetriesExceeded,
    /// The lease is no longer the live one: the task was reclaimed, cancelled or settled otherwise.
    LeaseLost,
    /// An argument is outside what the call accepts; nothing reached the database.
    InvalidInput,
    /// An unfinished task of the same type holds this unique key.
    DuplicateUnique,
    /// The database could not be reached or is not writable now.
    Unavailable,
    /// The server has no database of this name.
    DatabaseNotFound,
    /// The queue's tables are not there, or are another version's: migrate first.
    NotMigrated,
    /// The database refused or failed in another way.
    Backend,
}

impl ErrorKind {
    /// Its name, as for a log's field or a label: `task_not_found`, `lease_lost`, ….
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TaskNotFound => "task_not_found",
            Self::QueueFull => "queue_full",
            Self::QueueClosed => "queue_closed",
            Self::InvalidPayload => "invalid_payload",
            Self::MaxRetriesExceeded => "max_retries_exceeded",
            Self::LeaseLost => "lease_lost",
            Self::InvalidInput => "invalid_input",
            Self::DuplicateUnique => "duplicate_unique",
            Self::Unavailable => "unavailable",
            Self::DatabaseNotFound => "database_not_found",
            Self::NotMigrated => "not_migrated",
            Self::Backend => "backend",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A failed call. It left the queue as it was (or, when a commit's reply was lost, in a state in which
/// repeating the call is safe), and [`is_transient`](Error::is_transient) says whether trying again can help.
///
/// ```
/// use taskqueue_core::{ErrorKind, NewTask, Queue, Result, TaskId};
///
/// /// The id of the task that does this, whoever has enqueued it; `None`: not now.
/// async fn enqueue_once(queue: &impl Queue, task: NewTask) -> Result<Option<TaskId>> {
///     match queue.enqueue(task).await {
///         Ok(id) => Ok(Some(id)),
///         Err(error) if error.kind() == ErrorKind::DuplicateUnique => Ok(error.task_id()),
///         Err(error) if error.is_transient() => Ok(None),
///         Err(error) => Err(error),
///     }
/// }
/// ```
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}{message}", before(.operation, .message))]
pub struct Error {
    kind: ErrorKind,
    operation: &'static str,
    message: Cow<'static, str>,
    transient: bool,
    task_id: Option<TaskId>,
    #[source]
    source: Option<SharedSource>,
}

impl Error {
    /// An error of `kind` in `operation` (a verb of the vocabulary: `enqueue`, `dequeue`, `settle`, …).
    /// `Unavailable` is transient, every other kind is not, until [`transient`](Error::transient) says otherwise.
    pub fn new(kind: ErrorKind, operation: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            operation,
            message: message.into(),
            transient: kind == ErrorKind::Unavailable,
            task_id: None,
            source: None,
        }
    }

    /// An argument that the call does not accept.
    pub fn invalid_input(operation: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::InvalidInput, operation, message)
    }

    /// A payload that the call does not accept.
    pub fn invalid_payload(operation: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::InvalidPayload, operation, message)
    }

    /// No task has this id.
    pub fn task_not_found(operation: &'static str, id: TaskId) -> Self {
        Self::new(ErrorKind::TaskNotFound, operation, format!("task not found: {id}")).task(id)
    }

    /// The lease of this task is no longer the live one.
    pub fn lease_lost(operation: &'static str, id: TaskId) -> Self {
        Self::new(ErrorKind::LeaseLost, operation, format!("the lease of task {id} is no longer live"))
            .task(id)
    }

    /// Another session has locked this task. Transient: its transaction ends.
    pub fn task_locked(operation: &'static str, id: TaskId) -> Self {
        Self::new(ErrorKind::Unavailable, operation, format!("task {id} is locked by another session"))
            .task(id)
    }

    /// The queue was closed.
    pub fn closed(operation: &'static str) -> Self {
        Self::new(ErrorKind::QueueClosed, operation, "task queue is closed")
    }

    /// The queue is at its capacity of `capacity` unfinished tasks. Transient: workers make room.
    pub fn full(operation: &'static str, capacity: usize) -> Self {
        let message = format!("task queue is full: it holds {capacity} unfinished tasks");
        Self::new(ErrorKind::QueueFull, operation, message).transient(true)
    }

    /// An unfinished task, `existing`, holds the unique key.
    pub fn duplicate_unique(operation: &'static str, existing: TaskId) -> Self {
        let message = format!("an unfinished task holds this unique key: {existing}");
        Self::new(ErrorKind::DuplicateUnique, operation, message).task(existing)
    }

    /// Says whether trying the same call again can help.
    #[must_use]
    pub fn transient(mut self, transient: bool) -> Self {
        self.transient = transient;
        self
    }

    /// Names the task that the error is about.
    #[must_use]
    pub fn task(mut self, id: TaskId) -> Self {
        self.task_id = Some(id);
        self
    }

    /// Keeps the underlying error as the source. It must hold no secret (a database URL with a password).
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.source = Some(Arc::from(source.into()));
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The verb that failed.
    pub fn operation(&self) -> &'static str {
        self.operation
    }

    /// Whether trying the same call again can help.
    pub fn is_transient(&self) -> bool {
        self.transient
    }

    /// The task that the error is about: the missing one, the one whose lease was lost, or the one that
    /// holds the unique key.
    pub fn task_id(&self) -> Option<TaskId> {
        self.task_id
    }
}

/// What stands before an error's message: the operation, unless the message begins with the same words.
fn before(operation: &str, message: &str) -> String {
    let is_said = message
        .strip_prefix(operation)
        .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'));
    if is_said { String::new() } else { format!("{operation}: ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_its_operation_once() {
        let shown = |operation, message: &'static str| Error::invalid_input(operation, message).to_string();
        assert_eq!(shown("enqueue", "no task"), "enqueue: no task");
        assert_eq!(shown("worker", "worker: visibility timeout 0ns"), "worker: visibility timeout 0ns");
        assert_eq!(shown("status", "status \"foo\" is none"), "status \"foo\" is none");
        assert_eq!(shown("settle", "settlements are too many"), "settle: settlements are too many");
        assert_eq!(shown("task", "task_type is empty"), "task: task_type is empty");
    }
}
