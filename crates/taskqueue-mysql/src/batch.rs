//! Batches as JSON arrays, the form in which the joined updates take them. It owns what each array holds and how large
//! one gets; it knows no statement's text.

use std::time::Duration;

use serde_json::{Value, json};
use taskqueue_core::backend::{Decision, Transition};
use taskqueue_core::clock::micros;
use taskqueue_core::{State, TaskId};
use taskqueue_sql::Reclaiming;

use crate::packet::RECORD_BYTES;

/// The most rows of one array.
const ROWS_MAX: usize = 1_000;

/// A batch, cut into arrays that do not wait for the server on their way to it.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    arrays: Vec<(String, usize)>,
}

impl Batch {
    /// The settles that are no completions.
    pub(crate) fn of_settles(decisions: &[&Decision]) -> Self {
        let mut ready = ReadyPlaces::default();
        Self::in_key_order(decisions.iter().map(|decision| settle(decision, &mut ready)))
    }

    /// The tasks to be taken back.
    pub(crate) fn of_reclaims(ended: &[Reclaiming]) -> Self {
        let mut ready = ReadyPlaces::default();
        Self::in_key_order(ended.iter().map(|Reclaiming { id, token, state, error, .. }| {
            (*id, json!([hex(*id), token.get(), state.code(), ready.of(*state), error]))
        }))
    }

    /// Tasks that become ready, in this order.
    pub(crate) fn of_ready(ids: &[TaskId]) -> Self {
        Self::in_key_order(ids.iter().enumerate().map(|(place, id)| (*id, json!([hex(*id), place]))))
    }

    /// The arrays, and how many rows each has.
    pub(crate) fn into_arrays(self) -> Vec<(String, usize)> {
        self.arrays.into_iter().map(|(rows, count)| (rows + "]", count)).collect()
    }

    /// In the order of the keys, so that two batches that meet wait for each other instead of deadlocking.
    fn in_key_order(rows: impl Iterator<Item = (TaskId, Value)>) -> Self {
        let mut rows: Vec<(TaskId, Value)> = rows.collect();
        rows.sort_by_key(|(id, _)| *id);
        let mut batch = Self::default();
        for (_, row) in rows {
            batch.push(&row.to_string());
        }
        batch
    }

    fn push(&mut self, row: &str) {
        match self.arrays.last_mut() {
            Some((rows, count)) if *count < ROWS_MAX && rows.len() + row.len() < RECORD_BYTES => {
                rows.push(',');
                rows.push_str(row);
                *count += 1;
            }
            _ => self.arrays.push((format!("[{row}"), 1)),
        }
    }
}

/// Counts the tasks of a batch that become ready.
#[derive(Debug, Default)]
struct ReadyPlaces(usize);

impl ReadyPlaces {
    /// What a task that goes to `state` adds to `queue_at`, in microseconds.
    fn of(&mut self, state: State) -> usize {
        let place = self.0;
        if state != State::Ready {
            return 0;
        }
        self.0 += 1;
        place
    }
}

fn settle(decision: &Decision, ready: &mut ReadyPlaces) -> (TaskId, Value) {
    let Decision { lease, transition, .. } = decision;
    let (delay, error) = match transition {
        Transition::Complete | Transition::Release => (Duration::ZERO, None),
        Transition::Retry { delay, error } => (*delay, Some(error)),
        Transition::DeadLetter { error } => (Duration::ZERO, Some(error)),
        Transition::Snooze { delay } => (*delay, None),
    };
    let is_snooze = matches!(transition, Transition::Snooze { .. });
    let given_back = is_snooze || *transition == Transition::Release;
    let row = json!([
        hex(lease.task_id),
        lease.token.get(),
        transition.state().code(),
        micros(delay),
        ready.of(transition.state()),
        i32::from(is_snooze),
        i32::from(given_back),
        i32::from(error.is_some()),
        error.map_or("", String::as_str),
    ]);
    (lease.task_id, row)
}

fn hex(id: TaskId) -> String {
    id.as_uuid().simple().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_cut_where_an_array_gets_too_long_or_too_large() {
        let mut batch = Batch::default();
        (0..=ROWS_MAX).for_each(|_| batch.push("[1]"));
        batch.push(&"x".repeat(RECORD_BYTES));
        let rows: Vec<usize> = batch.into_arrays().into_iter().map(|(_, rows)| rows).collect();
        assert_eq!(rows, [ROWS_MAX, 1, 1]);
    }

    #[test]
    fn rows_stand_in_key_order_and_keep_their_places() {
        let [low, high] = [1, 2].map(|number| TaskId::from(uuid::Uuid::from_u128(number)));
        let arrays = Batch::of_ready(&[high, low]).into_arrays();
        let zeros = "0".repeat(31);
        assert_eq!(arrays, [(format!(r#"[["{zeros}1",1],["{zeros}2",0]]"#), 2)]);
    }
}
