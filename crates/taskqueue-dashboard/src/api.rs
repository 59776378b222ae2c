//! The JSON of the dashboard: the same as the pages, in core's own forms. It owns the shapes that `docs/dashboard.md`
//! promises.

use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use taskqueue_core::{Task, TaskId, TaskPage, TaskType};

use crate::actions;
use crate::builder::PAGE_SIZE_MAX;
use crate::failure::Failure;
use crate::filter::Fields;
use crate::redrive::{self, Progress};
use crate::router::{Here, Served};
use crate::statistics::Snapshot;
use crate::workers::Workers;

type Answer<T> = Result<Json<T>, Failure>;

/// What is under `api/`.
pub(crate) fn router() -> Router<Arc<Served>> {
    Router::new()
        .route("/stats", get(stats))
        .route("/tasks", get(tasks))
        .route("/tasks/{id}", get(task))
        .route("/tasks/{id}/cancel", post(cancel))
        .route("/tasks/{id}/redrive", post(redrive_one))
        .route("/redrive", post(redrive_all))
        .route("/types/{type}/pause", post(pause))
        .route("/types/{type}/resume", post(resume))
        .route("/workers", get(workers))
}

/// What stands in a path, as core reads it.
pub(crate) fn parsed<T>(text: &str) -> Result<T, Failure>
where
    T: std::str::FromStr<Err = taskqueue_core::Error>,
{
    text.parse().map_err(|error| Failure::of_queue(&error))
}

async fn stats(State(served): Here) -> Answer<Snapshot> {
    Ok(Json(Snapshot::clone(&*served.statistics.read(&served.asked).await?)))
}

async fn tasks(State(served): Here, RawQuery(query): RawQuery) -> Answer<TaskPage> {
    let fields = Fields::read(query.unwrap_or_default().as_bytes());
    let limit = match fields.get("limit").map(str::parse) {
        None => served.page_size,
        Some(Ok(limit)) if (1..=PAGE_SIZE_MAX).contains(&limit) => limit,
        Some(_) => return Err(Failure::invalid(format!("limit is not in 1..={PAGE_SIZE_MAX}"))),
    };
    let filter = fields.filter(limit)?;
    let queue = served.asked.queue();
    let page = served.asked.view(async move { Ok(queue.list(&filter).await?) }).await?;
    let tasks = page.tasks.into_iter().map(|task| served.payloads.of(task)).collect();
    Ok(Json(TaskPage { tasks, next: page.next }))
}

async fn task(State(served): Here, Path(id): Path<String>) -> Answer<Task> {
    let (id, queue) = (parsed(&id)?, served.asked.queue());
    let task = served.asked.view(async move { Ok(queue.get(id).await?) }).await?;
    Ok(Json(served.payloads.of(task)))
}

async fn workers(State(served): Here) -> Answer<Workers> {
    Ok(Json(Workers::clone(&*served.workers.read(&served.asked).await?)))
}

async fn cancel(State(served): Here, Path(id): Path<String>) -> Answer<Value> {
    let id: TaskId = parsed(&id)?;
    let was = actions::cancel(&served, id).await?;
    Ok(Json(json!({ "id": id, "was": was })))
}

async fn redrive_one(State(served): Here, Path(id): Path<String>) -> Answer<Value> {
    let id: TaskId = parsed(&id)?;
    actions::redrive(&served, id).await?;
    Ok(Json(json!({ "id": id })))
}

async fn redrive_all(State(served): Here, RawQuery(query): RawQuery) -> Answer<Progress> {
    let filter = Fields::read(query.unwrap_or_default().as_bytes()).filter(served.page_size)?;
    Ok(Json(redrive::all(&served, filter).await?))
}

async fn pause(State(served): Here, Path(task_type): Path<String>) -> Answer<Value> {
    let task_type: TaskType = parsed(&task_type)?;
    actions::pause(&served, task_type.clone()).await?;
    Ok(Json(json!({ "type": task_type, "is_paused": true })))
}

async fn resume(State(served): Here, Path(task_type): Path<String>) -> Answer<Value> {
    let task_type: TaskType = parsed(&task_type)?;
    actions::resume(&served, task_type.clone()).await?;
    Ok(Json(json!({ "type": task_type, "is_paused": false })))
}
