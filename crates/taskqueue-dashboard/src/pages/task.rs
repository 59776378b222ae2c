//! One task: its fields, what is known of when it was what, its error, its payload and its metadata.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use taskqueue_core::{Status, Task, TaskId, Timestamp};

use super::{Frame, Page, render};
use crate::failure::Failure;
use crate::filter::parsed;
use crate::payloads::Shown;
use crate::place::Root;
use crate::served::Here;
use crate::shown::Moment;

#[derive(Template)]
#[template(path = "task.html")]
struct View {
    frame: Frame,
    task: Task,
    fields: Vec<(&'static str, String)>,
    events: Vec<Event>,
    payload: Shown,
    payload_bytes: usize,
    is_running: bool,
    /// For its time, or for that of its retry.
    is_waiting: bool,
}

/// Something of a task's life, with its time.
struct Event {
    what: String,
    moment: Moment,
    is_ahead: bool,
}

/// Shows it.
pub(crate) async fn page(State(served): Here, root: Root, Path(id): Path<String>) -> Page {
    let id: TaskId = parsed(&id)?;
    let queue = served.asked.queue();
    let (task, now) =
        served.asked.view(async move { Ok((queue.get(id).await?, queue.now().await?)) }).await?;
    let payload = served.payloads.shown(&task.payload);
    let payload_bytes = task.payload.as_str().len();
    let task = served.payloads.of(task);
    render(&View {
        frame: Frame::new(format!("{} {id}", task.task_type), root, &served),
        fields: fields(&task),
        events: events(&task, now),
        is_running: task.status == Status::Running,
        is_waiting: is_waiting(&task, now),
        payload,
        payload_bytes,
        task,
    })
}

/// The payload by itself: byte for byte as it was enqueued, but for what is kept back.
pub(crate) async fn payload(State(served): Here, Path(id): Path<String>) -> Result<Response, Failure> {
    let id: TaskId = parsed(&id)?;
    let queue = served.asked.queue();
    let task = served.asked.view(async move { Ok(queue.get(id).await?) }).await?;
    let text = served.payloads.text(&task.payload).ok_or_else(Failure::no_page)?;
    let name = format!("attachment; filename=\"payload-{id}.json\"");
    Ok(([(CONTENT_TYPE, "application/json".to_owned()), (CONTENT_DISPOSITION, name)], text).into_response())
}

/// Whether it waits for a time. One whose time has come is ready, or is within a moment.
fn is_waiting(task: &Task, now: Timestamp) -> bool {
    match task.status {
        Status::Pending => task.scheduled_at > now,
        status => status == Status::Failed,
    }
}

/// What stands in the table, by the names of the program's `get`.
fn fields(task: &Task) -> Vec<(&'static str, String)> {
    let fields = [
        ("id", Some(task.id.to_string())),
        ("type", Some(task.task_type.to_string())),
        ("priority", Some(task.priority.to_string())),
        ("attempts", Some(format!("{} of {}", task.attempts, task.max_retries))),
        (
            "reclaims",
            Some(task.reclaims).filter(|reclaims| *reclaims > 0).map(|reclaims| reclaims.to_string()),
        ),
        ("unique key", task.unique_key.clone()),
        ("region", task.region.clone()),
        ("worker", task.worker_id.as_ref().map(ToString::to_string)),
    ];
    fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// What is known of its life, in its order. A task keeps the last of each only.
fn events(task: &Task, now: Timestamp) -> Vec<Event> {
    let claimed = match &task.worker_id {
        Some(worker) => format!("claimed by {worker}, attempt {}", task.attempts),
        None => format!("claimed, attempt {}", task.attempts),
    };
    let finished = format!("finished: {}", task.status);
    let due = if task.scheduled_at > now { "scheduled for" } else { "due" };
    let known = [
        ("created".to_owned(), Some(task.created_at)),
        (due.to_owned(), Some(task.scheduled_at)),
        (claimed, task.started_at),
        ("last changed".to_owned(), Some(task.updated_at)),
        (finished, task.completed_at),
        ("tried again".to_owned(), task.retry_after),
    ];
    let mut known: Vec<(String, Timestamp)> =
        known.into_iter().filter_map(|(what, time)| Some((what, time?))).collect();
    known.sort_by_key(|(_, time)| *time);
    let event = |(what, time): (String, Timestamp)| Event {
        what,
        moment: Moment::new(time, now),
        is_ahead: time > now,
    };
    known.into_iter().map(event).collect()
}
