//! The task to be enqueued: its builder, and the limits that it is checked against before any backend sees it.

use std::fmt::Display;
use std::time::Duration;

use chrono::Datelike as _;
use serde::Serialize;

use crate::clock::{DURATION_MAX, truncate};
use crate::control::is_control;
use crate::task::MAX_RETRIES_DEFAULT;
use crate::{Error, Metadata, Payload, Priority, RawPayload, Result, TaskId, TaskType, Timestamp};

/// The longest region, in characters.
pub const REGION_CHARS_MAX: usize = 50;
/// The longest unique key, in bytes.
pub const UNIQUE_KEY_BYTES_MAX: usize = 200;
/// The largest metadata, keys and values added up, in bytes.
pub const METADATA_BYTES_MAX: usize = 16 * 1024;
/// The most attempts a task may ask for.
pub const MAX_RETRIES_MAX: u32 = 1_000_000;
/// The years in which a task may be scheduled: what every engine keeps, and what is read as a time of RFC 3339.
pub const SCHEDULED_YEARS: std::ops::RangeInclusive<i32> = 1..=9_999;
/// The largest payload unless configured otherwise: 1 MiB.
pub const PAYLOAD_BYTES_MAX_DEFAULT: usize = 1024 * 1024;

/// What errors of an enqueue call it.
pub(crate) const OPERATION: &str = "enqueue";

/// When a task is to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Schedule {
    /// As soon as a worker is free.
    #[default]
    Now,
    /// Not before this time. One in the past runs now, ahead of those scheduled after it.
    At(Timestamp),
    /// Not before this long after the enqueue, by the queue's clock.
    After(Duration),
}

/// A task to be enqueued.
///
/// It has its id from the moment that it is made, and a clone has the same one: enqueued twice it is one task, which is what
/// makes it safe to repeat an enqueue whose answer was lost. A template of which several tasks are made is copied with
/// [`copy_with_new_id`](Self::copy_with_new_id).
///
/// ```
/// use std::time::Duration;
/// use taskqueue_core::{NewTask, Priority};
///
/// let task = NewTask::raw("welcome", r#"{"user":7}"#)?
///     .priority(Priority::HIGH)
///     .delay(Duration::from_secs(60))
///     .unique_key(7);
/// assert_eq!(task.task_type.as_str(), "welcome");
/// # Ok::<(), taskqueue_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[must_use = "a task does nothing until it is enqueued"]
pub struct NewTask {
    /// The id; enqueue is idempotent by it.
    pub id: TaskId,
    /// The type.
    pub task_type: TaskType,
    /// The payload.
    pub payload: RawPayload,
    /// How urgent it is.
    pub priority: Priority,
    /// When it is to run.
    pub schedule: Schedule,
    /// How many attempts it may have in total, at least 1.
    pub max_retries: u32,
    /// The key that no other unfinished task of this type may have.
    pub unique_key: Option<String>,
    /// The region that it belongs to.
    pub region: Option<String>,
    /// Trace context and headers.
    pub metadata: Metadata,
    id_is_given: bool,
}

impl NewTask {
    /// A task of the payload's type, with a new id, priority normal, due now, as many attempts as
    /// [`P::MAX_RETRIES`](Payload::MAX_RETRIES) says: three, unless the payload says otherwise.
    ///
    /// # Errors
    /// `InvalidPayload` when the payload has no JSON form.
    pub fn new<P: Payload>(payload: &P) -> Result<Self> {
        const {
            let is_in_range = P::MAX_RETRIES >= 1 && P::MAX_RETRIES <= MAX_RETRIES_MAX;
            assert!(is_in_range, "a Payload's MAX_RETRIES is 1 to 1,000,000");
        }
        let task = Self::of_parts(TaskType::of::<P>()?, RawPayload::encode(payload)?);
        Ok(task.max_retries(P::MAX_RETRIES))
    }

    /// A task of a type and JSON text given by themselves. The text is kept byte for byte.
    ///
    /// # Errors
    /// `InvalidInput` when the type name is not valid; `InvalidPayload` when the text is not JSON.
    pub fn raw(task_type: impl AsRef<str>, json: impl Into<std::sync::Arc<str>>) -> Result<Self> {
        Ok(Self::of_parts(TaskType::new(task_type)?, RawPayload::parse(json)?))
    }

    /// A task of a type and any value that has a JSON form.
    ///
    /// # Errors
    /// As [`NewTask::raw`].
    pub fn json<T: Serialize + ?Sized>(task_type: impl AsRef<str>, value: &T) -> Result<Self> {
        Ok(Self::of_parts(TaskType::new(task_type)?, RawPayload::encode(value)?))
    }

    /// A task of parts that are valid by their types.
    pub fn of_parts(task_type: TaskType, payload: RawPayload) -> Self {
        Self {
            id: TaskId::generate(),
            task_type,
            payload,
            priority: Priority::default(),
            schedule: Schedule::default(),
            max_retries: MAX_RETRIES_DEFAULT,
            unique_key: None,
            region: None,
            metadata: Metadata::new(),
            id_is_given: false,
        }
    }

    /// The same task with a new id: another task, where a clone would be the same one. With a unique key both still have that
    /// key.
    ///
    /// ```
    /// use taskqueue_core::{NewTask, Priority};
    ///
    /// let template = NewTask::raw("poll", "{}")?.priority(Priority::HIGH);
    /// assert_eq!(template.clone().id, template.id, "enqueued twice, this is one task");
    /// assert_ne!(template.copy_with_new_id().id, template.id);
    /// # Ok::<(), taskqueue_core::Error>(())
    /// ```
    pub fn copy_with_new_id(&self) -> Self {
        let id = match &self.unique_key {
            Some(key) => TaskId::for_unique_key(&self.task_type, key),
            None => TaskId::generate(),
        };
        Self { id, id_is_given: false, ..self.clone() }
    }

    /// Whether somebody chose the id.
    pub(crate) fn has_given_id(&self) -> bool {
        self.id_is_given
    }

    /// Sets the id. Enqueuing the same id again changes nothing.
    pub fn id(mut self, id: impl Into<TaskId>) -> Self {
        self.id = id.into();
        self.id_is_given = true;
        self
    }

    /// Sets how urgent it is.
    pub fn priority(mut self, priority: impl Into<Priority>) -> Self {
        self.priority = priority.into();
        self
    }

    /// Runs it not before `time`, truncated to microseconds.
    pub fn scheduled_at(mut self, time: Timestamp) -> Self {
        self.schedule = Schedule::At(truncate(time));
        self
    }

    /// Runs it not before `delay` after the enqueue, by the queue's clock. At most
    /// [`DURATION_MAX`].
    pub fn delay(mut self, delay: Duration) -> Self {
        self.schedule = Schedule::After(delay);
        self
    }

    /// Sets how many attempts it may have in total, the first one included: 1 means that nothing is tried again. Three, the
    /// default, are over after some six seconds by the default retry policy (2 s and 4 s between them).
    pub fn max_retries(mut self, attempts: u32) -> Self {
        self.max_retries = attempts;
        self
    }

    /// Lets no other unfinished task of this type have the same key: enqueue refuses the second one with
    /// `DuplicateUnique`. A finished task never stands in the way.
    pub fn unique_key(mut self, key: impl Display) -> Self {
        let key = key.to_string();
        if !self.id_is_given {
            self.id = self.id.with_unique_key(&self.task_type, &key);
        }
        self.unique_key = Some(key);
        self
    }

    /// Sets the region that it belongs to.
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = Some(region.into());
        self
    }

    /// Adds one entry of metadata.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// Checks the task against the limits; every backend calls this before it does anything.
    ///
    /// # Errors
    /// `InvalidPayload` for a payload over `payload_bytes_max`; `InvalidInput` for any other limit.
    pub fn validate(&self, payload_bytes_max: usize) -> Result<()> {
        let payload_bytes = self.payload.as_str().len();
        if payload_bytes > payload_bytes_max {
            return Err(self.invalid_payload(format!(
                "invalid task payload: {payload_bytes} bytes, more than the limit of {payload_bytes_max}"
            )));
        }
        if self.max_retries == 0 || self.max_retries > MAX_RETRIES_MAX {
            let given = self.max_retries;
            return Err(self.invalid(format!("max_retries {given} is not in 1..={MAX_RETRIES_MAX}")));
        }
        match self.schedule {
            Schedule::At(at) if !SCHEDULED_YEARS.contains(&at.year()) => {
                return Err(self.invalid(format!("scheduled_at {at} is outside the years 1 to 9999")));
            }
            Schedule::After(delay) if delay > DURATION_MAX => {
                let message =
                    format!("delay {delay:?} is longer than the limit of {DURATION_MAX:?}, 1,000 years");
                return Err(self.invalid(message));
            }
            _ => {}
        }
        if let Some(key) = &self.unique_key {
            check_unique_key(OPERATION, &self.task_type, key).map_err(|error| error.task(self.id))?;
        }
        if let Some(region) = &self.region {
            check_region(OPERATION, region)?;
        }
        self.validate_metadata()
    }

    fn validate_metadata(&self) -> Result<()> {
        let bytes: usize = self.metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
        if bytes > METADATA_BYTES_MAX {
            return Err(self.invalid(format!("metadata is {bytes} bytes, more than {METADATA_BYTES_MAX}")));
        }
        Ok(())
    }

    fn invalid(&self, message: String) -> Error {
        Error::invalid_input(OPERATION, format!("{message} (task type {})", self.task_type)).task(self.id)
    }

    fn invalid_payload(&self, message: String) -> Error {
        Error::invalid_payload(OPERATION, format!("{message} (task type {})", self.task_type)).task(self.id)
    }
}

/// Checks a unique key's form, wherever one is given.
///
/// # Errors
/// `InvalidInput` when it is empty, longer than 200 bytes or has a NUL.
pub fn check_unique_key(operation: &'static str, task_type: &TaskType, key: &str) -> Result<()> {
    if (1..=UNIQUE_KEY_BYTES_MAX).contains(&key.len()) && !key.contains('\0') {
        return Ok(());
    }
    let message = format!(
        "unique key is not 1 to {UNIQUE_KEY_BYTES_MAX} bytes without NUL; it has {} (task type {task_type})",
        key.len()
    );
    Err(Error::invalid_input(operation, message))
}

/// Checks a region's form, wherever one is given.
///
/// # Errors
/// `InvalidInput` when it is empty, longer than 50 characters or has a control character, one that turns the direction of text
/// included.
pub fn check_region(operation: &'static str, region: &str) -> Result<()> {
    let chars = region.chars().count();
    let message = match region.chars().find(|c| is_control(*c)) {
        _ if chars == 0 => "region is empty".to_owned(),
        _ if chars > REGION_CHARS_MAX => {
            format!("region has {chars} characters, more than the limit of {REGION_CHARS_MAX}")
        }
        Some(control) => format!("region has a control character, {control:?}"),
        None => return Ok(()),
    };
    Err(Error::invalid_input(operation, message))
}

/// What can be enqueued: a [`NewTask`], or any [`Payload`] by value or by reference.
pub trait IntoTask {
    /// Makes the task.
    ///
    /// # Errors
    /// As [`NewTask::new`].
    fn into_task(self) -> Result<NewTask>;
}

impl IntoTask for NewTask {
    fn into_task(self) -> Result<NewTask> {
        Ok(self)
    }
}

impl<P: Payload> IntoTask for P {
    fn into_task(self) -> Result<NewTask> {
        NewTask::new(&self)
    }
}
