//! What goes into the statements of `claim.rs`: the row of a new task, and batches as JSON arrays. Pure.

use serde_json::json;
use taskqueue_core::backend::{Decision, Transition};
use taskqueue_core::clock::add;
use taskqueue_core::new_task::Schedule;
use taskqueue_core::{Lease, LeaseToken, NewTask, State, TaskId, Timestamp};
use taskqueue_sql::{Reclaiming, stored_metadata};

use crate::query::Bound;

/// A new task as it is stored.
pub(crate) struct NewRow<'t> {
    task: &'t NewTask,
    state: State,
    queue_at: i64,
    scheduled_at: i64,
}

impl<'t> NewRow<'t> {
    /// The task as it is stored at `now`, as number `place` (from 0) of its call.
    pub(crate) fn of(task: &'t NewTask, now: Timestamp, place: usize) -> Self {
        let scheduled_at = match task.schedule {
            Schedule::Now => now,
            Schedule::At(time) => time,
            Schedule::After(delay) => add(now, delay),
        };
        let scheduled_us = scheduled_at.timestamp_micros();
        let (state, queue_at) = match scheduled_at > now {
            true => (State::Delayed, scheduled_us),
            false => (State::Ready, scheduled_us.saturating_add(place as i64)),
        };
        Self { task, state, queue_at, scheduled_at: scheduled_us }
    }

    /// Binds the values of one row of the INSERT.
    pub(crate) fn bind(&self, query: Bound) -> Bound {
        let task = self.task;
        let is_ready = self.state == State::Ready;
        query
            .bind(task.id.as_uuid().into_bytes().to_vec())
            .bind(task.task_type.as_str().to_owned())
            .bind(self.state.code())
            .bind(task.priority.0)
            .bind(if is_ready { -i64::from(task.priority.0) } else { 0 })
            .bind(self.queue_at)
            .bind((!is_ready).then_some(self.queue_at))
            .bind(i64::from(task.max_retries))
            .bind(self.scheduled_at)
            .bind(task.region.clone())
            .bind(task.unique_key.clone())
            .bind(task.unique_key.as_ref().map(|_| 1_i64))
            .bind(stored_metadata(&task.metadata))
            .bind(task.payload.as_str().to_owned())
    }
}

/// Ids in hexadecimal.
pub(crate) fn ids_json(ids: &[TaskId]) -> String {
    json!(ids.iter().map(|id| id.as_uuid().simple().to_string()).collect::<Vec<_>>()).to_string()
}

/// Leases as `<id in hex><token>`; none when there are none.
pub(crate) fn leases_json<'l>(leases: impl Iterator<Item = &'l Lease>) -> Option<String> {
    let texts: Vec<String> = leases.map(|lease| lease_text(lease.task_id, lease.token)).collect();
    (!texts.is_empty()).then(|| json!(texts).to_string())
}

/// Transitions that are no completion, as arrays; none when there are none.
pub(crate) fn settles_json(decisions: &[&Decision], now: Timestamp) -> Option<String> {
    let mut ready = ReadyTimes::from(now);
    let mut rows = Vec::with_capacity(decisions.len());
    for Decision { lease, transition, .. } in decisions {
        let state = transition.state();
        let after = |delay| add(now, delay).timestamp_micros();
        let (due_at, scheduled_at, given_back, error) = match transition {
            Transition::Complete => (None, None, 0, None),
            Transition::Retry { delay, error } => (Some(after(*delay)), None, 0, Some(error.as_str())),
            Transition::DeadLetter { error } => (None, None, 0, Some(error.as_str())),
            Transition::Snooze { delay } => {
                ((state == State::Delayed).then(|| after(*delay)), Some(after(*delay)), 1, None)
            }
            Transition::Release => (None, None, 1, None),
        };
        let queue_at = due_at.unwrap_or_else(|| ready.queue_at(state));
        let lease = lease_text(lease.task_id, lease.token);
        rows.push(json!([lease, state.code(), queue_at, due_at, scheduled_at, given_back, error]));
    }
    (!rows.is_empty()).then(|| json!(rows).to_string())
}

/// Tasks to be taken back, as arrays.
pub(crate) fn reclaims_json(ended: &[Reclaiming], now: Timestamp) -> String {
    let mut ready = ReadyTimes::from(now);
    let row = |ended: &Reclaiming| {
        let lease = lease_text(ended.id, ended.token);
        json!([lease, ended.state.code(), ready.queue_at(ended.state), ended.error])
    };
    json!(ended.iter().map(row).collect::<Vec<_>>()).to_string()
}

/// When the tasks of one call are in the queue: a microsecond after one another if they are ready, which keeps their
/// order, else now.
struct ReadyTimes {
    now: i64,
    ready: i64,
}

impl ReadyTimes {
    fn from(now: Timestamp) -> Self {
        Self { now: now.timestamp_micros(), ready: 0 }
    }

    fn queue_at(&mut self, state: State) -> i64 {
        if state != State::Ready {
            return self.now;
        }
        self.ready += 1;
        self.now + self.ready - 1
    }
}

fn lease_text(id: TaskId, token: LeaseToken) -> String {
    format!("{}{}", id.as_uuid().simple(), token.get())
}
