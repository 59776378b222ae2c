//! The JSON of the dashboard: the same as the pages, in core's own forms. It owns the shapes that `docs/dashboard.md`
//! promises.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use taskqueue_core::{Status, Task, TaskFilter, TaskId, TaskPage, TaskType};

use crate::actions;
use crate::builder::PAGE_SIZE_MAX;
use crate::failure::Failure;
use crate::filter::{Fields, parsed};
use crate::listed;
use crate::redrive::{self, Progress};
use crate::served::{Here, Served};
use crate::statistics::Snapshot;
use crate::workers::Workers;

/// With which payload a list ends early. The last step may add [`listed::STEP`] of them.
const PAYLOADS_BYTES_MAX: usize = 8 * 1024 * 1024;

type Answer<T> = Result<Json<T>, Failure>;

/// What is under `api/`.
pub(crate) fn router() -> Router<Arc<Served>> {
    Router::new()
        .route("/stats", get(stats))
        .route("/tasks", get(tasks))
        .route("/tasks/{id}", get(task))
        .route("/tasks/{id}/cancel", post(cancel))
        .route("/tasks/{id}/run-now", post(run_now))
        .route("/tasks/{id}/redrive", post(redrive_one))
        .route("/redrive", post(redrive_all))
        .route("/types/{type}/pause", post(pause))
        .route("/types/{type}/resume", post(resume))
        .route("/workers", get(workers))
}

async fn stats(State(served): Here) -> Answer<Snapshot> {
    Ok(Json(Snapshot::clone(&*served.statistics.read(&served.asked).await?)))
}

async fn tasks(State(here): Here, RawQuery(query): RawQuery) -> Result<Response, Failure> {
    let served = Arc::clone(&here);
    let fields = Fields::read(query.unwrap_or_default().as_bytes());
    fields.only(&["type", "status", "region", "after", "limit"])?;
    let limit = match fields.get("limit").map(str::parse) {
        None => served.page_size,
        Some(Ok(limit)) if (1..=PAGE_SIZE_MAX).contains(&limit) => limit,
        Some(_) => return Err(Failure::invalid(format!("limit is not in 1..={PAGE_SIZE_MAX}"))),
    };
    let (filter, queue) = (fields.filter(limit)?, served.asked.queue());
    let question = async move {
        let (tasks, next) =
            listed::walk(&*queue, filter, PAYLOADS_BYTES_MAX, |task| served.payloads.of(task)).await?;
        // Written here, so that no more of them stand in memory than there are places.
        Ok(Json(TaskPage { tasks, next }).into_response())
    };
    here.asked.view(question).await
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

async fn run_now(State(served): Here, Path(id): Path<String>) -> Answer<Value> {
    let id: TaskId = parsed(&id)?;
    actions::run_now(&served, id).await?;
    Ok(Json(json!({ "id": id })))
}

async fn redrive_one(State(served): Here, Path(id): Path<String>) -> Answer<Value> {
    let id: TaskId = parsed(&id)?;
    actions::redrive(&served, id).await?;
    Ok(Json(json!({ "id": id })))
}

async fn redrive_all(State(served): Here, RawQuery(query): RawQuery, body: Bytes) -> Answer<Progress> {
    let filter = to_redrive(&Fields::read(query.unwrap_or_default().as_bytes()), &body)?;
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

/// The filter of what is to be redriven. All is redriven where that is said, never because a filter was mistyped, was put
/// where nobody reads it, or came out empty.
fn to_redrive(fields: &Fields, body: &[u8]) -> Result<TaskFilter, Failure> {
    if !body.is_empty() {
        return Err(Failure::invalid("the body is not read: the filter stands in the query"));
    }
    fields.only(&["type", "region", "status", "after", "all"])?;
    let filter = fields.filter(PAGE_SIZE_MAX)?;
    if filter.status.is_some_and(|status| status != Status::DeadLetter) {
        return Err(Failure::invalid("status is not dead_letter: only dead letters are redriven"));
    }
    let is_narrow = filter.task_type.is_some() || filter.region.is_some();
    match (fields.get("all"), is_narrow) {
        (Some("true"), false) | (None, true) => Ok(filter),
        (None, false) => Err(Failure::invalid("give type, region or all=true")),
        (Some("true"), true) => Err(Failure::invalid("all contradicts type and region")),
        (Some(_), _) => Err(Failure::invalid("all is not true")),
    }
}
