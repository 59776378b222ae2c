//! The task that holds a unique key, as commands are given it in the place of an id: a type and a key. It knows no command.

use taskqueue_core::{Queue, Task, TaskType};

use crate::failure::{Code, Failure, Outcome};

/// The unfinished task of this type that holds this key.
pub(super) async fn holder(queue: &impl Queue, task_type: &TaskType, unique_key: &str) -> Outcome<Task> {
    let found = queue.holder(task_type, unique_key).await?;
    found.ok_or_else(|| {
        let message = format!("no unfinished task of type {task_type} holds the unique key {unique_key:?}");
        Failure::new(Code::NotFound, message)
    })
}
