//! Settling: what a worker says became of a claim, and the pure decision of what the row becomes.
//! Backends apply a [`Transition`]; none of them decides about retries.

use std::time::Duration;

use foldhash::{HashSet, HashSetExt as _};

use crate::clock::DURATION_MAX;
use crate::{Error, IntoTask, Lease, NewTask, Result, RetryPolicy, State, batches};

/// The longest error text that is kept, in bytes; the rest is cut off and marked so.
pub const LAST_ERROR_BYTES_MAX: usize = 8 * 1024;

const TOO_LATE: &str =
    "follow-up task of an outcome that is settled already: enqueue it in the transaction that completes";
const NO_COMPLETION: &str =
    "follow-up task of an outcome that is no completion: nothing follows a task that is not done";

/// What became of a claim.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[must_use = "an outcome does nothing until it is returned or settled"]
pub enum Outcome {
    /// It is finished. The follow-up tasks are enqueued in the same transaction, or neither happens; one whose
    /// id or unique key is taken already is passed over.
    Complete {
        /// Tasks to enqueue with the completion.
        follow_ups: Vec<NewTask>,
    },
    /// The attempt failed. Retried while attempts remain, else dead letter.
    Fail {
        /// What went wrong.
        error: String,
        /// When to try again.
        retry: Retry,
    },
    /// Not now: run it again after `delay`. The attempt is given back.
    Snooze {
        /// How long to wait.
        delay: Duration,
    },
    /// It was not started: anyone may claim it at once. The attempt is given back.
    Release,
    /// A worker's handler has completed it itself, in a transaction of its own: nothing is left to be settled. No queue
    /// takes this outcome; it ends at the worker.
    Settled,
}

impl Outcome {
    /// Finished.
    pub fn done() -> Self {
        Self::Complete { follow_ups: Vec::new() }
    }

    /// Finished, and completed by the handler itself: with the task's lease (`TaskContext::lease` of the worker), in a
    /// transaction of its own that is committed by now (`complete_in` of the SQL backends). What the handler wrote and
    /// the completion are then there together, or neither is.
    ///
    /// The worker settles nothing and counts one completion on the handler's word. Where the transaction was not committed, the task's
    /// lease ends, and it is handled again.
    pub fn settled() -> Self {
        Self::Settled
    }

    /// Adds a follow-up task to a completion: it is enqueued in the same transaction, or neither happens. Each needs an id of
    /// its own: a clone of a [`NewTask`] is the same task ([`NewTask::copy_with_new_id`] makes another one of it).
    ///
    /// What cannot be done turns the outcome into a permanent failure that says so, as nothing is lost silently: a payload
    /// that has no JSON form; a clone of a follow-up that is there already, unless its id was given; a follow-up of
    /// [`settled`](Self::settled), which would come too late: enqueue it in the transaction; one of a snooze or a release, after
    /// which nothing follows. A failure stays what it is, with its retry; its text says that the follow-up was not enqueued,
    /// unless it is permanent.
    ///
    /// ```
    /// use taskqueue_core::{NewTask, Outcome};
    ///
    /// # fn main() -> taskqueue_core::Result<()> {
    /// let outcome = Outcome::done().then(NewTask::raw("import", r#"{"page":2}"#)?);
    /// assert!(matches!(outcome, Outcome::Complete { follow_ups } if follow_ups.len() == 1));
    /// # Ok(())
    /// # }
    /// ```
    pub fn then(mut self, task: impl IntoTask) -> Self {
        match &mut self {
            Self::Complete { follow_ups } => match task.into_task() {
                Ok(task) if is_clone(&task, follow_ups) => return Self::permanent(clones(&task)),
                Ok(task) => follow_ups.push(task),
                Err(error) => return Self::permanent(format!("follow-up task: {error}")),
            },
            Self::Fail { retry: Retry::Never, .. } => {}
            Self::Fail { error, .. } if error.ends_with(NO_COMPLETION) => {}
            Self::Fail { error, .. } => *error = format!("{error}; {NO_COMPLETION}"),
            Self::Snooze { .. } | Self::Release => return Self::permanent(NO_COMPLETION),
            Self::Settled => return Self::permanent(TOO_LATE),
        }
        self
    }

    /// Not now: again after `delay`, with the attempt given back.
    pub fn snooze(delay: Duration) -> Self {
        Self::Snooze { delay }
    }

    /// Failed; retried by the queue's policy.
    pub fn fail(error: impl Into<String>) -> Self {
        Self::Fail { error: error.into(), retry: Retry::ByPolicy }
    }

    /// Failed; retried after `delay`.
    pub fn retry_after(error: impl Into<String>, delay: Duration) -> Self {
        Self::Fail { error: error.into(), retry: Retry::After(delay) }
    }

    /// Failed for good.
    pub fn permanent(error: impl Into<String>) -> Self {
        Self::Fail { error: error.into(), retry: Retry::Never }
    }
}

/// When a failed attempt is followed by another, if attempts remain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// After the delay that the queue's retry policy computes.
    ByPolicy,
    /// After this long.
    After(Duration),
    /// Never: the error is permanent.
    Never,
}

/// What becomes of a task's row when the task is completed. Dead letters and cancelled tasks stay in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Completed {
    /// It stays until cleanup removes it.
    #[default]
    Keep,
    /// The completion deletes it: nothing to clean up, and less to write. It is counted all the same. A completion
    /// that is repeated after a lost reply finds nothing and answers `LeaseLost`; and an id is free again, so that an
    /// enqueue that is repeated after its task was completed makes a new task.
    Delete,
}

/// One settle of a batch.
#[derive(Debug, Clone, PartialEq)]
#[must_use = "a settlement does nothing until it is settled"]
pub struct Settlement {
    /// The claim that is settled.
    pub lease: Lease,
    /// What became of it.
    pub outcome: Outcome,
}

impl Settlement {
    /// Pairs a lease with its outcome.
    pub fn new(lease: Lease, outcome: Outcome) -> Self {
        Self { lease, outcome }
    }
}

/// What a settle found, in the order of the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a lost lease is no error here: nothing was settled then"]
pub enum Settled {
    /// The lease was live; the task is what the outcome says.
    Applied,
    /// This very settle had been applied before (its reply was lost, say); nothing changed.
    Repeated,
    /// The lease is no longer the live one; nothing changed.
    LeaseLost,
}

/// What a row becomes: an [`Outcome`] after the retry decision.
#[derive(Debug, Clone, PartialEq)]
pub enum Transition {
    /// `completed`.
    Complete,
    /// `failed`, due again after the delay.
    Retry {
        /// How long to wait; zero is allowed, the task is then due at once.
        delay: Duration,
        /// The error text, at most 8 KiB.
        error: String,
    },
    /// `dead_letter`.
    DeadLetter {
        /// The error text, at most 8 KiB.
        error: String,
    },
    /// `pending`, due after the delay (ready at once when it is zero); the attempt is given back.
    Snooze {
        /// How long to wait.
        delay: Duration,
    },
    /// `pending`, ready; the attempt is given back.
    Release,
}

impl Transition {
    /// The state that a row has right after this transition.
    pub fn state(&self) -> State {
        match self {
            Self::Complete => State::Completed,
            Self::Retry { .. } => State::Failed,
            Self::DeadLetter { .. } => State::DeadLetter,
            Self::Snooze { delay } if delay.is_zero() => State::Ready,
            Self::Snooze { .. } => State::Delayed,
            Self::Release => State::Ready,
        }
    }

    /// Whether a row that still carries this lease's token and stands in `state` shows that the same settle
    /// had been applied before. (Cancel, reclaim, redrive and each claim change the token.)
    pub fn is_repeat(&self, state: State) -> bool {
        state == self.state()
            || (state == State::Ready && matches!(self, Self::Retry { .. } | Self::Snooze { .. }))
    }
}

/// A settlement after its decision: what every backend applies.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The claim that is settled.
    pub lease: Lease,
    /// What the row becomes.
    pub transition: Transition,
    /// What is enqueued in the same transaction if the settle is applied.
    pub follow_ups: Vec<NewTask>,
}

impl Settlement {
    /// Decides what the row becomes. `random` in `[0, 1)` drives the jitter of the policy.
    ///
    /// # Errors
    /// `InvalidInput` for [`Outcome::Settled`].
    pub fn decide(self, policy: &RetryPolicy, random: f64) -> Result<Decision> {
        let Self { lease, outcome } = self;
        let (transition, follow_ups) = match outcome {
            Outcome::Complete { follow_ups } => (Transition::Complete, follow_ups),
            Outcome::Fail { error, retry } => {
                (after_failure(&lease, error, retry, policy, random), Vec::new())
            }
            Outcome::Snooze { delay } => (Transition::Snooze { delay: delay.min(DURATION_MAX) }, Vec::new()),
            Outcome::Release => (Transition::Release, Vec::new()),
            Outcome::Settled => {
                let message =
                    format!("task {} is said to be settled: nothing is left to settle", lease.task_id);
                return Err(Error::invalid_input("settle", message).task(lease.task_id));
            }
        };
        Ok(Decision { lease, transition, follow_ups })
    }
}

/// Checks a batch of settlements and decides each; every backend calls this first.
///
/// # Errors
/// `InvalidInput` for more than `BATCH_MAX` settlements, a task settled twice in one batch, [`Outcome::Settled`], clones of one
/// task among the follow-ups of an outcome, or follow-ups whose payloads together are more than `BATCH_PAYLOAD_BYTES_MAX`, and
/// as [`NewTask::validate`](crate::NewTask::validate) for each follow-up: then nothing of the batch is applied.
pub fn decide_batch(
    settlements: Vec<Settlement>,
    policy: &RetryPolicy,
    payload_bytes_max: usize,
) -> Result<Vec<Decision>> {
    batches::check_batch("settle", settlements.len())?;
    let mut seen = HashSet::with_capacity(settlements.len());
    let mut decisions = Vec::with_capacity(settlements.len());
    for settlement in settlements {
        let id = settlement.lease.task_id;
        if !seen.insert(id) {
            let message = format!("task {id} is settled twice in one batch");
            return Err(Error::invalid_input("settle", message).task(id));
        }
        let mut decision = settlement.decide(policy, rand::random())?;
        batches::prepare_batch(&mut decision.follow_ups, payload_bytes_max)?;
        refuse_clones(&decision.follow_ups)?;
        decisions.push(decision);
    }
    let follow_ups = decisions.iter().flat_map(|decision| &decision.follow_ups);
    batches::check_payloads("settle", follow_ups, payload_bytes_max)?;
    Ok(decisions)
}

/// Refuses what [`Outcome::then`] refuses, in follow-ups that were put together without it.
fn refuse_clones(follow_ups: &[NewTask]) -> Result<()> {
    let mut seen = HashSet::with_capacity(follow_ups.len());
    for task in follow_ups {
        if !seen.insert(task.id) && !task.has_given_id() {
            return Err(Error::invalid_input("settle", clones(task)).task(task.id));
        }
    }
    Ok(())
}

/// Two follow-ups with one id would be one task. An id that was given says that this is meant; one that was made tells of a clone.
fn is_clone(task: &NewTask, follow_ups: &[NewTask]) -> bool {
    !task.has_given_id() && follow_ups.iter().any(|other| other.id == task.id)
}

fn clones(task: &NewTask) -> String {
    format!(
        "two follow-up tasks of type {} are clones with one id: copy_with_new_id makes two tasks of them",
        task.task_type
    )
}

fn after_failure(
    lease: &Lease,
    error: String,
    retry: Retry,
    policy: &RetryPolicy,
    random: f64,
) -> Transition {
    let error = shorten(error);
    if retry == Retry::Never || lease.attempt >= lease.max_retries {
        return Transition::DeadLetter { error };
    }
    let delay = match retry {
        Retry::After(delay) => delay,
        _ => policy.delay(lease.attempt, random),
    };
    Transition::Retry { delay: delay.min(DURATION_MAX), error }
}

/// Cuts an error text to what is kept. NUL characters, which PostgreSQL's text cannot hold, become U+FFFD.
pub fn shorten(error: String) -> String {
    const MARK: &str = " … (cut)";
    let mut error = if error.contains('\0') { error.replace('\0', "\u{fffd}") } else { error };
    if error.len() > LAST_ERROR_BYTES_MAX {
        error.truncate(error.floor_char_boundary(LAST_ERROR_BYTES_MAX - MARK.len()));
        error.push_str(MARK);
    }
    error
}
