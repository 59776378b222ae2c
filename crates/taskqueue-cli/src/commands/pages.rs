//! All tasks that pass a filter, a page at a time: what commands that take `--all` walk over. It owns the cursor, so
//! that each task comes once, and the size of a page; it does nothing to a task.

use taskqueue_core::{Queue, Task, TaskFilter};

use crate::failure::Outcome;

/// The most tasks of a page. Each brings its payload, of a megabyte at most unless the queue allows more: this bounds
/// the memory that a walk takes.
pub(super) const PAGE: usize = 200;

/// A walk from the newest task to the oldest. What is enqueued after its start is newer, and is not met.
#[derive(Debug)]
pub(super) struct Pages<'a, Q> {
    queue: &'a Q,
    filter: TaskFilter,
    is_over: bool,
}

impl<'a, Q: Queue> Pages<'a, Q> {
    /// Over what passes the filter, whose own limit is not used.
    pub(super) fn of(queue: &'a Q, filter: TaskFilter) -> Self {
        Self { queue, filter, is_over: false }
    }

    /// The next tasks, at most `limit` and at most a page; none when all were met.
    pub(super) async fn next(&mut self, limit: usize) -> Outcome<Vec<Task>> {
        if self.is_over || limit == 0 {
            return Ok(Vec::new());
        }
        self.filter.limit = limit.min(PAGE);
        let page = self.queue.list(&self.filter).await?;
        self.filter.after = page.next;
        self.is_over = page.next.is_none();
        Ok(page.tasks)
    }
}
