//! Why an attempt failed, and whether it is to be tried again: the error side of every handler.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use taskqueue_core::{Outcome, Retry};

type BoxError = Box<dyn StdError + Send + Sync + 'static>;

/// A failed attempt: the text that is stored, and when to try again. Any error becomes one with `?`, retried by
/// the type's policy; its text is the whole chain of sources, `a: b: c`.
///
/// It does not implement `std::error::Error`, as otherwise `?` could not convert any error into it;
/// [`into_std`](TaskError::into_std) makes an error of it for functions that return `anyhow::Result`, say.
///
/// ```
/// use taskqueue_worker::TaskError;
///
/// async fn parse(text: &str) -> Result<u32, TaskError> {
///     if text.is_empty() {
///         return Err(TaskError::permanent("nothing to parse"));
///     }
///     Ok(text.parse()?) // retried by the policy
/// }
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use = "an error does nothing until it is returned"]
pub struct TaskError {
    text: String,
    retry: Retry,
}

impl TaskError {
    /// An error that no further attempt can mend: the task becomes a dead letter.
    pub fn permanent(error: impl Into<BoxError>) -> Self {
        Self { retry: Retry::Never, ..Self::from(error) }
    }

    /// An error after which the task is tried again when `delay` has passed, if attempts remain.
    pub fn retry_after(error: impl Into<BoxError>, delay: Duration) -> Self {
        Self { retry: Retry::After(delay), ..Self::from(error) }
    }

    /// The same error, permanent.
    pub fn into_permanent(self) -> Self {
        Self { retry: Retry::Never, ..self }
    }

    /// The text that is stored as `last_error`.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// When to try again.
    pub fn retry(&self) -> Retry {
        self.retry
    }

    /// The same as a `std::error::Error`. It keeps its retry decision through any wrapping that keeps sources.
    pub fn into_std(self) -> StdTaskError {
        let hint = match self.retry {
            Retry::ByPolicy => None,
            Retry::After(delay) => Some(RetryHint::After(delay)),
            Retry::Never => Some(RetryHint::Permanent),
        };
        StdTaskError { text: self.text, hint }
    }

    pub(crate) fn into_outcome(self) -> Outcome {
        Outcome::Fail { error: self.text, retry: self.retry }
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<E: Into<BoxError>> From<E> for TaskError {
    fn from(error: E) -> Self {
        let error = error.into();
        let mut text = error.to_string();
        let mut retry = Retry::ByPolicy;
        let mut source = error.source();
        while let Some(cause) = source {
            match cause.downcast_ref::<RetryHint>() {
                Some(hint) => retry = hint.retry(),
                None => append(&mut text, &cause.to_string()),
            }
            source = cause.source();
        }
        if let Some(hint) = error.downcast_ref::<RetryHint>() {
            retry = hint.retry();
        }
        Self { text, retry }
    }
}

/// Adds a cause, unless its parent's message ends with it already, as many error types have it.
fn append(text: &mut String, cause: &str) {
    if !text.ends_with(cause) {
        text.push_str(": ");
        text.push_str(cause);
    }
}

/// A retry decision that an error carries as a source, at any depth: how an error type of your own says which of
/// its kinds are permanent, through `?`, `anyhow` and every other wrapping that keeps sources. It is not part of
/// the stored text.
///
/// ```
/// use taskqueue_worker::{RetryHint, TaskError};
///
/// #[derive(Debug)]
/// enum ImportError {
///     NoSuchBucket,
///     Busy,
/// }
/// impl std::fmt::Display for ImportError {
///     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
///         write!(f, "{self:?}")
///     }
/// }
/// impl std::error::Error for ImportError {
///     fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
///         match self {
///             Self::NoSuchBucket => Some(&RetryHint::Permanent),
///             Self::Busy => None,
///         }
///     }
/// }
///
/// assert_eq!(TaskError::from(ImportError::NoSuchBucket), TaskError::permanent("NoSuchBucket"));
/// assert_eq!(TaskError::from(ImportError::Busy), TaskError::from("Busy"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RetryHint {
    /// No further attempt can mend it.
    Permanent,
    /// Try again after this long.
    After(Duration),
}

impl RetryHint {
    fn retry(self) -> Retry {
        match self {
            Self::Permanent => Retry::Never,
            Self::After(delay) => Retry::After(delay),
        }
    }
}

impl fmt::Display for RetryHint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Permanent => f.write_str("not to be tried again"),
            Self::After(delay) => write!(f, "to be tried again after {delay:?}"),
        }
    }
}

impl StdError for RetryHint {}

/// A [`TaskError`] as a `std::error::Error`.
#[derive(Debug, Clone, PartialEq)]
pub struct StdTaskError {
    text: String,
    hint: Option<RetryHint>,
}

impl fmt::Display for StdTaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for StdTaskError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.hint.as_ref().map(|hint| hint as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Layer(&'static str, Option<Box<Layer>>);

    impl fmt::Display for Layer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl StdError for Layer {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            self.1.as_deref().map(|layer| layer as _)
        }
    }

    #[test]
    fn the_text_is_the_chain_of_sources() {
        let error = Layer("a", Some(Box::new(Layer("b", Some(Box::new(Layer("c", None)))))));
        assert_eq!(TaskError::from(error).text(), "a: b: c");
    }

    #[test]
    fn a_cause_that_its_parent_repeats_is_said_once() {
        let error = Layer("cannot open: no such file", Some(Box::new(Layer("no such file", None))));
        assert_eq!(TaskError::from(error).text(), "cannot open: no such file");
    }

    #[test]
    fn a_retry_decision_survives_anyhow_and_its_contexts() {
        let delay = Duration::from_secs(9);
        let error = anyhow::Error::new(TaskError::retry_after("busy", delay).into_std()).context("importing");
        assert_eq!(TaskError::from(error), TaskError::retry_after("importing: busy", delay));

        let error = anyhow::Error::new(TaskError::permanent("gone").into_std());
        assert_eq!(TaskError::from(error), TaskError::permanent("gone"));
    }

    #[test]
    fn an_error_without_a_decision_is_retried_by_the_policy() {
        assert_eq!(TaskError::from(anyhow::anyhow!("oh")).retry(), Retry::ByPolicy);
        assert_eq!(TaskError::from("oh").into_std().to_string(), "oh");
    }
}
