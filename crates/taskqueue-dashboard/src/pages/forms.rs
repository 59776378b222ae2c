//! What the buttons of pages send: an action on a task, on a type, or on the tasks that were selected. Each is done and
//! leads back to a page that shows it.

use askama::Template;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use taskqueue_core::{TaskId, TaskType};

use super::{Frame, render, see};
use crate::actions;
use crate::builder::PAGE_SIZE_MAX;
use crate::failure::Failure;
use crate::filter::{self, Fields, parsed};
use crate::place::Root;
use crate::served::Here;
use crate::shown::{tasks, thousands};

#[derive(Template)]
#[template(path = "done.html")]
struct View {
    frame: Frame,
    text: String,
    refused: Vec<String>,
    /// The query of the list that it came from.
    list: String,
}

pub(crate) async fn cancel(
    State(served): Here,
    root: Root,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let id: TaskId = parsed(&id)?;
    actions::cancel(&served, id).await?;
    Ok(see(&root, &format!("tasks/{id}")))
}

pub(crate) async fn run_now(
    State(served): Here,
    root: Root,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let id: TaskId = parsed(&id)?;
    actions::run_now(&served, id).await?;
    Ok(see(&root, &format!("tasks/{id}")))
}

pub(crate) async fn redrive(
    State(served): Here,
    root: Root,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let id: TaskId = parsed(&id)?;
    actions::redrive(&served, id).await?;
    Ok(see(&root, &format!("tasks/{id}")))
}

pub(crate) async fn pause(
    State(served): Here,
    root: Root,
    Path(task_type): Path<String>,
) -> Result<Response, Failure> {
    let task_type: TaskType = parsed(&task_type)?;
    actions::pause(&served, task_type).await?;
    Ok(see(&root, "overview"))
}

pub(crate) async fn resume(
    State(served): Here,
    root: Root,
    Path(task_type): Path<String>,
) -> Result<Response, Failure> {
    let task_type: TaskType = parsed(&task_type)?;
    actions::resume(&served, task_type).await?;
    Ok(see(&root, "overview"))
}

/// The form of a list: `action`, an `id` for each task that was selected, and `list`, the query of the list.
pub(crate) async fn selected(State(served): Here, root: Root, form: Bytes) -> Result<Response, Failure> {
    let fields = Fields::read(&form);
    let ids = fields.ids(PAGE_SIZE_MAX)?;
    let (done, became) = match fields.get("action") {
        Some("cancel") => (actions::cancel_selected(&served, ids).await, "cancelled"),
        Some("run-now") => (actions::run_now_selected(&served, ids).await?, "ready"),
        Some("redrive") => (actions::redrive_selected(&served, ids).await?, "pending again"),
        _ => return Err(Failure::invalid("the action is none of cancel, run-now and redrive")),
    };
    let verb = if done.tasks == 1 { "is" } else { "are" };
    let running = match done.running {
        0 => String::new(),
        1 => " 1 of them was running.".to_owned(),
        running => format!(" {} of them were running.", thousands(running)),
    };
    let text = format!("{} {verb} {became}.{running}", tasks(done.tasks));
    let frame = Frame::new("Done", root, &served);
    let page = render(&View { frame, text, refused: done.refused, list: list(&fields) })?;
    Ok(page.into_response())
}

/// The query of the list that the form came from, as far as it is one.
fn list(fields: &Fields) -> String {
    let text = fields.get("list").unwrap_or_default().trim_start_matches('?');
    let filter = Fields::read(text.as_bytes()).filter(PAGE_SIZE_MAX);
    filter.map(|filter| filter::query(&filter, filter.after)).unwrap_or_default()
}
