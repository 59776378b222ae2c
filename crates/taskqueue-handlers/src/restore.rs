//! Restores from an archive: an archived object is made readable for some days. It owns the handler and the port that
//! is told how far a restore is; what keeps that is its adapter's affair.
//!
//! Without `transitioned_ref` the store that holds the object is asked to restore it. That takes hours: the task sleeps
//! in the queue meanwhile (it is snoozed, which costs no attempt), and looks again from time to time. A copy that
//! would end too early, of an older request, is asked to stay as long as this one wants. A look that fails transiently
//! after one that did not is put off as well, and costs no attempt, until the tier's longest time has passed since the task
//! was enqueued: a restore takes up to some 190 looks, and has three attempts.
//!
//! With `transitioned_ref` (`bucket/key`) the data is kept by that object of the same store, and is copied to where the
//! object is, in the standard class; together with the completion goes a task `lifecycle` that moves it back to its
//! archive class when the days are over, if it has not changed by then. What the copy replaces is the archived object,
//! or nothing: a condition names the ETag that was seen, or says that there was none, where the store knows conditions;
//! one that does not is asked without, right after the look. An object that is there, is not archived and has other
//! data was written since: it is left alone, and the task fails for good. So does a task with a `version_id` that is not
//! the current version's: a copy could only take the current one's place.
//!
//! A copy says in its metadata ([`RESTORED_UNTIL_KEY`]) until when it stays. A request that wants it for longer writes it
//! anew, and the task that would have moved it back earlier finds it changed; one that wants it for less is told of the
//! later end. Every request enqueues the task that moves the copy back, and they all enqueue the same one.
//!
//! Copies of one object have the same ETag, so of two requests at once no condition keeps the shorter one from writing over
//! the longer one's copy. Each looks at what it wrote, and one that finds an earlier end is tried again and extends it. What
//! remains: a shorter one that writes even after that look, within the moment between its own look and its copy, ends the
//! copy for both.
//!
//! **A second run** of the same task looks first: a restore that is under way is not asked for again, and one that is
//! done is only told of again. A restore that fails in the last attempt of its task is told as failed, whatever the failure;
//! not told is one whose worker died in that attempt, or stopped it for its time. The copy of an earlier run is known by
//! its ETag, or, where the store gave it another one (it was made of other parts, or is encrypted), by its data. Nothing is told by a worker that has lost its lease: what it
//! saw may be older than what was told meanwhile.

mod copy;
mod progress;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Days, Utc};
use taskqueue_core::metrics::Metrics;
use taskqueue_core::payloads::{DEEP_ARCHIVE, GLACIER, LifecyclePayload, RestorePayload, types};
use taskqueue_core::{Clock, NewTask, Outcome, Retry, SystemClock};
use taskqueue_worker::{Handler, TaskContext, TaskError};

pub use self::copy::RESTORED_UNTIL_KEY;
pub use self::progress::{RestoreProgress, RestoreStatus, RestoreStatusStore};
use crate::metrics::HandlerMetrics;
use crate::store::{ObjectInfo, ObjectRef, ObjectStore, RestoreRequest, RestoreStarted, RestoreState};
use crate::{HandlerError, derived};

/// How often a restore is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestorePolling {
    /// The least pause between two looks; default 15 s.
    pub pause_min: Duration,
    /// The longest pause; default 15 min. Between the two it is a tenth of the least time that the tier takes.
    pub pause_max: Duration,
}

impl Default for RestorePolling {
    fn default() -> Self {
        Self { pause_min: Duration::from_secs(15), pause_max: Duration::from_secs(15 * 60) }
    }
}

/// Carries out tasks of type `restore` on an object store.
#[derive(Clone)]
pub struct RestoreHandler {
    store: Arc<dyn ObjectStore>,
    progress: Arc<dyn RestoreStatusStore>,
    polling: RestorePolling,
    clock: Arc<dyn Clock>,
    metrics: HandlerMetrics,
}

/// What one look came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Restored {
    /// It is readable until then; none: for good.
    Readable(Option<DateTime<Utc>>),
    /// It was copied from the archive, and goes back with the task.
    Copied {
        /// When it goes back.
        expires: DateTime<Utc>,
        /// What moves it back.
        back: Box<LifecyclePayload>,
    },
    /// Not yet: to be looked at again after this.
    After(Duration),
}

/// A look, and what is to be told of it.
type Looked = (Restored, RestoreStatus);

impl RestoreHandler {
    /// A handler on `store` that tells `progress`.
    pub fn new(
        store: Arc<dyn ObjectStore>,
        progress: Arc<dyn RestoreStatusStore>,
        metrics: &Metrics,
    ) -> Self {
        Self {
            store,
            progress,
            polling: RestorePolling::default(),
            clock: Arc::new(SystemClock),
            metrics: HandlerMetrics::new(metrics, types::RESTORE),
        }
    }

    /// Sets how often a restore is looked at.
    #[must_use]
    pub fn polling(mut self, polling: RestorePolling) -> Self {
        self.polling = polling;
        self
    }

    /// Sets the clock by which expiry is set; the host's by default.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Looks, and does what is to be done now.
    ///
    /// # Errors
    /// Permanent for days of zero, for a tier that does not restore from the class, for a `transitioned_ref` that is no
    /// `bucket/key`, for an object that is not there, for one that was written anew where a copy is to be, and for a
    /// version that is not the current one there; these are told as failed. Else as the store and the status store say.
    /// A failure that could not be told is tried again as the status store says, and its text names both.
    pub async fn restore(&self, payload: &RestorePayload) -> Result<Restored, HandlerError> {
        let advanced = self.advance(payload).await;
        self.told(payload, advanced, false).await
    }

    async fn advance(&self, payload: &RestorePayload) -> Result<Looked, HandlerError> {
        check(payload)?;
        match &payload.transitioned_ref {
            Some(reference) => {
                let restored = self.copy(payload, reference).await?;
                let is_waiting = matches!(restored, Restored::After(_));
                let status = if is_waiting { RestoreStatus::Ongoing } else { RestoreStatus::Restored };
                Ok((restored, status))
            }
            None => self.ask(payload).await,
        }
    }

    /// Tells what a look came to.
    async fn told(
        &self,
        payload: &RestorePayload,
        advanced: Result<Looked, HandlerError>,
        is_last_attempt: bool,
    ) -> Result<Restored, HandlerError> {
        let (restored, status) = match advanced {
            Ok(looked) => looked,
            Err(error) if is_last_attempt || error.is_permanent() => {
                return Err(self.told_as_failed(payload, error).await);
            }
            Err(error) => return Err(error),
        };
        let (expires, outcome) = match &restored {
            Restored::After(_) => (None, None),
            Restored::Readable(expires) => (*expires, Some("restored")),
            Restored::Copied { expires, .. } => (Some(*expires), Some("copied")),
        };
        self.tell(payload, status, expires).await?;
        if let Some(outcome) = outcome {
            self.metrics.outcome(outcome);
        }
        Ok(restored)
    }

    /// Tells that a restore has failed, and gives the error that its task ends with.
    async fn told_as_failed(&self, payload: &RestorePayload, error: HandlerError) -> HandlerError {
        match self.tell(payload, RestoreStatus::Failed, None).await {
            Ok(()) => {
                self.metrics.outcome("failed");
                error
            }
            // Another attempt, where one is left, tells it.
            Err(untold) => untold.behind(&error),
        }
    }

    async fn ask(&self, payload: &RestorePayload) -> Result<Looked, HandlerError> {
        let object = object(payload);
        let info = self.store.head(&object).await?;
        match info.restore {
            RestoreState::Ongoing => Ok(self.wait(payload, RestoreStatus::Ongoing)),
            RestoreState::Restored { expires } if self.is_long_enough(payload, expires) => {
                Ok((Restored::Readable(expires), RestoreStatus::Restored))
            }
            RestoreState::None if !is_archived(&info) => {
                Ok((Restored::Readable(None), RestoreStatus::Restored))
            }
            RestoreState::None | RestoreState::Restored { .. } => self.begin(payload, &object).await,
        }
    }

    async fn begin(&self, payload: &RestorePayload, object: &ObjectRef) -> Result<Looked, HandlerError> {
        let request = RestoreRequest { days: payload.days, tier: payload.tier };
        match self.store.restore(object, &request).await? {
            RestoreStarted::Accepted => Ok(self.wait(payload, RestoreStatus::Requested)),
            RestoreStarted::InProgress => Ok(self.wait(payload, RestoreStatus::Ongoing)),
            // It stays as long as was asked for now; the store knows until when.
            RestoreStarted::AlreadyRestored => match self.store.head(object).await?.restore {
                RestoreState::Restored { expires } => {
                    Ok((Restored::Readable(expires), RestoreStatus::Restored))
                }
                _ => Ok(self.wait(payload, RestoreStatus::Ongoing)),
            },
        }
    }

    /// Whether a copy stays as long as this request wants, to a day: stores end days at midnight.
    fn is_long_enough(&self, payload: &RestorePayload, expires: Option<DateTime<Utc>>) -> bool {
        let requested = DateTime::<Utc>::from_timestamp_nanos(payload.requested_at);
        let wanted = requested.checked_add_days(Days::new(payload.days.saturating_sub(1).into()));
        expires.zip(wanted).is_none_or(|(expires, wanted)| expires >= wanted)
    }

    fn wait(&self, payload: &RestorePayload, status: RestoreStatus) -> Looked {
        (Restored::After(self.pause(payload)), status)
    }

    fn pause(&self, payload: &RestorePayload) -> Duration {
        let least = payload.tier.takes(&payload.storage_class).map_or(Duration::ZERO, |takes| *takes.start());
        let RestorePolling { pause_min, pause_max } = self.polling;
        (least / 10).max(pause_min).min(pause_max)
    }

    /// Whether a look of this task may fail and cost nothing. One before it was put off, as its claim gave its attempt
    /// back: there are more claims than attempts.
    fn bears_failures(&self, cx: &TaskContext, payload: &RestorePayload) -> bool {
        let longest = payload.tier.takes(&payload.storage_class).map_or(Duration::ZERO, |takes| *takes.end());
        let age = (self.clock.now() - cx.task().created_at).to_std().unwrap_or_default();
        cx.lease_number() > i64::from(cx.attempt()) && age < longest
    }

    fn put_off(&self, payload: &RestorePayload, error: &HandlerError) -> Restored {
        tracing::warn!(key = payload.key, %error, "a look at a restore failed, and is made again later");
        let pause = self.pause(payload);
        Restored::After(match error.retry() {
            Retry::After(delay) => delay.max(pause),
            _ => pause,
        })
    }

    async fn tell(
        &self,
        payload: &RestorePayload,
        status: RestoreStatus,
        expires_at: Option<DateTime<Utc>>,
    ) -> Result<(), HandlerError> {
        let progress = RestoreProgress {
            object_id: payload.object_id,
            request_id: payload.request_id.clone(),
            object: object(payload),
            status,
            expires_at,
            at: self.clock.now(),
        };
        self.progress.record(&progress).await
    }
}

#[async_trait]
impl Handler for RestoreHandler {
    async fn handle(&self, cx: TaskContext) -> Result<Outcome, TaskError> {
        let payload: RestorePayload = cx.decode()?;
        let advanced = self.advance(&payload).await;
        // A worker that was frozen past its lease must not tell of what it saw before: another one may have told of
        // the end.
        cx.heartbeat().await?;
        let bears_failures = self.bears_failures(&cx, &payload);
        let told = self.told(&payload, advanced, cx.is_last_attempt() && !bears_failures).await;
        let restored = match told {
            Err(error) if bears_failures && !error.is_permanent() => self.put_off(&payload, &error),
            told => told?,
        };
        match restored {
            Restored::Readable(_) => Ok(Outcome::done()),
            Restored::After(delay) => Ok(Outcome::Snooze { delay }),
            Restored::Copied { expires, back } => {
                let task = NewTask::new(&*back).map_err(TaskError::permanent)?;
                // Of the copy and its end: all requests that it serves enqueue the same task.
                let etag = back.expected_etag.as_deref().unwrap_or_default();
                let parts = ["back", &back.bucket, &back.key, etag, &expires.to_rfc3339()];
                let id = derived::from_time(back.expected_mod_time.unwrap_or_default(), &parts);
                Ok(Outcome::done().then(task.id(id).scheduled_at(expires)))
            }
        }
    }
}

fn object(payload: &RestorePayload) -> ObjectRef {
    ObjectRef::new(&payload.bucket, &payload.key).version(payload.version_id.clone())
}

fn is_archived(info: &ObjectInfo) -> bool {
    info.attributes.storage_class.as_deref().is_some_and(|class| [GLACIER, DEEP_ARCHIVE].contains(&class))
}

fn check(payload: &RestorePayload) -> Result<(), HandlerError> {
    let RestorePayload { days, tier, storage_class, .. } = payload;
    if *days == 0 {
        return Err(HandlerError::permanent("a restore for 0 days is none"));
    }
    if !tier.is_valid_for(storage_class) {
        let message = format!("tier {} does not restore from {storage_class}", tier.as_str());
        return Err(HandlerError::permanent(message));
    }
    Ok(())
}
