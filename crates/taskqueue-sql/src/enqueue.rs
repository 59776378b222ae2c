//! Enqueue: insert what collides with nothing, then say of the rest what it collided with.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use taskqueue_core::{Enqueued, NewTask, Shard, Shards, TaskId, TaskType};

use crate::operation::Operation;
use crate::shard::{access_to, by_shard};
use crate::statements::LIST_MAX;
use crate::vouch::vouch;
use crate::{Access, Attempt, Dialect, Failure, Now};

/// How often a task is inserted whose way is blocked by what is gone when it is looked for.
const INSERTS_MAX: usize = 5;

/// Enqueues a batch that has been validated.
pub(crate) struct Enqueue(pub(crate) Vec<NewTask>);

#[async_trait]
impl<D: Dialect> Operation<D> for Enqueue {
    type Answer = Vec<Enqueued>;
    const NAME: &'static str = "enqueue";

    /// All go in at once, or those that collide with nothing; what the others collided with is looked at afterwards.
    /// When that look fails they are in all the same, as after a lost reply: repeating is safe.
    fn access(&self, shards: Shards) -> Access {
        let ids: foldhash::HashSet<TaskId> = self.0.iter().map(|task| task.id).collect();
        if ids.len() == self.0.len() { access_to(shards, ids.into_iter()) } else { Access::Write }
    }

    /// Others wait for their turn meanwhile where a unique key is held.
    fn repeats_lock_waits(&self) -> bool {
        self.0.iter().all(|task| task.unique_key.is_none())
    }

    async fn at_once(&self, dialect: &D, shards: Shards) -> Attempt<Option<Vec<Enqueued>>> {
        let tasks: Vec<&NewTask> = self.0.iter().collect();
        let ([first, ..], Access::Single) = (&*tasks, <Self as Operation<D>>::access(self, shards)) else {
            return Ok(None);
        };
        check(shards, &self.0)?;
        let are_in = dialect.insert_all(dialect.now(), shards.of(first.id), &tasks).await?;
        Ok(are_in.then(|| tasks.iter().map(|task| Enqueued::Created(task.id)).collect()))
    }

    async fn run(
        &self,
        dialect: &D,
        connection: &mut D::Connection,
        shards: Shards,
    ) -> Attempt<Vec<Enqueued>> {
        let tasks: Vec<&NewTask> = self.0.iter().collect();
        check(shards, &self.0)?;
        let answers = enqueue(dialect, connection, dialect.now(), shards, &tasks, 0).await?;
        if answers.iter().any(|answer| matches!(answer, Enqueued::Repeated(_))) {
            vouch(dialect, connection).await?;
        }
        Ok(answers)
    }
}

/// Refuses tasks whose id was given and is not in the shard of their unique key.
pub(crate) fn check<'t>(shards: Shards, tasks: impl IntoIterator<Item = &'t NewTask>) -> Attempt<()> {
    Ok(tasks.into_iter().try_for_each(|task| shards.check(task))?)
}

/// Enqueues tasks one after the other, as if each had been enqueued alone, behind `first_place` others of the same
/// call. Ids may repeat. Tasks of one id or one key are in one shard, so that none in another is in their way.
pub(crate) async fn enqueue<D: Dialect>(
    dialect: &D,
    connection: &mut D::Connection,
    now: Now<D>,
    shards: Shards,
    tasks: &[&NewTask],
    first_place: usize,
) -> Attempt<Vec<Enqueued>> {
    let mut of_shards: HashMap<Shard, std::vec::IntoIter<Enqueued>> = HashMap::new();
    for (shard, part) in by_shard(shards, tasks, |task| task.id) {
        let answers = enqueue_in_order(dialect, connection, now, shard, &part, first_place).await?;
        if answers.len() == tasks.len() {
            return Ok(answers);
        }
        of_shards.insert(shard, answers.into_iter());
    }
    let answer = |task: &&NewTask| of_shards.get_mut(&shards.of(task.id)).and_then(Iterator::next);
    Ok(tasks.iter().filter_map(answer).collect())
}

async fn enqueue_in_order<D: Dialect>(
    dialect: &D,
    connection: &mut D::Connection,
    now: Now<D>,
    shard: Shard,
    tasks: &[&NewTask],
    first_place: usize,
) -> Attempt<Vec<Enqueued>> {
    let mut answers = Vec::with_capacity(tasks.len());
    while answers.len() < tasks.len() {
        let run = run_of_distinct_ids(&tasks[answers.len()..]);
        answers.extend(enqueue_run(dialect, connection, now, shard, run, first_place + answers.len()).await?);
    }
    Ok(answers)
}

/// Enqueues tasks of distinct ids. Where other writers run at the same time, what was in the way of one may be gone
/// when it is looked for: then it is inserted again.
async fn enqueue_run<D: Dialect>(
    dialect: &D,
    connection: &mut D::Connection,
    now: Now<D>,
    shard: Shard,
    run: &[&NewTask],
    first_place: usize,
) -> Attempt<Vec<Enqueued>> {
    let mut answers: HashMap<TaskId, Enqueued> = HashMap::with_capacity(run.len());
    let mut open = run.to_vec();
    for _ in 0..INSERTS_MAX {
        let inserted = dialect.insert(connection, now, shard, &open, first_place).await?;
        open.retain(|task| !inserted.contains(&task.id));
        answers.extend(inserted.into_iter().map(|id| (id, Enqueued::Created(id))));
        if open.is_empty() {
            break;
        }
        answers.extend(explain(dialect, connection, shard, &open).await?);
        open.retain(|task| !answers.contains_key(&task.id));
        if open.is_empty() {
            break;
        }
        answers.extend(dialect.in_the_way(connection, shard, &open).await?);
        open.retain(|task| !answers.contains_key(&task.id));
        if open.is_empty() {
            break;
        }
    }
    let answer = |task: &&NewTask| answers.remove(&task.id).ok_or(Failure::Contention { source: None });
    run.iter().map(answer).collect()
}

/// The longest start of `tasks` in which no id repeats. A repeated id starts a new insert, so that it sees the
/// first one's outcome.
fn run_of_distinct_ids<'t>(tasks: &'t [&'t NewTask]) -> &'t [&'t NewTask] {
    let mut seen = HashSet::with_capacity(tasks.len());
    let end = tasks.iter().position(|task| !seen.insert(task.id));
    &tasks[..end.unwrap_or(tasks.len())]
}

/// Says of tasks that did not go in what they collided with, as far as it is still there.
async fn explain<D: Dialect>(
    dialect: &D,
    connection: &mut D::Connection,
    shard: Shard,
    refused: &[&NewTask],
) -> Attempt<HashMap<TaskId, Enqueued>> {
    let stored = stored_ids(dialect, connection, shard, refused).await?;
    let blocked: Vec<&NewTask> = refused.iter().copied().filter(|task| !stored.contains(&task.id)).collect();
    let holders = holders(dialect, connection, shard, &blocked).await?;
    let mut answers: HashMap<TaskId, Enqueued> =
        stored.into_iter().map(|id| (id, Enqueued::Repeated(id))).collect();
    for task in blocked {
        let key = (task.task_type.clone(), task.unique_key.clone().unwrap_or_default());
        answers.extend(holders.get(&key).map(|holder| (task.id, Enqueued::Duplicate(*holder))));
    }
    Ok(answers)
}

async fn stored_ids<D: Dialect>(
    dialect: &D,
    connection: &mut D::Connection,
    shard: Shard,
    tasks: &[&NewTask],
) -> Attempt<HashSet<TaskId>> {
    let mut stored = HashSet::new();
    for chunk in tasks.chunks(LIST_MAX) {
        let ids: Vec<TaskId> = chunk.iter().map(|task| task.id).collect();
        for mut row in dialect.fetch(connection, dialect.statements(shard).standings(&ids)).await? {
            stored.insert(row.id(0)?);
        }
    }
    Ok(stored)
}

/// Who holds the unique keys of these tasks.
async fn holders<D: Dialect>(
    dialect: &D,
    connection: &mut D::Connection,
    shard: Shard,
    tasks: &[&NewTask],
) -> Attempt<HashMap<(TaskType, String), TaskId>> {
    let mut keys: HashMap<&TaskType, Vec<&str>> = HashMap::new();
    for task in tasks {
        keys.entry(&task.task_type).or_default().extend(task.unique_key.as_deref());
    }
    let mut holders = HashMap::new();
    for (task_type, keys) in keys {
        for chunk in keys.chunks(LIST_MAX) {
            for mut row in
                dialect.fetch(connection, dialect.statements(shard).holders(task_type, chunk)).await?
            {
                holders.insert((task_type.clone(), row.text(0)?), row.id(1)?);
            }
        }
    }
    Ok(holders)
}
