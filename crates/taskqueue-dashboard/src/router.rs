//! Which path leads where, and what every answer goes through: the check of access, the form of a failure, and the headers
//! that tell a browser what it may do with a page. It decides none of these itself.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;

use crate::failure::Failure;
use crate::place::Root;
use crate::served::{Here, Served};
use crate::{api, assets, pages};

/// The largest form: the ids of a page of tasks.
const FORM_BYTES_MAX: usize = 64 * 1024;

/// What an answer tells the browser. `same-origin` and not `no-referrer`: with that a form's POST has no origin.
const HEADERS: [(HeaderName, &str); 6] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (X_FRAME_OPTIONS, "DENY"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// Every page.
pub(crate) fn router<S>(served: Arc<Served>) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    Router::new()
        .route("/", get(pages::home))
        .route("/overview", get(pages::overview::page))
        .route("/tasks", get(pages::tasks::page).post(pages::forms::selected))
        .route("/tasks/{id}", get(pages::task::page))
        .route("/tasks/{id}/payload", get(pages::task::payload))
        .route("/tasks/{id}/cancel", post(pages::forms::cancel))
        .route("/tasks/{id}/run-now", post(pages::forms::run_now))
        .route("/tasks/{id}/redrive", post(pages::forms::redrive))
        .route("/redrive", get(pages::redrive::page).post(pages::redrive::run))
        .route("/types/{type}/pause", post(pages::forms::pause))
        .route("/types/{type}/resume", post(pages::forms::resume))
        .route("/workers", get(pages::workers::page))
        .route("/metrics", get(metrics))
        .route("/assets/{name}", get(assets::file))
        .nest("/api", api::router())
        .fallback(no_page)
        .method_not_allowed_fallback(no_method)
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .layer(from_fn_with_state(Arc::clone(&served), guard))
        .with_state(served)
}

async fn no_page() -> Failure {
    Failure::no_page()
}

async fn no_method() -> Failure {
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, "no_method", "this cannot be done here")
}

async fn metrics(State(served): Here) -> Result<Response, Failure> {
    let render = served.metrics.as_ref().ok_or_else(Failure::no_page)?;
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], render()).into_response())
}

/// Lets a request in or not, and writes what became of it.
async fn guard(State(served): Here, root: Root, request: Request, next: Next) -> Response {
    let is_of_the_api = request.uri().path().starts_with("/api/");
    let checked = served.access.check(request.method(), request.uri(), request.headers());
    let mut response = match checked {
        Ok(()) => next.run(request).await,
        Err(failure) => failure.into_response(),
    };
    let failure = response.extensions_mut().remove::<Failure>();
    // What axum refuses by itself has no other form than its text.
    if let Some(failure) = failure.or_else(|| Failure::of_status(response.status())) {
        let is_unauthorised = failure.status == StatusCode::UNAUTHORIZED;
        response = written(failure, root, is_of_the_api);
        if is_unauthorised {
            response.headers_mut().insert(WWW_AUTHENTICATE, served.access.challenge());
        }
    }
    protect(response.headers_mut());
    response
}

fn written(failure: Failure, root: Root, is_of_the_api: bool) -> Response {
    let status = failure.status;
    if is_of_the_api {
        (status, Json(json!({ "error": failure }))).into_response()
    } else {
        (status, pages::failed(&failure, root)).into_response()
    }
}

fn protect(headers: &mut HeaderMap) {
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}
