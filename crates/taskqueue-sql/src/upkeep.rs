//! What operators and maintenance do: cancel, reclaim, promote, redrive, pause, resume.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use taskqueue_core::{
    AfterLeaseEnd, Cancelled, EndedLease, Error, LeaseToken, Reclaimed, Redrive, State, TaskId, TaskType,
    after_lease_end, lease_ended_error,
};

use crate::finish::Deltas;
use crate::operation::{Operation, changed, kind_of, statements};
use crate::statements::LIST_MAX;
use crate::{Attempt, Dialect, Reclaiming, Row};

/// Cancels a task that is not finished.
pub(crate) struct Cancel(pub(crate) TaskId);

#[async_trait]
impl<D: Dialect> Operation<D> for Cancel {
    type Answer = Cancelled;
    const NAME: &'static str = "cancel";

    async fn run(&self, dialect: &D, connection: &mut D::Connection) -> Attempt<Cancelled> {
        let Self(id) = *self;
        let mut rows = dialect.fetch(connection, statements(dialect).position(id)).await?;
        let mut row = rows.pop().ok_or_else(|| Error::task_not_found("cancel", id))?;
        let (task_type, from) = kind_of(&mut row)?;
        if from.status().is_finished() {
            return Ok(Cancelled::AlreadyFinished(from.status()));
        }
        let cancel = statements(dialect).cancel(dialect.now(), id, from);
        changed(dialect.execute(connection, cancel).await?, 1)?;
        let mut deltas = Deltas::default();
        deltas.add(&task_type, State::Cancelled, 0);
        deltas.apply(dialect, connection).await?;
        Ok(Cancelled::From(from.status()))
    }
}

/// Takes back what has outlived its lease.
pub(crate) struct Reclaim {
    pub(crate) limit: usize,
}

#[async_trait]
impl<D: Dialect> Operation<D> for Reclaim {
    type Answer = Reclaimed;
    const NAME: &'static str = "reclaim";

    async fn run(&self, dialect: &D, connection: &mut D::Connection) -> Attempt<Reclaimed> {
        let now = dialect.now();
        let rows = dialect.ended(connection, now, self.limit).await?;
        if rows.is_empty() {
            return Ok(Reclaimed::default());
        }
        let max_reclaims = dialect.options().max_reclaims;
        let ended: Vec<Reclaiming> =
            rows.into_iter().map(|row| after_end(row, max_reclaims)).collect::<Attempt<_>>()?;
        let taken = dialect.reclaim(connection, now, &ended).await?;
        let mut reclaimed = Reclaimed::default();
        let mut deltas = Deltas::default();
        for Reclaiming { task_type, state, .. } in ended.iter().filter(|ended| taken.contains(&ended.id)) {
            match state {
                State::DeadLetter => reclaimed.dead_lettered += 1,
                _ => reclaimed.released += 1,
            }
            deltas.add(task_type, *state, 0);
        }
        deltas.apply(dialect, connection).await?;
        Ok(reclaimed)
    }
}

/// Where the end of its lease puts a task.
fn after_end(mut row: Row, max_reclaims: u32) -> Attempt<Reclaiming> {
    let worker_id = row.worker_id(3)?;
    let ended = EndedLease {
        worker_id: worker_id.as_ref(),
        attempts: row.count(4)?,
        max_retries: row.count(5)?,
        reclaims: row.count(6)?,
        max_reclaims,
    };
    let state = match after_lease_end(&ended) {
        AfterLeaseEnd::Ready => State::Ready,
        AfterLeaseEnd::DeadLetter => State::DeadLetter,
    };
    let token = LeaseToken::from_stored(row.integer(2)?);
    Ok(Reclaiming {
        id: row.id(0)?,
        task_type: row.task_type(1)?,
        token,
        state,
        error: lease_ended_error(&ended),
    })
}

/// Makes ready what is due.
pub(crate) struct Promote {
    pub(crate) limit: usize,
}

#[async_trait]
impl<D: Dialect> Operation<D> for Promote {
    type Answer = u64;
    const NAME: &'static str = "promote";

    async fn run(&self, dialect: &D, connection: &mut D::Connection) -> Attempt<u64> {
        dialect.promote(connection, dialect.now(), self.limit).await
    }
}

#[async_trait]
impl<D: Dialect> Operation<D> for Redrive {
    type Answer = u64;
    const NAME: &'static str = "redrive";

    async fn run(&self, dialect: &D, connection: &mut D::Connection) -> Attempt<u64> {
        let mut chosen = match self {
            Self::Tasks(ids) => dead_letters_of(dialect, connection, ids).await?,
            Self::Any { task_type, limit } => {
                let any = statements(dialect).dead_letters(task_type.as_ref(), *limit);
                read_dead_letters(dialect.fetch(connection, any).await?)?
            }
        };
        let mut keys = HashSet::new();
        chosen.retain(|dead| {
            dead.unique_key.is_none() || keys.insert((dead.task_type.clone(), dead.unique_key.clone()))
        });
        let ids: Vec<TaskId> = chosen.iter().map(|dead| dead.id).collect();
        let redriven = dialect.redrive(connection, dialect.now(), &ids).await?;
        let mut deltas = Deltas::default();
        for dead in chosen.iter().filter(|dead| redriven.contains(&dead.id)) {
            deltas.subtract(&dead.task_type, State::DeadLetter, 0);
        }
        deltas.apply(dialect, connection).await?;
        Ok(redriven.len() as u64)
    }
}

/// A dead letter whose unique key, if any, nobody holds.
struct DeadLetter {
    id: TaskId,
    task_type: TaskType,
    unique_key: Option<String>,
}

/// Those of `ids` that are dead letters, in the order of `ids`, each once.
async fn dead_letters_of<D: Dialect>(
    dialect: &D,
    connection: &mut D::Connection,
    ids: &[TaskId],
) -> Attempt<Vec<DeadLetter>> {
    let mut found = HashMap::new();
    for chunk in ids.chunks(LIST_MAX) {
        let rows = dialect.fetch(connection, statements(dialect).dead_letters_of(chunk)).await?;
        found.extend(read_dead_letters(rows)?.into_iter().map(|dead| (dead.id, dead)));
    }
    Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
}

fn read_dead_letters(rows: Vec<Row>) -> Attempt<Vec<DeadLetter>> {
    let read = |mut row: Row| {
        Ok(DeadLetter { id: row.id(0)?, task_type: row.task_type(1)?, unique_key: row.text_opt(2)? })
    };
    rows.into_iter().map(read).collect()
}

/// Stops claims of a type.
pub(crate) struct Pause(pub(crate) TaskType);

#[async_trait]
impl<D: Dialect> Operation<D> for Pause {
    type Answer = ();
    const NAME: &'static str = "pause";

    async fn run(&self, dialect: &D, connection: &mut D::Connection) -> Attempt<()> {
        dialect.execute(connection, statements(dialect).pause(dialect.now(), &self.0)).await?;
        Ok(())
    }
}

/// Lets a type be claimed again.
pub(crate) struct Resume(pub(crate) TaskType);

#[async_trait]
impl<D: Dialect> Operation<D> for Resume {
    type Answer = ();
    const NAME: &'static str = "resume";

    async fn run(&self, dialect: &D, connection: &mut D::Connection) -> Attempt<()> {
        dialect.execute(connection, statements(dialect).resume(&self.0)).await?;
        dialect.doubt();
        Ok(())
    }
}
