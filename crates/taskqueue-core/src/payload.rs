//! Payloads: JSON text that comes back byte for byte, and the trait that gives it a type.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::{Error, MAX_RETRIES_DEFAULT, Result};

/// A typed payload: what is enqueued, and what a handler of this type receives.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use taskqueue_core::Payload;
///
/// #[derive(Serialize, Deserialize)]
/// struct Welcome {
///     user: u64,
/// }
/// impl Payload for Welcome {
///     const TYPE: &'static str = "welcome";
/// }
/// ```
pub trait Payload: Serialize {
    /// The task type: 1 to 64 characters of `[a-z0-9_.:-]`. It is stored with each task, so it must not
    /// change while tasks of it exist. Another form does not build once the payload is enqueued or handled somewhere:
    ///
    /// ```compile_fail
    /// use taskqueue_core::{NewTask, Payload};
    ///
    /// #[derive(serde::Serialize)]
    /// struct Welcome {}
    /// impl Payload for Welcome {
    ///     const TYPE: &'static str = "Welcome"; // an upper-case letter
    /// }
    /// NewTask::new(&Welcome {});
    /// ```
    const TYPE: &'static str;

    /// How many attempts a task of this type has in total, the first one included, unless it
    /// [says otherwise](crate::NewTask::max_retries): 1 to 1,000,000. Default: 3. Another number does not build once a task is made
    /// of the payload:
    ///
    /// ```compile_fail
    /// use taskqueue_core::{NewTask, Payload};
    ///
    /// #[derive(serde::Serialize)]
    /// struct Welcome {}
    /// impl Payload for Welcome {
    ///     const TYPE: &'static str = "welcome";
    ///     const MAX_RETRIES: u32 = 0;
    /// }
    /// NewTask::new(&Welcome {});
    /// ```
    const MAX_RETRIES: u32 = MAX_RETRIES_DEFAULT;
}

impl<P: Payload> Payload for &P {
    const TYPE: &'static str = P::TYPE;
    const MAX_RETRIES: u32 = P::MAX_RETRIES;
}

/// JSON text. Valid by construction, unless a program stored it by SQL of its own; the text that went in comes back byte for byte.
/// Cheap to clone. Its `Debug` form, and with it that of a task and of a claim, tells only how long it is: it may be large, and
/// nobody's business.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RawPayload(Arc<str>);

impl RawPayload {
    /// Checks that `json` is one JSON value and keeps its text as it is.
    ///
    /// # Errors
    /// `InvalidPayload`, with the line and column at which it stops being JSON.
    pub fn parse(json: impl Into<Arc<str>>) -> Result<Self> {
        let json = json.into();
        serde_json::from_str::<&RawValue>(&json).map_err(|source| {
            Error::invalid_payload("payload", format!("invalid task payload: not JSON: {source}"))
        })?;
        Ok(Self(json))
    }

    /// Serializes a value (`MarshalPayload`).
    ///
    /// # Errors
    /// `InvalidPayload` when the value has no JSON form (a map whose keys are not strings, say).
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Self> {
        let json = serde_json::to_string(value).map_err(|source| {
            Error::invalid_payload("payload", format!("invalid task payload: no JSON form: {source}"))
        })?;
        Ok(Self(json.into()))
    }

    /// Text that a backend has stored; it is not checked again. A producer that writes rows by itself may have stored what is
    /// not JSON.
    pub fn from_stored(json: impl Into<Arc<str>>) -> Self {
        Self(json.into())
    }

    /// Deserializes the text (`UnmarshalPayload`).
    ///
    /// # Errors
    /// `InvalidPayload` when the text is not the JSON form of a `T`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.0)
            .map_err(|source| Error::invalid_payload("payload", format!("invalid task payload: {source}")))
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RawPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawPayload({} bytes)", self.0.len())
    }
}

/// Stored text that is not JSON, as a producer's own INSERT may leave it, becomes a JSON string: one such row must not keep
/// a listing from being written.
impl Serialize for RawPayload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serde_json::from_str::<&RawValue>(&self.0) {
            Ok(raw) => raw.serialize(serializer),
            Err(_) => self.0.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for RawPayload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Ok(Self(raw.get().into()))
    }
}
