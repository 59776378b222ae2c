//! What is read and changes nothing: get, list, statistics.

use taskqueue_core::{
    Error, QueueStats, Result, State, Status, Task, TaskFilter, TaskId, TaskPage, TaskType,
};

use crate::index::TypeIndex;
use crate::store::Store;

impl Store {
    /// The task with this id.
    pub(crate) fn get(&self, id: TaskId) -> Result<Task> {
        let slot = self.rows.find(id).ok_or_else(|| Error::task_not_found("get", id))?;
        Ok(self.rows[slot].task.clone())
    }

    /// The task that holds this key.
    pub(crate) fn holder(&self, task_type: &TaskType, key: &str) -> Option<Task> {
        self.slot_of_holder(task_type, key).map(|slot| self.rows[slot].task.clone())
    }

    /// A page of the tasks that pass the filter.
    pub(crate) fn list(&self, filter: &TaskFilter) -> TaskPage {
        let tasks = self
            .rows
            .descending(filter.after)
            .map(|row| &row.task)
            .filter(|task| passes(filter, task))
            .skip(filter.offset)
            .take(filter.limit)
            .cloned()
            .collect();
        TaskPage::new(tasks, filter.limit)
    }

    /// What the queue holds, from counts that are kept as tasks change.
    pub(crate) fn stats(&self) -> QueueStats {
        let count = |status| State::of_status(status).iter().map(|state| self.indexes.count(*state)).sum();
        let completed: u64 = count(Status::Completed);
        QueueStats {
            pending: count(Status::Pending),
            scheduled: self.indexes.count(State::Delayed),
            running: count(Status::Running),
            completed,
            failed: count(Status::Failed),
            dead_letter: count(Status::DeadLetter),
            cancelled: count(Status::Cancelled),
            by_type: self.indexes.by_type(TypeIndex::unfinished),
            dead_letter_by_type: self.indexes.by_type(TypeIndex::dead_letters),
            avg_processing_time_ms: mean_millis(self.indexes.processing_micros(), completed),
            oldest_pending: self.indexes.oldest_pending(),
        }
    }
}

fn passes(filter: &TaskFilter, task: &Task) -> bool {
    filter.task_type.as_ref().is_none_or(|task_type| *task_type == task.task_type)
        && filter.status.is_none_or(|status| status == task.status)
        && filter.region.as_ref().is_none_or(|region| task.region.as_ref() == Some(region))
}

#[expect(clippy::cast_precision_loss, reason = "a mean of microseconds needs no more than 52 bits")]
fn mean_millis(micros: u64, tasks: u64) -> f64 {
    if tasks == 0 { 0.0 } else { micros as f64 / tasks as f64 / 1000.0 }
}
