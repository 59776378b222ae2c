//! The pages. This file owns what they have in common: the frame around each, and how a failure looks. What a page shows is
//! decided in its own file, and how in its template.

pub(crate) mod forms;
pub(crate) mod overview;
pub(crate) mod redrive;
pub(crate) mod task;
pub(crate) mod tasks;
pub(crate) mod workers;

use askama::Template;
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};

use crate::access::Actions;
use crate::assets::VERSION;
use crate::failure::Failure;
use crate::place::Root;
use crate::served::Served;
use crate::shown;

/// What a page's handler answers.
type Page = Result<Html<String>, Failure>;

/// What stands around every page.
#[derive(Debug, Clone)]
struct Frame {
    title: String,
    /// What stands before every link.
    root: String,
    version: &'static str,
    /// Whether the page may have buttons that change something.
    acts: bool,
}

#[derive(Template)]
#[template(path = "failed.html")]
struct Failed<'f> {
    frame: Frame,
    failure: &'f Failure,
}

/// The dashboard's own address leads to the overview.
pub(crate) async fn home(root: Root) -> Response {
    see(&root, "overview")
}

/// A failure as a page.
pub(crate) fn failed(failure: &Failure, Root(root): Root) -> Response {
    let title = failure.status.canonical_reason().unwrap_or("Failed").to_owned();
    let frame = Frame { title, root, version: VERSION, acts: false };
    match render(&Failed { frame, failure }) {
        Ok(page) => page.into_response(),
        Err(unwritten) => unwritten.text.into_response(),
    }
}

impl Frame {
    fn new(title: impl Into<String>, Root(root): Root, served: &Served) -> Self {
        let acts = served.access.actions == Actions::Allowed;
        Self { title: title.into(), root, version: VERSION, acts }
    }
}

fn render(page: &impl Template) -> Page {
    page.render().map(|page| Html(shown::controls(page))).map_err(|error| {
        Failure::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "page",
            format!("the page cannot be written: {error}"),
        )
    })
}

/// Sends the browser to a page of the dashboard.
fn see(Root(root): &Root, path: &str) -> Response {
    match HeaderValue::try_from(format!("{root}{path}")) {
        Ok(location) => (StatusCode::SEE_OTHER, [(LOCATION, location)]).into_response(),
        // A request's path has nothing that a header cannot have.
        Err(_) => Failure::no_page().into_response(),
    }
}
