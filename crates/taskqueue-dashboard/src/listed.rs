//! A page of a list, asked for in steps: a payload may be a mebibyte, and a page of them would fill the memory. It owns how
//! many are there at once; what is made of a task is the caller's.

use taskqueue_core::{Queue, Result, Task, TaskFilter, TaskId};

/// How many tasks one query brings.
pub(crate) const STEP: usize = 50;

/// What `of` makes of each task, and what comes after the last: up to the filter's limit, or until the payloads have more
/// than `bytes_max`.
pub(crate) async fn walk<T>(
    queue: &dyn Queue,
    filter: TaskFilter,
    bytes_max: usize,
    of: impl Fn(Task) -> T,
) -> Result<(Vec<T>, Option<TaskId>)> {
    let (limit, mut step) = (filter.limit, filter);
    let (mut found, mut bytes) = (Vec::new(), 0);
    loop {
        step.limit = STEP.min(limit - found.len());
        let page = queue.list(&step).await?;
        let last = page.tasks.last().map(|task| task.id);
        for task in page.tasks {
            let id = task.id;
            bytes += task.payload.as_str().len();
            found.push(of(task));
            let is_all = page.next.is_none() && last == Some(id);
            if bytes > bytes_max && !is_all {
                return Ok((found, Some(id)));
            }
        }
        step.after = page.next;
        if page.next.is_none() || found.len() >= limit {
            return Ok((found, page.next));
        }
    }
}
