//! Redriving all dead letters that match: a page that says first what it will do, and one that says how far it came.

use askama::Template;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use taskqueue_core::{Status, TaskFilter, TaskId};

use super::{Frame, Page, render};
use crate::filter::{self, Fields};
use crate::place::Root;
use crate::redrive;
use crate::served::{Here, Served};
use crate::shown::tasks;

#[derive(Template)]
#[template(path = "redrive.html")]
struct View {
    frame: Frame,
    /// What was done so far; nothing on the page that asks.
    done: Option<String>,
    stopped: Option<String>,
    /// What would be done, or would be done next. Nothing when all is done.
    ahead: Option<String>,
    filter: TaskFilter,
    after: Option<TaskId>,
    list: String,
}

/// Says what it will do.
pub(crate) async fn page(State(served): Here, root: Root, RawQuery(query): RawQuery) -> Page {
    let fields = Fields::read(query.unwrap_or_default().as_bytes());
    fields.only(&["type", "status", "region", "after"])?;
    let filter = fields.filter(served.page_size)?;
    let ahead = Some(ahead(&served, &filter).await);
    let list = list(&filter);
    let frame = Frame::new("Redrive dead letters", root, &served);
    render(&View { frame, done: None, stopped: None, ahead, after: filter.after, filter, list })
}

/// Does it, for as long as a request may take.
pub(crate) async fn run(State(served): Here, root: Root, form: Bytes) -> Page {
    let fields = Fields::read(&form);
    fields.only(&["type", "region", "after"])?;
    let filter = fields.filter(served.page_size)?;
    let progress = redrive::all(&served, filter.clone()).await?;
    let stayed = match progress.stayed {
        0 => String::new(),
        stayed => {
            format!(" {} stayed: another task holds the unique key, or a program was faster.", tasks(stayed))
        }
    };
    let verb = if progress.redriven == 1 { "is" } else { "are" };
    let done = format!("{} {verb} pending again.{stayed}", tasks(progress.redriven));
    let ahead = progress.next.map(|_| format!("There are more{}.", of(&filter)));
    render(&View {
        frame: Frame::new("Redrive dead letters", root, &served),
        done: Some(done),
        stopped: progress.stopped.map(|failure| failure.text),
        ahead,
        after: progress.next,
        list: list(&filter),
        filter,
    })
}

/// How many there are is known by type only.
async fn ahead(served: &Served, filter: &TaskFilter) -> String {
    let of = of(filter);
    if filter.region.is_some() {
        return format!("All dead letters{of} will be pending again. How many these are is not counted.");
    }
    // What cannot be counted now can be repaired all the same.
    let Ok(snapshot) = served.statistics.read(&served.asked).await else {
        return format!("All dead letters{of} will be pending again. How many these are is not known now.");
    };
    let stats = &snapshot.stats;
    let count = match &filter.task_type {
        Some(task_type) => stats.dead_letter_by_type.get(task_type).copied().unwrap_or_default(),
        None => stats.dead_letter,
    };
    format!("All dead letters{of} will be pending again: {}.", tasks(count))
}

fn of(filter: &TaskFilter) -> String {
    let task_type = filter.task_type.as_ref().map(|task_type| format!(" of type {task_type}"));
    let region = filter.region.as_ref().map(|region| format!(" of region {region}"));
    task_type.into_iter().chain(region).collect()
}

/// The query of the list that shows them.
fn list(filter: &TaskFilter) -> String {
    filter::query(&TaskFilter { status: Some(Status::DeadLetter), ..filter.clone() }, None)
}
