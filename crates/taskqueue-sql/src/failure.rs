//! What can go wrong below a queue's call, before it has an operation's name. It knows no driver: a backend's
//! `error.rs` makes these of what its driver says.

use std::borrow::Cow;
use std::fmt::Display;

use taskqueue_core::{Claim, Error, ErrorKind};

type Source = Box<dyn std::error::Error + Send + Sync + 'static>;

/// What a call says that others were in the way of.
const LOCKED: &str = "the database is locked by others; trying again later can help";

/// The result of one attempt at a transaction.
pub type Attempt<T> = Result<T, Failure>;

/// Why an attempt at a transaction failed.
#[derive(Debug)]
pub enum Failure {
    /// Others were in the way (a deadlock, a serialization failure, a lock timeout): the transaction is repeated,
    /// and if that does not help the call fails as `Unavailable`.
    Contention {
        /// What the driver said, if it was the driver.
        source: Option<Source>,
    },
    /// The same, of a lock that others hold for longer than a statement waits: to repeat it may take as long again.
    LockWait {
        /// What the driver said.
        source: Source,
    },
    /// The database failed.
    Database {
        /// The kind of the error that the caller gets. `Unavailable` is transient.
        kind: ErrorKind,
        /// What happened and, where it can be said, what to do about it.
        message: Cow<'static, str>,
        /// What the driver said.
        source: Option<Source>,
    },
    /// The call itself was refused.
    Refused(Error),
    /// A claim failed after a part of it was committed by itself. That part is answered, and the connection is not relied on.
    Partly(Vec<Claim>),
}

impl Failure {
    /// A stored value that no version of this crate writes.
    pub fn malformed(message: String) -> Self {
        Self::Database { kind: ErrorKind::Backend, message: message.into(), source: None }
    }

    /// What a migration meets where the application has a table of a name of the queue's.
    pub fn table_of_others(table: &str) -> Self {
        let message = format!(
            "the table {table} is there and is no queue's: give the queue another one (`table` of its settings, --table of the program)"
        );
        Self::Database { kind: ErrorKind::Backend, message: message.into(), source: None }
    }

    /// What a dead letter says that a claim has made of a task because this is all it could read of it. Logged as an error.
    pub fn of_unreadable_task(self, task: impl Display) -> String {
        let error = self.into_error("dequeue");
        tracing::error!(%task, %error, "a task cannot be read, and becomes a dead letter");
        error.to_string()
    }

    /// Whether repeating the transaction at once can help.
    pub fn is_contention(&self) -> bool {
        matches!(self, Self::Contention { .. } | Self::LockWait { .. })
    }

    /// Whether it has waited for a lock as long as a statement may.
    pub(crate) fn is_lock_wait(&self) -> bool {
        matches!(self, Self::LockWait { .. })
    }

    /// The same in a transaction of the caller's, which nobody can repeat but the caller.
    #[must_use]
    pub(crate) fn of_callers(self) -> Self {
        let source = match self {
            Self::Contention { source } => source,
            Self::LockWait { source } => Some(source),
            other => return other,
        };
        let message = "others were in the way: roll back, and repeat it all in a new transaction";
        Self::Database { kind: ErrorKind::Unavailable, message: message.into(), source }
    }

    /// The error of the operation that failed.
    pub fn into_error(self, operation: &'static str) -> Error {
        let (kind, message, source) = match self {
            Self::Refused(error) => return error,
            Self::Partly(_) => (ErrorKind::Unavailable, "the claim was cut short".into(), None),
            Self::Contention { source } => (ErrorKind::Unavailable, LOCKED.into(), source),
            Self::LockWait { source } => (ErrorKind::Unavailable, LOCKED.into(), Some(source)),
            Self::Database { kind, message, source } => (kind, message, source),
        };
        let error = Error::new(kind, operation, message);
        match source {
            Some(source) => error.with_source(source),
            None => error,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}
