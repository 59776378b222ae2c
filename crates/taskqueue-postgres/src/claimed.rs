//! What a claim answers with, and the claims that it becomes. It owns which columns those are, and claim order; it makes no
//! statement.

use sqlx::postgres::{PgRow, PgTypeInfo};
use sqlx::{Column as _, Decode, Postgres, Row as _, Type, TypeInfo as _};
use taskqueue_core::{Claim, Lease, Priority, RawPayload, Status, Task, TaskId, TaskType, Timestamp, clock};
use taskqueue_sql::cursor::Places;
use taskqueue_sql::{Attempt, Claiming, Failure, count_of, read_metadata};
use uuid::Uuid;

use crate::error::failure;
use crate::moment::Moment;

/// What a claim answers with of each task: what it has not set itself, and the times of this claim.
pub(crate) const CLAIMED: &str = "t.id, t.type, t.priority, t.payload, t.scheduled_at, t.started_at, t.attempts, t.max_retries, \
     t.last_error, t.created_at, t.region, t.unique_key, t.reclaims, t.metadata, t.lease_number, t.queue_at";

/// Whether a column has the type that [`Reader::read`] takes it for, one for each of [`CLAIMED`].
const HAVE_TYPES: [fn(&PgTypeInfo) -> bool; 16] = {
    let (text, count, time) = (is::<str>, is::<i32>, is::<Timestamp>);
    [
        is::<Uuid>, text, count, text, time, time, count, count, text, time, text, text, count, text,
        is::<i64>, time,
    ]
};

/// The place of the time of the claim in a row: one moment in all rows of one statement.
const CLAIMED_AT: usize = 5;

/// Reads the rows of one claim.
pub(crate) struct Reader<'c> {
    claiming: &'c Claiming,
    /// When the claim was made and when it ends; known from the first row.
    times: Option<(Timestamp, Timestamp)>,
}

impl<'c> Reader<'c> {
    /// For the answer to this claim.
    pub(crate) fn new(claiming: &'c Claiming) -> Self {
        Self { claiming, times: None }
    }

    /// Reads one row. What the claim itself has set is not sent back. Whatever the table takes for a value must be read here: the
    /// claim is committed by now, and a row that fails would cost all others of it an attempt.
    pub(crate) fn read(&mut self, row: &PgRow) -> Attempt<Claim> {
        let (claimed_at, until) = self.times(row)?;
        let id = TaskId::from(get::<Uuid>(row, 0)?);
        let task = Task {
            id,
            task_type: self.task_type(id, get(row, 1)?)?,
            status: Status::Running,
            priority: Priority(get(row, 2)?),
            payload: RawPayload::from_stored(get::<&str>(row, 3)?),
            scheduled_at: time(row, 4)?,
            started_at: Some(claimed_at),
            completed_at: None,
            attempts: count(row, 6)?,
            max_retries: count(row, 7)?,
            retry_after: None,
            last_error: get(row, 8)?,
            created_at: time(row, 9)?,
            updated_at: claimed_at,
            region: get(row, 10)?,
            worker_id: Some(self.claiming.worker_id.clone()),
            unique_key: get(row, 11)?,
            reclaims: count(row, 12)?,
            metadata: read_metadata(id, get(row, 13)?),
        };
        let lease = Lease {
            task_id: id,
            task_type: task.task_type.clone(),
            token: self.claiming.token,
            number: get(row, 14)?,
            attempt: task.attempts,
            max_retries: task.max_retries,
            claimed_at,
            until,
        };
        Ok(Claim { task, lease, ready_at: time(row, 15)? })
    }

    fn times(&mut self, row: &PgRow) -> Attempt<(Timestamp, Timestamp)> {
        if let Some(times) = self.times {
            return Ok(times);
        }
        check_types(row)?;
        let claimed_at = time(row, CLAIMED_AT)?;
        let times = (claimed_at, clock::add(claimed_at, self.claiming.visibility_timeout));
        Ok(*self.times.insert(times))
    }

    fn task_type(&self, id: TaskId, name: &str) -> Attempt<TaskType> {
        let known = self.claiming.types.iter().find(|known| known.as_str() == name);
        let unknown = || Failure::malformed(format!("the task {id} was claimed with its type {name:?}"));
        known.cloned().ok_or_else(unknown)
    }
}

/// Into claim order. The server would sort whole rows, and after it has locked and changed them.
pub(crate) fn sort(claimed: &mut [Claim]) {
    claimed.sort_by_key(|claim| (-i64::from(claim.task.priority.0), claim.ready_at));
}

/// The last place of each kind among these, which are in claim order. None is behind the time of the claim, at which others become
/// ready: a producer's own INSERT may have named a time that never comes.
pub(crate) fn places_of(claimed: &[Claim]) -> Places {
    let mut places = Places::new();
    for of_kind in claimed.chunk_by(|one, next| kind(one) == kind(next)) {
        let [.., last] = of_kind else { continue };
        let (priority, task_type) = kind(last);
        places.insert((-i64::from(priority.0), task_type.clone()), last.ready_at.min(last.lease.claimed_at));
    }
    places
}

fn kind(claim: &Claim) -> (Priority, &TaskType) {
    (claim.task.priority, &claim.task.task_type)
}

/// The types are those of the statement, the same in all its rows: checked in each field they would cost as much as all else.
fn check_types(row: &PgRow) -> Attempt<()> {
    for (column, has_type) in row.columns().iter().zip(HAVE_TYPES) {
        if !has_type(column.type_info()) {
            let (name, found) = (column.name(), column.type_info().name());
            return Err(Failure::malformed(format!(
                "the column {name} has the type {found}, which no version makes"
            )));
        }
    }
    Ok(())
}

/// Of a row whose types were checked.
fn get<'r, T: Decode<'r, Postgres>>(row: &'r PgRow, place: usize) -> Attempt<T> {
    row.try_get_unchecked(place).map_err(failure)
}

fn count(row: &PgRow, place: usize) -> Attempt<u32> {
    let number: i32 = get(row, place)?;
    Ok(count_of(number.into()))
}

fn time(row: &PgRow, place: usize) -> Attempt<Timestamp> {
    get(row, place).map(|Moment(time)| time)
}

fn is<T: Type<Postgres> + ?Sized>(found: &PgTypeInfo) -> bool {
    T::compatible(found)
}
