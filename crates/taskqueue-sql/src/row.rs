//! The neutral row between a driver and the core's types, and what it becomes. Codes are checked here, once.

use chrono::DateTime;
use taskqueue_core::{
    Claim, Lease, LeaseToken, Metadata, Priority, RawPayload, State, Task, TaskId, TaskType, Timestamp,
    WorkerId,
};
use uuid::Uuid;

use crate::{Attempt, Column, Failure};

/// The columns of a task, in the order in which [`Row::task`] and [`Row::claim`] read them.
pub const TASK_COLUMNS: [Column; 22] = [
    Column::Id,
    Column::Type,
    Column::Status,
    Column::Priority,
    Column::Payload,
    Column::ScheduledAt,
    Column::StartedAt,
    Column::CompletedAt,
    Column::DueAt,
    Column::Attempts,
    Column::MaxRetries,
    Column::LastError,
    Column::CreatedAt,
    Column::UpdatedAt,
    Column::Region,
    Column::WorkerId,
    Column::UniqueKey,
    Column::Reclaims,
    Column::Metadata,
    Column::LeaseToken,
    Column::LeaseNumber,
    Column::LeaseUntil,
];

/// One field of a row, in the few forms that all engines share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// NULL.
    Null,
    /// A number, or a time as microseconds since 1970 in UTC.
    Integer(i64),
    /// A text.
    Text(String),
    /// An id.
    Id(Uuid),
    /// None of these, but what this says. Who asks for it fails, and who does not is not disturbed.
    Malformed(String),
}

/// One row of an answer. Fields are read by place, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row(Vec<Field>);

impl Row {
    /// A row of these fields.
    pub fn new(fields: Vec<Field>) -> Self {
        Self(fields)
    }

    /// The number at `place`.
    ///
    /// # Errors
    /// `Backend` when it is not one; so for every accessor.
    pub fn integer(&mut self, place: usize) -> Attempt<i64> {
        match self.take(place) {
            Field::Integer(number) => Ok(number),
            other => Err(unexpected(place, "a number", &other)),
        }
    }

    /// The number at `place`, unless it is NULL.
    ///
    /// # Errors
    /// As [`Row::integer`].
    pub fn integer_opt(&mut self, place: usize) -> Attempt<Option<i64>> {
        match self.take(place) {
            Field::Null => Ok(None),
            Field::Integer(number) => Ok(Some(number)),
            other => Err(unexpected(place, "a number", &other)),
        }
    }

    /// The number at `place` as a count.
    ///
    /// # Errors
    /// As [`Row::integer`].
    pub fn count(&mut self, place: usize) -> Attempt<u32> {
        self.integer(place).map(count_of)
    }

    /// The text at `place`.
    ///
    /// # Errors
    /// As [`Row::integer`].
    pub fn text(&mut self, place: usize) -> Attempt<String> {
        match self.take(place) {
            Field::Text(text) => Ok(text),
            other => Err(unexpected(place, "a text", &other)),
        }
    }

    /// The text at `place`, unless it is NULL.
    ///
    /// # Errors
    /// As [`Row::integer`].
    pub fn text_opt(&mut self, place: usize) -> Attempt<Option<String>> {
        match self.take(place) {
            Field::Null => Ok(None),
            Field::Text(text) => Ok(Some(text)),
            other => Err(unexpected(place, "a text", &other)),
        }
    }

    /// The task id at `place`.
    ///
    /// # Errors
    /// As [`Row::integer`].
    pub fn id(&mut self, place: usize) -> Attempt<TaskId> {
        match self.take(place) {
            Field::Id(id) => Ok(TaskId::from(id)),
            other => Err(unexpected(place, "an id", &other)),
        }
    }

    /// The time at `place`.
    ///
    /// # Errors
    /// As [`Row::integer`].
    pub fn time(&mut self, place: usize) -> Attempt<Timestamp> {
        let micros = self.integer(place)?;
        time_of_micros(place, micros)
    }

    /// The time at `place`, unless it is NULL.
    ///
    /// # Errors
    /// As [`Row::integer`].
    pub fn time_opt(&mut self, place: usize) -> Attempt<Option<Timestamp>> {
        self.integer_opt(place)?.map(|micros| time_of_micros(place, micros)).transpose()
    }

    /// The state whose code is at `place`.
    ///
    /// # Errors
    /// As [`Row::integer`].
    pub fn state(&mut self, place: usize) -> Attempt<State> {
        let code = self.integer(place)?;
        let state = i16::try_from(code).ok().and_then(State::from_code);
        state.ok_or_else(|| malformed(place, &format!("the status code {code}")))
    }

    /// The task type at `place`.
    ///
    /// # Errors
    /// As [`Row::integer`].
    pub fn task_type(&mut self, place: usize) -> Attempt<TaskType> {
        let name = self.text(place)?;
        TaskType::new(&name).map_err(|_| malformed(place, &format!("the task type {name:?}")))
    }

    /// The id of the task in a row of [`TASK_COLUMNS`] that is not yet read.
    pub(crate) fn id_of_task(&self) -> Option<TaskId> {
        if let Some(Field::Id(id)) = self.0.first() { Some(TaskId::from(*id)) } else { None }
    }

    /// The task in a row of [`TASK_COLUMNS`].
    ///
    /// # Errors
    /// As [`Row::integer`].
    pub fn task(mut self) -> Attempt<Task> {
        self.read_task()
    }

    /// The claim in a row of [`TASK_COLUMNS`] that has just been claimed, of a task that was ready since then.
    ///
    /// # Errors
    /// As [`Row::integer`].
    pub fn claim(mut self, ready_at: Timestamp) -> Attempt<Claim> {
        let task = self.read_task()?;
        let lease = Lease {
            task_id: task.id,
            task_type: task.task_type.clone(),
            token: LeaseToken::from_stored(self.integer(19)?),
            number: self.integer(20)?,
            attempt: task.attempts,
            max_retries: task.max_retries,
            claimed_at: task.started_at.unwrap_or(task.updated_at),
            until: self.time(21)?,
        };
        Ok(Claim { task, lease, ready_at })
    }

    fn read_task(&mut self) -> Attempt<Task> {
        let (id, state) = (self.id(0)?, self.state(2)?);
        let due_at = self.time_opt(8)?;
        Ok(Task {
            id,
            task_type: self.task_type(1)?,
            status: state.status(),
            priority: self.priority(3)?,
            payload: RawPayload::from_stored(self.text(4)?),
            scheduled_at: self.time(5)?,
            started_at: self.time_opt(6)?,
            completed_at: self.time_opt(7)?,
            attempts: self.count(9)?,
            max_retries: self.count(10)?,
            retry_after: due_at.filter(|_| state == State::Failed),
            last_error: self.text_opt(11)?,
            created_at: self.time(12)?,
            updated_at: self.time(13)?,
            region: self.text_opt(14)?,
            worker_id: self.worker_id(15)?,
            unique_key: self.text_opt(16)?,
            reclaims: self.count(17)?,
            metadata: read_metadata(id, self.text_opt(18)?.as_deref()),
        })
    }

    fn priority(&mut self, place: usize) -> Attempt<Priority> {
        let number = self.integer(place)?;
        i32::try_from(number).map(Priority).map_err(|_| malformed(place, &format!("the priority {number}")))
    }

    /// The worker id at `place`, unless it is NULL.
    ///
    /// # Errors
    /// As [`Row::integer`].
    pub fn worker_id(&mut self, place: usize) -> Attempt<Option<WorkerId>> {
        let Some(id) = self.text_opt(place)? else { return Ok(None) };
        WorkerId::new(&id).map(Some).map_err(|_| malformed(place, &format!("the worker id {id:?}")))
    }

    fn take(&mut self, place: usize) -> Field {
        self.0.get_mut(place).map_or(Field::Null, |field| std::mem::replace(field, Field::Null))
    }
}

/// A count as drivers bind it.
pub fn integer(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A stored number as a count. One below zero, which a producer's own INSERT may have brought, is none.
pub fn count_of(number: i64) -> u32 {
    u32::try_from(number.max(0)).unwrap_or(u32::MAX)
}

/// The metadata of a task in its stored form; none where that is no map of texts, and an error is logged: the task is handled
/// all the same.
pub fn read_metadata(id: TaskId, stored: Option<&str>) -> Metadata {
    let Some(json) = stored else { return Metadata::new() };
    serde_json::from_str(json).unwrap_or_else(|error| {
        tracing::error!(task = %id, %error, "the metadata of a task is no map of texts, and is passed over");
        Metadata::new()
    })
}

/// The stored form of metadata: JSON text, or NULL when there is none.
pub fn stored_metadata(metadata: &Metadata) -> Option<String> {
    let json = || serde_json::to_string(metadata).expect("a map of strings has a JSON form");
    (!metadata.is_empty()).then(json)
}

fn time_of_micros(place: usize, micros: i64) -> Attempt<Timestamp> {
    DateTime::from_timestamp_micros(micros).ok_or_else(|| malformed(place, &format!("the time {micros}")))
}

fn unexpected(place: usize, expected: &str, found: &Field) -> Failure {
    let found = match found {
        Field::Null => "NULL",
        Field::Integer(_) => "a number",
        Field::Text(_) => "a text",
        Field::Id(_) => "an id",
        Field::Malformed(what) => what,
    };
    malformed(place, &format!("{found} instead of {expected}"))
}

fn malformed(place: usize, what: &str) -> Failure {
    Failure::malformed(format!("a stored row is malformed: field {place} holds {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed() -> Vec<Field> {
        TASK_COLUMNS
            .iter()
            .map(|column| match column {
                Column::Id => Field::Id(Uuid::nil()),
                Column::Type => Field::Text("welcome".to_owned()),
                Column::Payload => Field::Text("{ }".to_owned()),
                Column::Metadata => Field::Text(r#"{"a":"b"}"#.to_owned()),
                Column::LastError | Column::Region | Column::WorkerId | Column::UniqueKey => Field::Null,
                Column::Status => Field::Integer(3),
                _ => Field::Integer(7),
            })
            .collect()
    }

    #[test]
    fn a_row_becomes_the_task_that_it_holds() {
        let task = Row::new(completed()).task().unwrap();
        assert_eq!(task.payload.as_str(), "{ }");
        assert_eq!(task.metadata["a"], "b");
        assert_eq!(task.completed_at.unwrap().timestamp_micros(), 7);
        assert_eq!(task.retry_after, None, "only a failed task shows its due time");
    }

    #[test]
    fn a_status_code_that_no_version_writes_is_an_error() {
        let mut fields = completed();
        fields[2] = Field::Integer(9);
        let error = Row::new(fields).task().expect_err("9 is no state").into_error("get");
        assert!(error.to_string().contains("status code 9"), "{error}");
    }

    #[test]
    fn what_a_foreign_producer_got_wrong_does_not_cost_the_task() {
        let mut fields = completed();
        fields[10] = Field::Integer(-1);
        fields[18] = Field::Text(r#"{"n":1}"#.to_owned());
        let task = Row::new(fields).task().unwrap();
        assert_eq!((task.max_retries, task.metadata.len()), (0, 0));
    }

    #[test]
    fn a_null_where_a_value_must_be_is_an_error() {
        let mut fields = completed();
        fields[4] = Field::Null;
        assert!(Row::new(fields).task().is_err());
    }
}
