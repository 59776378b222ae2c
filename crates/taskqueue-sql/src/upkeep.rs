//! What operators and maintenance do: cancel, reclaim, promote, run now, redrive, pause, resume, fold sums.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use taskqueue_core::backend::{AfterLeaseEnd, EndedLease, after_lease_end, lease_ended_error};
use taskqueue_core::{Cancelled, Error, LeaseToken, Reclaimed, Shard, Shards, State, TaskId, TaskType};

use crate::finish::Deltas;
use crate::operation::{Operation, changed, kind_of, readable};
use crate::shard::by_shard;
use crate::statements::LIST_MAX;
use crate::vouch::vouch;
use crate::{Attempt, Dialect, Owner, Reclaiming, Row, wider};

/// Cancels a task that is not finished.
pub(crate) struct Cancel(pub(crate) TaskId);

#[async_trait]
impl<D: Dialect> Operation<D> for Cancel {
    type Answer = Cancelled;
    const NAME: &'static str = "cancel";

    async fn run(&self, dialect: &D, connection: &mut D::Connection, shards: Shards) -> Attempt<Cancelled> {
        let Self(id) = *self;
        let shard = shards.of(id);
        let statements = dialect.statements(shard);
        let mut rows = dialect.fetch(connection, statements.position(id)).await?;
        let mut row = rows.pop().ok_or_else(|| Error::task_not_found("cancel", id))?;
        let (task_type, from) = kind_of(&mut row)?;
        if from.status().is_finished() {
            vouch(dialect, connection).await?;
            return Ok(Cancelled::AlreadyFinished(from.status()));
        }
        dialect.let_key_go(connection, shard, id).await?;
        let cancel = statements.cancel(dialect.now(), id, from);
        changed(dialect.execute(connection, cancel).await?, 1)?;
        let mut deltas = Deltas::default();
        deltas.add(&task_type, State::Cancelled, 0);
        deltas.apply(dialect, connection, Owner::Queue).await?;
        Ok(Cancelled::From(from.status()))
    }
}

/// Takes back what has outlived its lease, in one shard.
pub(crate) struct Reclaim {
    pub(crate) limit: usize,
    pub(crate) shard: Shard,
}

#[async_trait]
impl<D: Dialect> Operation<D> for Reclaim {
    type Answer = Reclaimed;
    const NAME: &'static str = "reclaim";

    async fn run(&self, dialect: &D, connection: &mut D::Connection, _shards: Shards) -> Attempt<Reclaimed> {
        let now = dialect.now();
        let rows = dialect.ended(connection, now, self.shard, self.limit).await?;
        let max_reclaims = dialect.options().max_reclaims;
        let ended: Vec<Reclaiming> =
            rows.into_iter().filter_map(|row| that_goes(after_end(row, max_reclaims))).collect();
        if ended.is_empty() {
            return Ok(Reclaimed::default());
        }
        dialect.doubt();
        let taken = dialect.reclaim(connection, now, self.shard, &ended).await?;
        let mut reclaimed = Reclaimed::default();
        let mut deltas = Deltas::default();
        for Reclaiming { task_type, state, .. } in ended.iter().filter(|ended| taken.contains(&ended.id)) {
            match state {
                State::DeadLetter => reclaimed.dead_lettered += 1,
                _ => reclaimed.released += 1,
            }
            deltas.add(task_type.as_str(), *state, 0);
        }
        deltas.apply(dialect, connection, Owner::Queue).await?;
        Ok(reclaimed)
    }
}

/// What could be read. A task that cannot be is passed over, for the sake of all the others.
fn that_goes(ended: Attempt<Reclaiming>) -> Option<Reclaiming> {
    ended
        .map_err(|failure| tracing::error!(?failure, "a task whose lease has ended cannot be read and stays"))
        .ok()
}

/// Where the end of its lease puts a task.
fn after_end(mut row: Row, max_reclaims: u32) -> Attempt<Reclaiming> {
    let worker_id = row.worker_id(3).ok().flatten();
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

/// Makes ready what is due, in one shard.
pub(crate) struct Promote {
    pub(crate) limit: usize,
    pub(crate) shard: Shard,
}

#[async_trait]
impl<D: Dialect> Operation<D> for Promote {
    type Answer = u64;
    const NAME: &'static str = "promote";

    async fn run(&self, dialect: &D, connection: &mut D::Connection, _shards: Shards) -> Attempt<u64> {
        let promoted = dialect.promote(connection, dialect.now(), self.shard, self.limit).await?;
        if promoted > 0 {
            dialect.doubt();
        }
        Ok(promoted)
    }
}

/// Makes these tasks ready, as far as they wait for a time.
pub(crate) struct RunNow(Vec<TaskId>);

impl RunNow {
    /// Each once, the first time that it is named.
    pub(crate) fn new(ids: &[TaskId]) -> Self {
        let mut named = HashSet::new();
        Self(ids.iter().copied().filter(|id| named.insert(*id)).collect())
    }
}

#[async_trait]
impl<D: Dialect> Operation<D> for RunNow {
    type Answer = u64;
    const NAME: &'static str = "run_now";

    async fn run(&self, dialect: &D, connection: &mut D::Connection, shards: Shards) -> Attempt<u64> {
        let now = dialect.now();
        let mut made_ready = 0;
        for (shard, ids) in by_shard(shards, &self.0, |id| *id) {
            made_ready += dialect.run_now(connection, now, shard, &ids).await?;
        }
        if made_ready > 0 {
            dialect.doubt();
        }
        if made_ready < self.0.len() as u64 {
            vouch(dialect, connection).await?;
        }
        Ok(made_ready)
    }
}

/// Redrives these tasks, as far as they are dead letters.
pub(crate) struct RedriveTasks(pub(crate) Vec<TaskId>);

#[async_trait]
impl<D: Dialect> Operation<D> for RedriveTasks {
    type Answer = u64;
    const NAME: &'static str = "redrive";

    async fn run(&self, dialect: &D, connection: &mut D::Connection, shards: Shards) -> Attempt<u64> {
        let mut redriven = 0;
        for (shard, ids) in by_shard(shards, &self.0, |id| *id) {
            let chosen = dead_letters_of(dialect, connection, shard, &ids).await?;
            redriven += redrive(dialect, connection, shard, chosen).await?;
        }
        Ok(redriven)
    }
}

/// Redrives whatever dead letters there are in one shard.
pub(crate) struct RedriveAny {
    pub(crate) task_type: Option<TaskType>,
    pub(crate) limit: usize,
    pub(crate) shard: Shard,
}

#[async_trait]
impl<D: Dialect> Operation<D> for RedriveAny {
    type Answer = u64;
    const NAME: &'static str = "redrive";

    async fn run(&self, dialect: &D, connection: &mut D::Connection, _shards: Shards) -> Attempt<u64> {
        let mut width = self.limit;
        loop {
            let any = dialect.statements(self.shard).dead_letters(self.task_type.as_ref(), width);
            let rows = dialect.fetch(&mut *connection, any).await?;
            let read = rows.len();
            let mut chosen = read_dead_letters(rows);
            chosen.truncate(self.limit);
            // Those that cannot be read stay the first.
            match wider(width, read, self.limit - chosen.len()) {
                Some(more) => width = more,
                None => return redrive(dialect, connection, self.shard, chosen).await,
            }
        }
    }
}

/// Redrives these, of those with one key the first.
async fn redrive<D: Dialect>(
    dialect: &D,
    connection: &mut D::Connection,
    shard: Shard,
    mut chosen: Vec<DeadLetter>,
) -> Attempt<u64> {
    let mut keys = HashSet::new();
    chosen.retain(|dead| {
        dead.unique_key.is_none() || keys.insert((dead.task_type.clone(), dead.unique_key.clone()))
    });
    let ids: Vec<TaskId> = chosen.iter().map(|dead| dead.id).collect();
    dialect.doubt();
    let redriven = dialect.redrive(connection, dialect.now(), shard, &ids).await?;
    let mut deltas = Deltas::default();
    for dead in chosen.iter().filter(|dead| redriven.contains(&dead.id)) {
        deltas.subtract(dead.task_type.as_str(), State::DeadLetter, 0);
    }
    deltas.apply(dialect, connection, Owner::Queue).await?;
    Ok(redriven.len() as u64)
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
    shard: Shard,
    ids: &[TaskId],
) -> Attempt<Vec<DeadLetter>> {
    let mut found = HashMap::new();
    for chunk in ids.chunks(LIST_MAX) {
        let rows = dialect.fetch(connection, dialect.statements(shard).dead_letters_of(chunk)).await?;
        found.extend(read_dead_letters(rows).into_iter().map(|dead| (dead.id, dead)));
    }
    Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
}

fn read_dead_letters(rows: Vec<Row>) -> Vec<DeadLetter> {
    let read = |mut row: Row| {
        Ok(DeadLetter { id: row.id(0)?, task_type: row.task_type(1)?, unique_key: row.text_opt(2)? })
    };
    rows.into_iter().filter_map(|row| readable(read(row))).collect()
}

/// Stops claims of a type.
pub(crate) struct Pause(pub(crate) TaskType);

#[async_trait]
impl<D: Dialect> Operation<D> for Pause {
    type Answer = ();
    const NAME: &'static str = "pause";

    async fn run(&self, dialect: &D, connection: &mut D::Connection, _shards: Shards) -> Attempt<()> {
        let pause = dialect.statements(Shard::FIRST).pause(dialect.now(), &self.0);
        match dialect.execute(connection, pause).await? {
            0 => vouch(dialect, connection).await,
            _ => Ok(()),
        }
    }
}

/// Lets a type be claimed again.
pub(crate) struct Resume(pub(crate) TaskType);

#[async_trait]
impl<D: Dialect> Operation<D> for Resume {
    type Answer = ();
    const NAME: &'static str = "resume";

    async fn run(&self, dialect: &D, connection: &mut D::Connection, _shards: Shards) -> Attempt<()> {
        let resumed = dialect.execute(connection, dialect.statements(Shard::FIRST).resume(&self.0)).await?;
        dialect.doubt();
        if resumed == 0 { vouch(dialect, connection).await } else { Ok(()) }
    }
}

/// Folds the sums over finished tasks.
pub(crate) struct FoldTotals;

#[async_trait]
impl<D: Dialect> Operation<D> for FoldTotals {
    type Answer = ();
    const NAME: &'static str = "fold totals";

    async fn run(&self, dialect: &D, connection: &mut D::Connection, _shards: Shards) -> Attempt<()> {
        dialect.fold_totals(connection).await
    }
}
