//! Enqueue: insert what collides with nothing, then say of the rest what it collided with.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use taskqueue_core::{Enqueued, NewTask, TaskId, TaskType};

use crate::operation::{Operation, statements};
use crate::statements::LIST_MAX;
use crate::{Access, Attempt, Dialect, Failure, Now};

/// Enqueues a batch that has been validated.
pub(crate) struct Enqueue(pub(crate) Vec<NewTask>);

#[async_trait]
impl<D: Dialect> Operation<D> for Enqueue {
    type Answer = Vec<Enqueued>;
    const NAME: &'static str = "enqueue";
    const ACCESS: Access = Access::Write;

    async fn run(&self, dialect: &D, connection: &mut D::Connection) -> Attempt<Vec<Enqueued>> {
        let tasks: Vec<&NewTask> = self.0.iter().collect();
        enqueue(dialect, connection, dialect.now(), &tasks, 0).await
    }
}

/// Enqueues tasks one after the other, as if each had been enqueued alone, behind `first_place` others of the same
/// call. Ids may repeat.
pub(crate) async fn enqueue<D: Dialect>(
    dialect: &D,
    connection: &mut D::Connection,
    now: Now<D>,
    tasks: &[&NewTask],
    first_place: usize,
) -> Attempt<Vec<Enqueued>> {
    let mut answers = Vec::with_capacity(tasks.len());
    while answers.len() < tasks.len() {
        let run = run_of_distinct_ids(&tasks[answers.len()..]);
        let inserted = dialect.insert(connection, now, run, first_place + answers.len()).await?;
        if inserted.len() == run.len() {
            answers.extend(run.iter().map(|task| Enqueued::Created(task.id)));
        } else {
            answers.extend(explain(dialect, connection, run, &inserted).await?);
        }
    }
    Ok(answers)
}

/// The longest start of `tasks` in which no id repeats. A repeated id starts a new insert, so that it sees the
/// first one's outcome.
fn run_of_distinct_ids<'t>(tasks: &'t [&'t NewTask]) -> &'t [&'t NewTask] {
    let mut seen = HashSet::with_capacity(tasks.len());
    let end = tasks.iter().position(|task| !seen.insert(task.id));
    &tasks[..end.unwrap_or(tasks.len())]
}

/// Says what became of each task of a run of which only `inserted` went in.
async fn explain<D: Dialect>(
    dialect: &D,
    connection: &mut D::Connection,
    run: &[&NewTask],
    inserted: &HashSet<TaskId>,
) -> Attempt<Vec<Enqueued>> {
    let refused: Vec<&NewTask> = run.iter().copied().filter(|task| !inserted.contains(&task.id)).collect();
    let stored = stored_ids(dialect, connection, &refused).await?;
    let blocked: Vec<&NewTask> = refused.into_iter().filter(|task| !stored.contains(&task.id)).collect();
    let holders = holders(dialect, connection, &blocked).await?;
    let answer = |task: &&NewTask| {
        if inserted.contains(&task.id) {
            return Ok(Enqueued::Created(task.id));
        }
        if stored.contains(&task.id) {
            return Ok(Enqueued::Repeated(task.id));
        }
        let key = (task.task_type.clone(), task.unique_key.clone().unwrap_or_default());
        // Where other writers run at the same time, what was in the way may be gone by now: insert again.
        holders.get(&key).map(|id| Enqueued::Duplicate(*id)).ok_or(Failure::Contention { source: None })
    };
    run.iter().map(answer).collect()
}

async fn stored_ids<D: Dialect>(
    dialect: &D,
    connection: &mut D::Connection,
    tasks: &[&NewTask],
) -> Attempt<HashSet<TaskId>> {
    let mut stored = HashSet::new();
    for chunk in tasks.chunks(LIST_MAX) {
        let ids: Vec<TaskId> = chunk.iter().map(|task| task.id).collect();
        for mut row in dialect.fetch(connection, statements(dialect).standings(&ids)).await? {
            stored.insert(row.id(0)?);
        }
    }
    Ok(stored)
}

/// Who holds the unique keys of these tasks.
async fn holders<D: Dialect>(
    dialect: &D,
    connection: &mut D::Connection,
    tasks: &[&NewTask],
) -> Attempt<HashMap<(TaskType, String), TaskId>> {
    let mut keys: HashMap<&TaskType, Vec<&str>> = HashMap::new();
    for task in tasks {
        keys.entry(&task.task_type).or_default().extend(task.unique_key.as_deref());
    }
    let mut holders = HashMap::new();
    for (task_type, keys) in keys {
        for chunk in keys.chunks(LIST_MAX) {
            for mut row in dialect.fetch(connection, statements(dialect).holders(task_type, chunk)).await? {
                holders.insert((task_type.clone(), row.text(0)?), row.id(1)?);
            }
        }
    }
    Ok(holders)
}
