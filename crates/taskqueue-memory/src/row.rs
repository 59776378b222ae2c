//! One stored task and what each verb does to its fields, as docs/lifecycle.md says. It knows no index and no
//! other task.

use std::time::Duration;

use taskqueue_core::backend::{AfterLeaseEnd, EndedLease, Transition, after_lease_end, lease_ended_error};
use taskqueue_core::{Lease, LeaseToken, NewTask, Schedule, State, Task, Timestamp, WorkerId, clock};

/// The row of the task table.
pub(crate) struct Row {
    /// What users see of it. `status` always follows `state`.
    pub(crate) task: Task,
    pub(crate) state: State,
    /// The number of its type in [`Indexes`](crate::index::Indexes).
    pub(crate) type_number: usize,
    /// The place in the order of insertion, unique in the store.
    pub(crate) sequence: u64,
    /// Its place among the ready tasks; has a meaning only while it is ready.
    pub(crate) queue_at: Timestamp,
    /// When it became ready last, without its place; has a meaning only while it is ready or running.
    pub(crate) ready_at: Timestamp,
    /// When its lease ends; has a meaning only while it is running.
    pub(crate) lease_until: Timestamp,
    /// The last claim's token, until cancel, reclaim or redrive clears it.
    token: Option<LeaseToken>,
    lease_number: i64,
}

/// The moment of one call, and how many tasks it has made ready: each gets a microsecond more than the one
/// before, so that their order is exact.
pub(crate) struct Moment {
    pub(crate) now: Timestamp,
    ready: u64,
}

impl Moment {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self { now, ready: 0 }
    }

    /// The place of the next task that this call brings.
    pub(crate) fn take_place(&mut self) -> Duration {
        let place = Duration::from_micros(self.ready);
        self.ready += 1;
        place
    }

    fn next_queue_at(&mut self) -> Timestamp {
        let place = self.take_place();
        clock::add(self.now, place)
    }
}

/// Who claims, and on what terms; the same for every task of one call.
pub(crate) struct ClaimTerms {
    pub(crate) worker_id: WorkerId,
    pub(crate) token: LeaseToken,
    pub(crate) now: Timestamp,
    pub(crate) until: Timestamp,
}

impl Row {
    /// The row of a task that arrives `now`, at this place of its batch.
    pub(crate) fn new(
        new: NewTask,
        type_number: usize,
        sequence: u64,
        now: Timestamp,
        place: Duration,
    ) -> Self {
        let scheduled_at = match new.schedule {
            Schedule::Now => now,
            Schedule::At(time) => clock::truncate(time),
            Schedule::After(delay) => clock::add(now, delay),
        };
        let state = if scheduled_at > now { State::Delayed } else { State::Ready };
        let task = Task {
            id: new.id,
            task_type: new.task_type,
            status: state.status(),
            priority: new.priority,
            payload: new.payload,
            scheduled_at,
            started_at: None,
            completed_at: None,
            attempts: 0,
            max_retries: new.max_retries,
            retry_after: None,
            last_error: None,
            created_at: now,
            updated_at: now,
            region: new.region,
            worker_id: None,
            unique_key: new.unique_key,
            reclaims: 0,
            metadata: new.metadata,
        };
        let queue_at = clock::add(scheduled_at, place);
        Self {
            task,
            state,
            type_number,
            sequence,
            queue_at,
            ready_at: scheduled_at,
            lease_until: now,
            token: None,
            lease_number: 0,
        }
    }

    /// Whether the task is unfinished, and so holds its unique key and counts against the capacity.
    pub(crate) fn is_unfinished(&self) -> bool {
        !self.task.status.is_finished()
    }

    /// Whether this lease is the live one.
    pub(crate) fn is_leased_by(&self, token: LeaseToken) -> bool {
        self.state == State::Running && self.carries(token)
    }

    /// Whether the last claim that was not taken back drew this token.
    pub(crate) fn carries(&self, token: LeaseToken) -> bool {
        self.token == Some(token)
    }

    /// ready -> running
    pub(crate) fn claim(&mut self, terms: &ClaimTerms) {
        self.enter(State::Running, terms.now);
        self.task.attempts = self.task.attempts.saturating_add(1);
        self.task.started_at = Some(terms.now);
        self.task.worker_id = Some(terms.worker_id.clone());
        self.token = Some(terms.token);
        self.lease_number += 1;
        self.lease_until = terms.until;
    }

    /// The lease of a row that was just claimed on these terms.
    pub(crate) fn lease(&self, terms: &ClaimTerms) -> Lease {
        Lease {
            task_id: self.task.id,
            task_type: self.task.task_type.clone(),
            token: terms.token,
            number: self.lease_number,
            attempt: self.task.attempts,
            max_retries: self.task.max_retries,
            claimed_at: terms.now,
            until: self.lease_until,
        }
    }

    /// running -> what the transition says
    pub(crate) fn settle(&mut self, transition: Transition, moment: &mut Moment) {
        let now = moment.now;
        self.enter(transition.state(), now);
        match transition {
            Transition::Complete => self.task.completed_at = Some(now),
            Transition::Retry { delay, error } => {
                self.task.retry_after = Some(clock::add(now, delay));
                self.task.last_error = Some(error);
            }
            Transition::DeadLetter { error } => {
                self.task.completed_at = Some(now);
                self.task.last_error = Some(error);
            }
            Transition::Snooze { delay } => {
                self.task.scheduled_at = clock::add(now, delay);
                self.give_attempt_back(moment);
            }
            Transition::Release => self.give_attempt_back(moment),
        }
    }

    /// delayed or failed -> ready
    pub(crate) fn promote(&mut self, moment: &mut Moment) {
        self.enter(State::Ready, moment.now);
        self.task.retry_after = None;
        self.queue(moment);
    }

    /// delayed or failed -> ready, before its time
    pub(crate) fn run_now(&mut self, moment: &mut Moment) {
        self.task.scheduled_at = self.task.scheduled_at.min(moment.now);
        self.promote(moment);
    }

    /// running -> ready or dead letter; answers which
    pub(crate) fn reclaim(&mut self, max_reclaims: u32, moment: &mut Moment) -> AfterLeaseEnd {
        let ended = EndedLease {
            worker_id: self.task.worker_id.as_ref(),
            attempts: self.task.attempts,
            max_retries: self.task.max_retries,
            reclaims: self.task.reclaims,
            max_reclaims,
        };
        let (after, error) = (after_lease_end(&ended), lease_ended_error(&ended));
        self.token = None;
        self.task.reclaims = self.task.reclaims.saturating_add(1);
        self.task.last_error = Some(error);
        match after {
            AfterLeaseEnd::Ready => {
                self.enter(State::Ready, moment.now);
                self.queue(moment);
            }
            AfterLeaseEnd::DeadLetter => {
                self.enter(State::DeadLetter, moment.now);
                self.task.completed_at = Some(moment.now);
            }
        }
        after
    }

    /// unfinished -> cancelled
    pub(crate) fn cancel(&mut self, now: Timestamp) {
        self.enter(State::Cancelled, now);
        self.task.completed_at = Some(now);
        self.task.retry_after = None;
        self.token = None;
    }

    /// dead letter -> ready
    pub(crate) fn redrive(&mut self, moment: &mut Moment) {
        self.enter(State::Ready, moment.now);
        self.task.attempts = 0;
        self.task.reclaims = 0;
        self.task.completed_at = None;
        self.token = None;
        self.queue(moment);
    }

    /// How long a completed task ran, in microseconds; 0 where the clock went back.
    pub(crate) fn processing_micros(&self) -> u64 {
        let (Some(started), Some(completed)) = (self.task.started_at, self.task.completed_at) else {
            return 0;
        };
        (completed - started).num_microseconds().and_then(|micros| u64::try_from(micros).ok()).unwrap_or(0)
    }

    fn enter(&mut self, state: State, now: Timestamp) {
        self.state = state;
        self.task.status = state.status();
        self.task.updated_at = now;
    }

    fn give_attempt_back(&mut self, moment: &mut Moment) {
        self.task.attempts = self.task.attempts.saturating_sub(1);
        if self.state == State::Ready {
            self.queue(moment);
        }
    }

    /// Puts it behind what the call has made ready before.
    fn queue(&mut self, moment: &mut Moment) {
        self.queue_at = moment.next_queue_at();
        self.ready_at = moment.now;
    }
}
