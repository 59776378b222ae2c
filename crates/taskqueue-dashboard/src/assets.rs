//! The files that pages load: a style sheet, a script and an icon, all in the program. It owns their addresses and how long
//! a browser keeps them.

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use crate::failure::Failure;

/// Part of each address, so that a browser takes no older version's file for this one's.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

const FILES: [(&str, &str, &str); 3] = [
    ("style.css", "text/css; charset=utf-8", include_str!("../assets/style.css")),
    ("live.js", "text/javascript; charset=utf-8", include_str!("../assets/live.js")),
    ("icon.svg", "image/svg+xml", include_str!("../assets/icon.svg")),
];
/// An hour: a program that is built anew under the same version is seen by then.
const KEPT: &str = "private, max-age=3600";

/// Gives a file.
pub(crate) async fn file(Path(name): Path<String>) -> Result<Response, Failure> {
    let found = FILES.into_iter().find(|(file, ..)| *file == name);
    let (_, content_type, text) = found.ok_or_else(Failure::no_page)?;
    Ok(([(CONTENT_TYPE, content_type), (CACHE_CONTROL, KEPT)], text).into_response())
}
