//! The workers, by what they run.

use askama::Template;
use axum::extract::State;

use super::{Frame, Page, render};
use crate::place::Root;
use crate::served::Here;
use crate::shown::{Moment, tasks, thousands};

#[derive(Template)]
#[template(path = "workers.html")]
struct View {
    frame: Frame,
    rows: Vec<Row>,
    looked_at: String,
    is_cut: bool,
    now: String,
}

struct Row {
    worker: String,
    tasks: String,
    types: String,
    oldest: Option<Moment>,
}

/// Shows them.
pub(crate) async fn page(State(served): Here, root: Root) -> Page {
    let seen = served.workers.read(&served.asked).await?;
    let rows = seen.workers.iter().map(|worker| Row {
        worker: worker.worker_id.as_ref().map_or_else(|| "(none named)".to_owned(), ToString::to_string),
        tasks: thousands(worker.tasks),
        types: worker
            .by_type
            .iter()
            .map(|(name, tasks)| format!("{name} {tasks}"))
            .collect::<Vec<_>>()
            .join(", "),
        oldest: worker.oldest_start.map(|start| Moment::new(start, seen.now)),
    });
    render(&View {
        frame: Frame::new("Workers", root, &served),
        rows: rows.collect(),
        looked_at: tasks(seen.tasks as u64),
        is_cut: seen.is_cut,
        now: Moment::new(seen.now, seen.now).time,
    })
}
