//! One row of the model: a task, what users do not see of it, and what each verb changes in it.

use std::time::Duration;

use taskqueue_core::backend::Transition;
use taskqueue_core::clock::add;
use taskqueue_core::{
    Claim, ClaimRequest, Lease, LeaseToken, NewTask, Schedule, State, Status, Task, TaskType, Timestamp,
};

/// What a reclaimed task's `last_error` speaks of, in whatever words.
pub(crate) const LEASE_ENDED: &str = "the lease ended";

/// A task and what users do not see of it.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) task: Task,
    pub(super) state: State,
    pub(super) queue_at: Timestamp,
    pub(super) ready_at: Timestamp,
    pub(super) lease_until: Timestamp,
    pub(super) lease_number: i64,
    pub(super) token: Option<LeaseToken>,
}

/// Where a ready task stands in the queue. Tasks that the lifecycle leaves in either order share a place.
pub(crate) type Place = (i64, Timestamp);

impl Row {
    pub(super) fn new(task: NewTask, now: Timestamp, place: usize) -> Self {
        let scheduled_at = match task.schedule {
            Schedule::Now => now,
            Schedule::At(time) => time,
            Schedule::After(delay) => add(now, delay),
        };
        let stored = Task {
            id: task.id,
            task_type: task.task_type,
            status: Status::Pending,
            priority: task.priority,
            payload: task.payload,
            scheduled_at,
            started_at: None,
            completed_at: None,
            attempts: 0,
            max_retries: task.max_retries,
            retry_after: None,
            last_error: None,
            created_at: now,
            updated_at: now,
            region: task.region,
            worker_id: None,
            unique_key: task.unique_key,
            reclaims: 0,
            metadata: task.metadata,
        };
        let queue_at = scheduled_at + Duration::from_micros(place as u64);
        let state = if scheduled_at > now { State::Delayed } else { State::Ready };
        let ready_at = scheduled_at;
        Self { task: stored, state, queue_at, ready_at, lease_until: now, lease_number: 0, token: None }
    }

    /// Enters a state: the status, `updated_at`, and the times that are set exactly in some states.
    pub(super) fn enter(&mut self, state: State, now: Timestamp) {
        let task = &mut self.task;
        self.state = state;
        task.status = state.status();
        task.updated_at = now;
        task.completed_at = state.status().is_finished().then_some(now);
        task.retry_after = None;
        if state == State::Ready {
            self.queue_at = now;
            self.ready_at = now;
        }
    }

    pub(super) fn run_now(&mut self, now: Timestamp, place: u64) {
        self.enter(State::Ready, now);
        self.queue_at = now + Duration::from_micros(place);
        self.task.scheduled_at = self.task.scheduled_at.min(now);
    }

    pub(super) fn place(&self) -> Place {
        (-i64::from(self.task.priority.0), self.queue_at)
    }

    pub(super) fn is_unfinished(&self) -> bool {
        !self.task.status.is_finished()
    }

    pub(super) fn holds(&self, task_type: &TaskType, key: &str) -> bool {
        self.is_unfinished()
            && self.task.task_type == *task_type
            && self.task.unique_key.as_deref() == Some(key)
    }

    /// When a delayed or failed task is due.
    pub(super) fn due(&self) -> Option<Timestamp> {
        match self.state {
            State::Delayed => Some(self.task.scheduled_at),
            State::Failed => self.task.retry_after,
            _ => None,
        }
    }

    pub(super) fn lease_end(&self) -> Option<Timestamp> {
        (self.state == State::Running).then_some(self.lease_until)
    }

    pub(super) fn is_live(&self, lease: &Lease) -> bool {
        self.state == State::Running && self.token == Some(lease.token)
    }

    pub(super) fn claim(
        &mut self,
        now: Timestamp,
        until: Timestamp,
        request: &ClaimRequest,
        token: LeaseToken,
    ) -> Claim {
        self.enter(State::Running, now);
        self.task.attempts += 1;
        self.task.started_at = Some(now);
        self.task.worker_id = Some(request.worker_id.clone());
        self.lease_number += 1;
        self.lease_until = until;
        self.token = Some(token);
        let lease = Lease {
            task_id: self.task.id,
            task_type: self.task.task_type.clone(),
            token,
            number: self.lease_number,
            attempt: self.task.attempts,
            max_retries: self.task.max_retries,
            claimed_at: now,
            until,
        };
        Claim { task: self.task.clone(), lease, ready_at: self.ready_at }
    }

    pub(super) fn settle(&mut self, now: Timestamp, place: &mut usize, transition: Transition) {
        self.enter(transition.state(), now);
        if self.state == State::Ready {
            self.queue_at = now + Duration::from_micros(*place as u64);
            *place += 1;
        }
        match transition {
            Transition::Complete => {}
            Transition::Retry { delay, error } => {
                self.task.retry_after = Some(add(now, delay));
                self.task.last_error = Some(error);
            }
            Transition::DeadLetter { error } => self.task.last_error = Some(error),
            Transition::Snooze { delay } => {
                self.task.attempts -= 1;
                self.task.scheduled_at = add(now, delay);
            }
            Transition::Release => self.task.attempts -= 1,
        }
    }

    pub(super) fn reclaim(&mut self, now: Timestamp, max_reclaims: u32) {
        self.task.reclaims += 1;
        let used_up = self.task.attempts >= self.task.max_retries || self.task.reclaims > max_reclaims;
        self.enter(if used_up { State::DeadLetter } else { State::Ready }, now);
        self.task.last_error = Some(LEASE_ENDED.to_owned());
        self.token = None;
    }
}
