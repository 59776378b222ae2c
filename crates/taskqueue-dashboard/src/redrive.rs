//! Redrives all dead letters that match a filter, page by page: each once, the newest first. It owns the cursor and how
//! long one request may go on; what is left is the next request's.

use serde::Serialize;
use taskqueue_core::{Redrive, Status, TaskFilter, TaskId};
use tokio::time::Instant;

use crate::asked::{Asked, REQUEST_MAX};
use crate::failure::Failure;
use crate::served::Served;

/// The dead letters of a page: each brings its payload.
const PAGE: usize = 200;

/// How far it came.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Progress {
    /// How many tasks are pending again.
    pub(crate) redriven: u64,
    /// How many dead letters stayed, because another task holds their unique key, or a program was faster.
    pub(crate) stayed: u64,
    /// What to give as `after` to go on; `None` when all were met.
    pub(crate) next: Option<TaskId>,
    /// Why it ended early, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stopped: Option<Failure>,
}

/// Redrives what passes the filter and comes after its cursor. The cursor, and not what is dead at the moment, says what
/// comes next: a task that dies again meanwhile is not taken twice.
///
/// # Errors
/// Of the first page. A later one's is told with what was done before.
pub(crate) async fn all(served: &Served, filter: TaskFilter) -> Result<Progress, Failure> {
    let mut filter = TaskFilter { status: Some(Status::DeadLetter), limit: PAGE, ..filter };
    let mut progress = Progress { next: filter.after, ..Progress::default() };
    let (began, mut is_begun) = (Instant::now(), false);
    loop {
        let redriven = page(&served.asked, filter.clone()).await;
        served.statistics.forget();
        match redriven {
            Ok((redriven, stayed, next)) => {
                progress.redriven += redriven;
                progress.stayed += stayed;
                progress.next = next;
                is_begun = true;
            }
            Err(failure) if !is_begun => return Err(failure),
            Err(failure) => progress.stopped = Some(failure),
        }
        if progress.next.is_none() || progress.stopped.is_some() || began.elapsed() > REQUEST_MAX {
            return Ok(progress);
        }
        filter.after = progress.next;
    }
}

async fn page(asked: &Asked, filter: TaskFilter) -> Result<(u64, u64, Option<TaskId>), Failure> {
    let queue = asked.queue();
    let action = async move {
        let page = queue.list(&filter).await?;
        let ids: Vec<TaskId> = page.tasks.iter().map(|task| task.id).collect();
        let found = ids.len() as u64;
        let redriven = if ids.is_empty() { 0 } else { queue.redrive(&Redrive::Tasks(ids)).await? };
        Ok((redriven, found.saturating_sub(redriven), page.next))
    };
    asked.act(action).await
}
