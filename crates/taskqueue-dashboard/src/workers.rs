//! Who works: the running tasks, grouped by the worker that claimed them. It owns the bound on how many are looked at; a
//! queue keeps no list of its workers, so one that runs nothing is not seen.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use taskqueue_core::{Status, Task, TaskFilter, TaskType, Timestamp, WorkerId};

use crate::asked::Asked;
use crate::failure::Failure;
use crate::listed::STEP;
use crate::shared::Shared;

/// How many running tasks are looked at, the newest.
const TASKS_MAX: usize = 1_000;

/// The workers that run something.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Workers {
    /// By their ids.
    pub(crate) workers: Vec<Worker>,
    /// How many running tasks were looked at.
    pub(crate) tasks: usize,
    /// Whether there may be more than those.
    pub(crate) is_cut: bool,
    /// When this was, by the queue's clock.
    pub(crate) now: Timestamp,
}

/// One worker, by its running tasks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Worker {
    /// Its id; `None` for tasks that name none.
    pub(crate) worker_id: Option<WorkerId>,
    /// How many tasks it runs.
    pub(crate) tasks: u64,
    /// How many of which type.
    pub(crate) by_type: BTreeMap<TaskType, u64>,
    /// Since when it runs the one that it has run for longest.
    pub(crate) oldest_start: Option<Timestamp>,
}

/// The workers, read once for all viewers.
#[derive(Debug, Default)]
pub(crate) struct Read {
    last: Shared<Arc<Workers>>,
}

impl Read {
    /// Who works now, or did about a second ago.
    pub(crate) async fn read(&self, asked: &Asked) -> Result<Arc<Workers>, Failure> {
        self.last.get(asked.limit(), running(asked.clone())).await
    }
}

async fn running(asked: Asked) -> Result<Arc<Workers>, Failure> {
    let mut filter = TaskFilter { status: Some(Status::Running), limit: STEP, ..TaskFilter::default() };
    let queue = asked.queue();
    let question = async {
        let (mut groups, mut tasks) = (BTreeMap::new(), 0);
        loop {
            let page = queue.list(&filter).await?;
            tasks += page.tasks.len();
            page.tasks.iter().for_each(|task| add(&mut groups, task));
            filter.after = page.next;
            if page.next.is_none() || tasks >= TASKS_MAX {
                let now = queue.now().await?;
                let workers = groups.into_values().collect();
                return Ok(Arc::new(Workers { workers, tasks, is_cut: page.next.is_some(), now }));
            }
        }
    };
    asked.view_to_its_end(question).await
}

fn add(groups: &mut BTreeMap<Option<WorkerId>, Worker>, task: &Task) {
    let worker = groups.entry(task.worker_id.clone()).or_insert_with(|| Worker {
        worker_id: task.worker_id.clone(),
        tasks: 0,
        by_type: BTreeMap::new(),
        oldest_start: None,
    });
    worker.tasks += 1;
    *worker.by_type.entry(task.task_type.clone()).or_default() += 1;
    worker.oldest_start = match (worker.oldest_start, task.started_at) {
        (Some(oldest), Some(start)) => Some(oldest.min(start)),
        (oldest, start) => oldest.or(start),
    };
}
