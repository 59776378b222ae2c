//! What goes wrong with an object store, and whether another attempt can help: the one place that classifies it.

use std::time::Duration;

use crate::HandlerError;

/// A failed operation of an object store. Its text names the operation and the object, and holds no credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    kind: StoreErrorKind,
    message: String,
    code: Option<String>,
    retry_after: Option<Duration>,
}

/// What kind of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// There is no such bucket, object, version or upload.
    NotFound,
    /// The condition did not hold: the object has changed, or is there.
    PreconditionFailed,
    /// The object's state forbids it: archived and not restored, or not archived.
    InvalidState,
    /// The credentials do not allow it.
    Denied,
    /// The request makes no sense to the store.
    Invalid,
    /// The store has no such operation.
    NotSupported,
    /// Too much at once: later.
    Throttled,
    /// Not to be reached, broke off, or failed by itself (5xx).
    Unavailable,
    /// The data that came is not what was announced: too short, or another checksum.
    Corrupt,
}

impl StoreErrorKind {
    /// Whether another attempt can help.
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Throttled | Self::Unavailable | Self::Corrupt)
    }

    /// The kind of an S3 error code, or else of the HTTP status.
    pub fn of_answer(status: u16, code: Option<&str>) -> Self {
        match (code.unwrap_or_default(), status) {
            ("NoSuchBucket" | "NoSuchKey" | "NoSuchVersion" | "NoSuchUpload" | "NotFound", _) => {
                Self::NotFound
            }
            ("PreconditionFailed" | "ConditionalRequestConflict", _) => Self::PreconditionFailed,
            ("InvalidObjectState" | "ObjectNotInActiveTierError" | "MethodNotAllowed", _) => {
                Self::InvalidState
            }
            ("AccessDenied", _) => Self::Denied,
            ("InvalidArgument" | "InvalidRequest" | "MalformedXML" | "KeyTooLongError", _) => Self::Invalid,
            ("NotImplemented", _) => Self::NotSupported,
            (
                "SlowDown"
                | "Throttling"
                | "ThrottlingException"
                | "RequestLimitExceeded"
                | "TooManyRequests",
                _,
            ) => Self::Throttled,
            ("RequestTimeout" | "InternalError" | "ServiceUnavailable" | "OperationAborted", _) => {
                Self::Unavailable
            }
            // Of this worker and this moment, not of the task: another worker, or this one once it is mended, can do it.
            (code, _) if advice(code).is_some() => Self::Unavailable,
            ("BadDigest" | "IncompleteBody" | "XAmzContentSHA256Mismatch", _) => Self::Corrupt,
            (_, 404 | 410) => Self::NotFound,
            (_, 412) => Self::PreconditionFailed,
            (_, 401 | 403) => Self::Denied,
            (_, 405) => Self::InvalidState,
            (_, 501) => Self::NotSupported,
            (_, 429) => Self::Throttled,
            (_, 408 | 409 | 425 | 500..) => Self::Unavailable,
            _ => Self::Invalid,
        }
    }
}

impl StoreError {
    /// A failure.
    pub fn new(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), code: None, retry_after: None }
    }

    /// With the store's own code for it, such as `NoSuchKey`. The text then says what is to be done, where somebody has
    /// to do something.
    #[must_use]
    pub fn with_code(mut self, code: Option<&str>) -> Self {
        self.code = code.map(str::to_owned);
        if let Some(advice) = code.and_then(advice) {
            self.message = format!("{} ({advice})", self.message);
        }
        self
    }

    /// With how long the store asked to wait.
    #[must_use]
    pub fn retry_after(mut self, delay: Option<Duration>) -> Self {
        self.retry_after = delay;
        self
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// The store's own code for it, where it gave one.
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// Whether it says that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        self.kind == StoreErrorKind::NotFound
    }
}

/// What is to be done about a failure of this worker itself.
fn advice(code: &str) -> Option<&'static str> {
    match code {
        "ExpiredToken" => {
            Some("give the worker new credentials and start it again: it reads them when it starts")
        }
        "InvalidAccessKeyId" | "InvalidToken" | "SignatureDoesNotMatch" => Some(
            "give the worker credentials that the store takes and start it again: it reads them when it starts",
        ),
        "AuthorizationHeaderMalformed" | "PermanentRedirect" | "TemporaryRedirect" => {
            Some("give the worker the region and endpoint of the bucket, and start it again")
        }
        "RequestTimeTooSkewed" => Some("set this host's clock: it differs from the store's by too much"),
        _ => None,
    }
}

/// An answer to a look: what is not there is no failure.
pub(crate) fn found<T>(answer: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match answer {
        Err(error) if error.is_not_found() => Ok(None),
        answer => answer.map(Some),
    }
}

impl From<StoreError> for HandlerError {
    fn from(error: StoreError) -> Self {
        match (error.kind.is_transient(), error.retry_after) {
            (true, Some(delay)) => Self::retry_after(error.message, delay),
            (true, None) => Self::transient(error.message),
            (false, _) => Self::permanent(error.message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_later_attempt_can_mend_is_transient_and_nothing_else_is() {
        let transient =
            [(503, Some("SlowDown")), (500, None), (429, None), (408, None), (409, Some("OperationAborted"))];
        let permanent = [
            (404, None),
            (403, Some("AccessDenied")),
            (400, Some("InvalidArgument")),
            (501, None),
            (412, None),
        ];
        for (status, code) in transient {
            assert!(StoreErrorKind::of_answer(status, code).is_transient(), "{status} {code:?}");
        }
        for (status, code) in permanent {
            assert!(!StoreErrorKind::of_answer(status, code).is_transient(), "{status} {code:?}");
        }
    }

    #[test]
    fn what_is_wrong_with_the_worker_passes_and_says_what_is_to_be_done() {
        for (status, code, advice) in [
            (400, "ExpiredToken", "new credentials"),
            (403, "InvalidAccessKeyId", "credentials that the store takes"),
            (400, "InvalidToken", "credentials that the store takes"),
            (403, "SignatureDoesNotMatch", "credentials that the store takes"),
            (400, "AuthorizationHeaderMalformed", "the region and endpoint"),
            (301, "PermanentRedirect", "the region and endpoint"),
            (307, "TemporaryRedirect", "the region and endpoint"),
            (403, "RequestTimeTooSkewed", "this host's clock"),
        ] {
            let error = StoreError::new(StoreErrorKind::of_answer(status, Some(code)), "put b/k: refused");
            let error = error.with_code(Some(code));
            assert!(error.to_string().contains(advice), "{error}");
            assert!(!HandlerError::from(error).is_permanent(), "{code}");
        }
    }

    #[test]
    fn the_code_says_more_than_the_status() {
        assert_eq!(StoreErrorKind::of_answer(403, Some("InvalidObjectState")), StoreErrorKind::InvalidState);
        assert_eq!(StoreErrorKind::of_answer(400, Some("RequestTimeout")), StoreErrorKind::Unavailable);
        assert_eq!(StoreErrorKind::of_answer(404, Some("NoSuchUpload")), StoreErrorKind::NotFound);
    }

    #[test]
    fn a_handler_waits_as_long_as_the_store_asks() {
        let error = StoreError::new(StoreErrorKind::Throttled, "put b/k: slow down");
        let error = HandlerError::from(error.retry_after(Some(Duration::from_secs(7))));
        assert_eq!(error.retry(), taskqueue_core::Retry::After(Duration::from_secs(7)));
    }
}
