//! A list of tasks: a page of those that pass the filter in its URL, the newest first. Dead letters are such a list. It has a field
//! for the id of a task, which leads to that task's page.

use askama::Template;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use taskqueue_core::{Status, Task, TaskFilter, TaskId, TaskType, Timestamp};

use super::{Frame, Page, render, see};
use crate::failure::Failure;
use crate::filter::{self, Fields, parsed};
use crate::listed;
use crate::place::Root;
use crate::served::{Here, Served};
use crate::shown::{Moment, cut};

const ERROR_CHARS_MAX: usize = 80;

#[derive(Template)]
#[template(path = "tasks.html")]
struct Tasks {
    frame: Frame,
    rows: Vec<Row>,
    filter: TaskFilter,
    /// Every status, and whether it is the filter's.
    statuses: [(Status, bool); Status::ALL.len()],
    /// The query of this page, for a form that leads back to it.
    list: String,
    /// The query of the first page.
    newest: String,
    /// The query of the page after this one, if there may be one.
    older: Option<String>,
    is_of_dead_letters: bool,
}

/// A task in a list.
struct Row {
    id: TaskId,
    task_type: TaskType,
    status: Status,
    priority: String,
    attempts: String,
    when: &'static str,
    moment: Moment,
    region: String,
    error: String,
}

/// Shows it. With an `id`, which stands alone then, it leads to that task's page.
pub(crate) async fn page(
    State(served): Here,
    root: Root,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let fields = Fields::read(query.unwrap_or_default().as_bytes());
    if let Some(id) = fields.get("id") {
        fields.only(&["id"])?;
        // What was copied may have a blank or a line end around it.
        let id: TaskId = parsed(id.trim())?;
        return Ok(see(&root, &format!("tasks/{id}")));
    }
    list(&served, root, &fields).await.map(IntoResponse::into_response)
}

async fn list(served: &Served, root: Root, fields: &Fields) -> Page {
    fields.only(&["type", "status", "region", "after", "id"])?;
    let filter = fields.filter(served.page_size)?;
    let queue = served.asked.queue();
    let asked_for = filter.clone();
    let question = async move {
        let now = queue.now().await?;
        // A row has no payload: none is kept, however many pass by.
        let (rows, next) = listed::walk(&*queue, asked_for, usize::MAX, |task| row(&task, now)).await?;
        Ok((rows, next))
    };
    let (rows, next) = served.asked.view(question).await?;
    let is_of_dead_letters = filter.status == Some(Status::DeadLetter);
    let title = if is_of_dead_letters { "Dead letters" } else { "Tasks" };
    render(&Tasks {
        frame: Frame::new(title, root, served),
        rows,
        statuses: Status::ALL.map(|status| (status, filter.status == Some(status))),
        list: filter::query(&filter, filter.after),
        newest: filter::query(&filter, None),
        older: next.map(|next| filter::query(&filter, Some(next))),
        filter,
        is_of_dead_letters,
    })
}

fn row(task: &Task, now: Timestamp) -> Row {
    let (when, time) = when(task);
    Row {
        id: task.id,
        task_type: task.task_type.clone(),
        status: task.status,
        priority: task.priority.to_string(),
        attempts: format!("{}/{}", task.attempts, task.max_retries),
        when,
        moment: Moment::new(time, now),
        region: task.region.clone().unwrap_or_default(),
        error: cut(task.last_error.as_deref().unwrap_or_default(), ERROR_CHARS_MAX),
    }
}

/// The time that matters most in the task's status.
fn when(task: &Task) -> (&'static str, Timestamp) {
    match task.status {
        Status::Pending => ("due", task.scheduled_at),
        Status::Failed => ("due", task.retry_after.unwrap_or(task.updated_at)),
        Status::Running => ("since", task.started_at.unwrap_or(task.updated_at)),
        _ => ("at", task.completed_at.unwrap_or(task.updated_at)),
    }
}
