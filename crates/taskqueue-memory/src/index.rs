//! The ordered structures over the rows, and the counts that statistics read. It knows where a row of each
//! state is to be found; it changes no row.

use std::cmp::Reverse;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};

use taskqueue_core::{FinishedStatuses, Priority, State, Status, TaskType, Timestamp};

use crate::rising::{Rising, Slot};
use crate::row::Row;

/// A time in microseconds, which compares faster than a `Timestamp`, then the order of insertion.
pub(crate) type TimeKey = (i64, u64);

/// The order of claims: higher priority, then when it became ready, then the order of insertion.
pub(crate) type ReadyKey = (Reverse<Priority>, i64, u64);

/// What is kept for each type. Types stay known for good: they are few, since code names them.
#[derive(Default)]
pub(crate) struct TypeIndex {
    pub(crate) ready: BTreeMap<ReadyKey, Slot>,
    /// The unfinished task that holds each unique key.
    holders: HashMap<String, Slot>,
    unfinished: u64,
    dead_letters: u64,
}

impl TypeIndex {
    /// How many of its rows are unfinished.
    pub(crate) fn unfinished(&self) -> u64 {
        self.unfinished
    }

    /// How many of its rows are dead letters.
    pub(crate) fn dead_letters(&self) -> u64 {
        self.dead_letters
    }
}

/// Every structure over the rows. A row is in exactly the ones that its state asks for.
#[derive(Default)]
pub(crate) struct Indexes {
    type_numbers: BTreeMap<TaskType, usize>,
    types: Vec<TypeIndex>,
    /// Delayed and failed rows by the time they become due.
    pub(crate) due: Rising<TimeKey>,
    /// Running rows by the end of their lease.
    pub(crate) leases: Rising<TimeKey>,
    /// Finished rows by the time they finished, each status apart: a cleanup never walks over those that it leaves.
    completed: Rising<TimeKey>,
    pub(crate) dead_letters: Rising<TimeKey>,
    cancelled: Rising<TimeKey>,
    /// How many rows are ready, by when they became so: rows of one call share that.
    ready: BTreeMap<Timestamp, u64>,
    counts: [u64; State::ALL.len()],
    unfinished: usize,
    processing_micros: u64,
}

impl Indexes {
    /// The number of a type, which is new if need be.
    pub(crate) fn number_of(&mut self, task_type: &TaskType) -> usize {
        if let Some(number) = self.type_numbers.get(task_type) {
            return *number;
        }
        self.types.push(TypeIndex::default());
        self.type_numbers.insert(task_type.clone(), self.types.len() - 1);
        self.types.len() - 1
    }

    /// The number of a type, if a task of it was ever enqueued.
    pub(crate) fn known_number_of(&self, task_type: &TaskType) -> Option<usize> {
        self.type_numbers.get(task_type).copied()
    }

    /// How many rows of a type are ready.
    pub(crate) fn ready_count(&self, number: usize) -> usize {
        self.types[number].ready.len()
    }

    /// What is kept for the type of this number.
    pub(crate) fn of_type(&self, number: usize) -> &TypeIndex {
        &self.types[number]
    }

    /// Puts a row where its state says.
    pub(crate) fn add(&mut self, row: &Row, slot: Slot) {
        self.counts[row.state as usize] += 1;
        match row.state {
            State::Ready => {
                self.types[row.type_number].ready.insert(ready_key(row), slot);
                *self.ready.entry(row.ready_at).or_default() += 1;
            }
            State::Delayed | State::Failed => self.due.insert(due_key(row), slot),
            State::Running => self.leases.insert(lease_key(row), slot),
            State::Completed | State::DeadLetter | State::Cancelled => self.add_finished(row, slot),
        }
    }

    /// Takes a row out of where its state put it.
    pub(crate) fn remove(&mut self, row: &Row) {
        self.counts[row.state as usize] -= 1;
        match row.state {
            State::Ready => {
                self.types[row.type_number].ready.remove(&ready_key(row));
                self.remove_ready(row.ready_at);
            }
            State::Delayed | State::Failed => self.due.remove(due_key(row)),
            State::Running => self.leases.remove(lease_key(row)),
            State::Completed | State::DeadLetter | State::Cancelled => self.remove_finished(row),
        }
    }

    /// Counts a row as unfinished, and lets it hold its unique key.
    pub(crate) fn hold(&mut self, row: &Row, slot: Slot) {
        let of_type = &mut self.types[row.type_number];
        of_type.unfinished += 1;
        self.unfinished += 1;
        if let Some(key) = &row.task.unique_key {
            of_type.holders.insert(key.clone(), slot);
        }
    }

    /// Undoes [`hold`](Self::hold).
    pub(crate) fn let_go(&mut self, row: &Row) {
        let of_type = &mut self.types[row.type_number];
        of_type.unfinished -= 1;
        self.unfinished -= 1;
        if let Some(key) = &row.task.unique_key {
            of_type.holders.remove(key);
        }
    }

    /// The unfinished task of a type that holds this key.
    pub(crate) fn holder(&self, type_number: usize, key: &str) -> Option<Slot> {
        self.types[type_number].holders.get(key).copied()
    }

    /// How many rows are unfinished.
    pub(crate) fn unfinished(&self) -> usize {
        self.unfinished
    }

    /// How many rows of a kind there are, for each type that has any.
    pub(crate) fn by_type(&self, count: fn(&TypeIndex) -> u64) -> BTreeMap<TaskType, u64> {
        let counts = self.type_numbers.iter().map(|(name, number)| (name, count(&self.types[*number])));
        counts.filter(|(_, count)| *count > 0).map(|(name, count)| (name.clone(), count)).collect()
    }

    /// The rows of these statuses that finished at `until` or before, oldest first in each status, of each at most
    /// `limit`.
    pub(crate) fn finished(&self, statuses: FinishedStatuses, until: Timestamp, limit: usize) -> Vec<Slot> {
        let of = |(status, index)| {
            if statuses.contains(status) { up_to(index, until, limit) } else { Vec::new() }
        };
        [
            (Status::Completed, &self.completed),
            (Status::DeadLetter, &self.dead_letters),
            (Status::Cancelled, &self.cancelled),
        ]
        .into_iter()
        .flat_map(of)
        .collect()
    }

    /// How many rows are in this state.
    pub(crate) fn count(&self, state: State) -> u64 {
        self.counts[state as usize]
    }

    /// Since when the row that has been ready longest is ready.
    pub(crate) fn oldest_pending(&self) -> Option<Timestamp> {
        self.ready.first_key_value().map(|(ready_at, _)| *ready_at)
    }

    /// The time from claim to completion, summed over the completed rows, in microseconds.
    pub(crate) fn processing_micros(&self) -> u64 {
        self.processing_micros
    }

    /// Takes a completed row out, and leaves it in the counts.
    pub(crate) fn forget_completed(&mut self, row: &Row) {
        self.completed.remove(finished_key(row));
    }

    fn remove_ready(&mut self, ready_at: Timestamp) {
        if let Entry::Occupied(mut rows) = self.ready.entry(ready_at) {
            *rows.get_mut() -= 1;
            if *rows.get() == 0 {
                rows.remove();
            }
        }
    }

    fn add_finished(&mut self, row: &Row, slot: Slot) {
        let key = finished_key(row);
        match row.state {
            State::Completed => {
                self.completed.insert(key, slot);
                self.processing_micros += row.processing_micros();
            }
            State::DeadLetter => {
                self.dead_letters.insert(key, slot);
                self.types[row.type_number].dead_letters += 1;
            }
            _ => self.cancelled.insert(key, slot),
        }
    }

    fn remove_finished(&mut self, row: &Row) {
        let key = finished_key(row);
        match row.state {
            State::Completed => {
                self.completed.remove(key);
                self.processing_micros -= row.processing_micros();
            }
            State::DeadLetter => {
                self.dead_letters.remove(key);
                self.types[row.type_number].dead_letters -= 1;
            }
            _ => self.cancelled.remove(key),
        }
    }
}

/// The slots of the rows whose time is at most `now`, earliest first, at most `limit`.
pub(crate) fn up_to(index: &Rising<TimeKey>, now: Timestamp, limit: usize) -> Vec<Slot> {
    index.up_to((now.timestamp_micros(), u64::MAX)).take(limit).collect()
}

fn ready_key(row: &Row) -> ReadyKey {
    (Reverse(row.task.priority), row.queue_at.timestamp_micros(), row.sequence)
}

fn due_key(row: &Row) -> TimeKey {
    time_key(row.task.retry_after.unwrap_or(row.task.scheduled_at), row)
}

fn lease_key(row: &Row) -> TimeKey {
    time_key(row.lease_until, row)
}

fn finished_key(row: &Row) -> TimeKey {
    time_key(row.task.completed_at.expect("completed_at is set exactly while a task is finished"), row)
}

fn time_key(time: Timestamp, row: &Row) -> TimeKey {
    (time.timestamp_micros(), row.sequence)
}
