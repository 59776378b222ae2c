//! What can be done to tasks and types, one by one or for some that were selected. It owns the words of what could not be
//! done; who may ask for it, and whether anybody may, is in `access`, and how it looks in `pages` and `api`.

use taskqueue_core::{Cancelled, Queue, Redrive, Status, TaskId, TaskType};
use tokio::time::Instant;

use crate::asked::REQUEST_MAX;
use crate::failure::Failure;
use crate::served::Served;
use crate::shown::tasks;

/// What became of several tasks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Done {
    /// How many it was done to.
    pub(crate) tasks: u64,
    /// How many of these were running.
    pub(crate) running: u64,
    /// Why it was not done to others.
    pub(crate) refused: Vec<String>,
}

/// Cancels a task; its status before.
pub(crate) async fn cancel(served: &Served, id: TaskId) -> Result<Status, Failure> {
    let queue = served.asked.queue();
    let cancelled = served.asked.act(async move { Ok(queue.cancel(id).await?) }).await;
    served.statistics.forget();
    match cancelled? {
        Cancelled::From(status) => Ok(status),
        Cancelled::AlreadyFinished(status) => {
            Err(Failure::conflict(format!("task {id} is finished already: {status}")))
        }
    }
}

/// Makes a task ready that waits for a time.
pub(crate) async fn run_now(served: &Served, id: TaskId) -> Result<(), Failure> {
    let queue = served.asked.queue();
    let action = async move {
        match queue.run_now(&[id]).await? {
            0 => Err(why_not_now(&*queue, id).await?),
            _ => Ok(()),
        }
    };
    let made_ready = served.asked.act(action).await;
    served.statistics.forget();
    made_ready
}

/// Makes a dead letter pending again.
pub(crate) async fn redrive(served: &Served, id: TaskId) -> Result<(), Failure> {
    let queue = served.asked.queue();
    let action = async move {
        match queue.redrive(&Redrive::Tasks(vec![id])).await? {
            0 => Err(why_not(&*queue, id).await?),
            _ => Ok(()),
        }
    };
    let redriven = served.asked.act(action).await;
    served.statistics.forget();
    redriven
}

/// Stops claims of a type.
pub(crate) async fn pause(served: &Served, task_type: TaskType) -> Result<(), Failure> {
    let queue = served.asked.queue();
    let paused = served.asked.act(async move { Ok(queue.pause(&task_type).await?) }).await;
    served.statistics.forget();
    paused
}

/// Lets a type be claimed again.
pub(crate) async fn resume(served: &Served, task_type: TaskType) -> Result<(), Failure> {
    let queue = served.asked.queue();
    let resumed = served.asked.act(async move { Ok(queue.resume(&task_type).await?) }).await;
    served.statistics.forget();
    resumed
}

/// Cancels each; one that cannot be cancelled does not stop the others. A database that has gone or is slow does: each would
/// be waited for.
pub(crate) async fn cancel_selected(served: &Served, ids: Vec<TaskId>) -> Done {
    let (mut done, began) = (Done::default(), Instant::now());
    let mut ids = ids.into_iter();
    while let Some(id) = ids.next() {
        let mut is_over = false;
        match cancel(served, id).await {
            Ok(was) => {
                done.tasks += 1;
                done.running += u64::from(was == Status::Running);
            }
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

/// Makes those of them ready that wait for a time.
pub(crate) async fn run_now_selected(served: &Served, ids: Vec<TaskId>) -> Result<Done, Failure> {
    let (selected, queue) = (ids.len() as u64, served.asked.queue());
    let action = async move { Ok(queue.run_now(&ids).await?) };
    let made_ready = served.asked.act(action).await;
    served.statistics.forget();
    Ok(done_to(made_ready?, selected, "stayed as they were: they wait for no time"))
}

/// Makes those of them that are dead letters pending again.
pub(crate) async fn redrive_selected(served: &Served, ids: Vec<TaskId>) -> Result<Done, Failure> {
    let (selected, queue) = (ids.len() as u64, served.asked.queue());
    let action = async move { Ok(queue.redrive(&Redrive::Tasks(ids)).await?) };
    let redriven = served.asked.act(action).await;
    served.statistics.forget();
    let why = "stayed as they were: they are no dead letters, or another task holds their unique key";
    Ok(done_to(redriven?, selected, why))
}

/// Done to so many of those that were selected, and why not to the others.
fn done_to(done: u64, selected: u64, why: &str) -> Done {
    let others = selected.saturating_sub(done);
    let refused = (others > 0).then(|| format!("{} {why}", tasks(others)));
    Done { tasks: done, running: 0, refused: refused.into_iter().collect() }
}

async fn why_not_now(queue: &dyn Queue, id: TaskId) -> Result<Failure, Failure> {
    let why = match queue.get(id).await?.status {
        Status::Pending => "ready already".to_owned(),
        status => status.to_string(),
    };
    Ok(Failure::conflict(format!("task {id} waits for no time: {why}")))
}

async fn why_not(queue: &dyn Queue, id: TaskId) -> Result<Failure, Failure> {
    let task = queue.get(id).await?;
    let why = match task.status {
        Status::DeadLetter => "stays a dead letter: another task holds its unique key".to_owned(),
        status => format!("is not a dead letter: {status}"),
    };
    Ok(Failure::conflict(format!("task {id} {why}")))
}
