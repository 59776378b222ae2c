//! What can be done to tasks and types, one by one or for some that were selected. It owns the words of what could not be
//! done; who may ask for it is in `access`, and how it looks in `pages` and `api`.

use taskqueue_core::{Cancelled, Redrive, Status, TaskId, TaskType};
use tokio::time::Instant;

use crate::asked::{Asked, REQUEST_MAX};
use crate::failure::Failure;
use crate::router::Served;
use crate::shown::tasks;

/// Whether the dashboard may change anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Actions {
    /// It only shows.
    #[default]
    Refused,
    /// It may cancel and redrive tasks, and pause and resume types. Give it a [password](crate::DashboardBuilder::password),
    /// or nest it where only those who may do so get.
    Allowed,
}

/// What became of several tasks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Done {
    /// How many it was done to.
    pub(crate) tasks: u64,
    /// Why it was not done to others.
    pub(crate) refused: Vec<String>,
}

/// Cancels a task; its status before.
pub(crate) async fn cancel(asked: &Asked, id: TaskId) -> Result<Status, Failure> {
    match asked.ask(asked.queue().cancel(id)).await? {
        Cancelled::From(status) => Ok(status),
        Cancelled::AlreadyFinished(status) => {
            Err(Failure::conflict(format!("task {id} is finished already: {status}")))
        }
    }
}

/// Makes a dead letter pending again.
pub(crate) async fn redrive(asked: &Asked, id: TaskId) -> Result<(), Failure> {
    match asked.ask(asked.queue().redrive(&Redrive::Tasks(vec![id]))).await? {
        0 => Err(why_not(asked, id).await?),
        _ => Ok(()),
    }
}

/// Stops claims of a type.
pub(crate) async fn pause(served: &Served, task_type: &TaskType) -> Result<(), Failure> {
    let asked = &served.asked;
    asked.ask(asked.queue().pause(task_type)).await?;
    served.statistics.forget(asked).await;
    Ok(())
}

/// Lets a type be claimed again.
pub(crate) async fn resume(served: &Served, task_type: &TaskType) -> Result<(), Failure> {
    let asked = &served.asked;
    asked.ask(asked.queue().resume(task_type)).await?;
    served.statistics.forget(asked).await;
    Ok(())
}

/// Cancels each; one that cannot be cancelled does not stop the others. A database that has gone or is slow does: each would
/// be waited for.
pub(crate) async fn cancel_selected(asked: &Asked, ids: Vec<TaskId>) -> Done {
    let (mut done, began) = (Done::default(), Instant::now());
    let mut ids = ids.into_iter();
    while let Some(id) = ids.next() {
        let mut is_over = false;
        match cancel(asked, id).await {
            Ok(_) => done.tasks += 1,
            Err(failure) => {
                is_over |= failure.is_of_the_database();
                done.refused.push(failure.text);
            }
        }
        is_over |= began.elapsed() > REQUEST_MAX;
        if is_over && ids.len() > 0 {
            done.refused.push(format!("{} were not tried", tasks(ids.len() as u64)));
            break;
        }
    }
    done
}

/// Makes those of them that are dead letters pending again.
pub(crate) async fn redrive_selected(asked: &Asked, ids: Vec<TaskId>) -> Result<Done, Failure> {
    let selected = ids.len() as u64;
    let redriven = asked.ask(asked.queue().redrive(&Redrive::Tasks(ids))).await?;
    let others = selected.saturating_sub(redriven);
    let why = "stayed as they were: they are no dead letters, or another task holds their unique key";
    let refused = (others > 0).then(|| format!("{} {why}", tasks(others)));
    Ok(Done { tasks: redriven, refused: refused.into_iter().collect() })
}

async fn why_not(asked: &Asked, id: TaskId) -> Result<Failure, Failure> {
    let task = asked.ask(asked.queue().get(id)).await?;
    let why = match task.status {
        Status::DeadLetter => "stays a dead letter: another task holds its unique key".to_owned(),
        status => format!("is not a dead letter: {status}"),
    };
    Ok(Failure::conflict(format!("task {id} {why}")))
}
