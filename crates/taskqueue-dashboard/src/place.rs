//! Where a page stands: how a link gets from it to the dashboard's other pages, wherever the dashboard is nested. It owns
//! that every link is relative; which pages there are is in `router`.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, OriginalUri};
use axum::http::request::Parts;

/// What stands before every link of a page: `./`, or one `../` for each folder that it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Root(pub(crate) String);

impl Root {
    /// From the path as the browser sees it and as the dashboard does. They end alike unless the dashboard is asked for by
    /// the very path at which it is nested: then a link must name its last part.
    fn of(original: &str, inner: &str) -> Self {
        let folders = inner.trim_start_matches('/').matches('/').count();
        match original.rsplit('/').next().unwrap_or_default() {
            last if inner == "/" && !last.is_empty() => Self(format!("./{last}/")),
            _ if folders == 0 => Self("./".to_owned()),
            _ => Self("../".repeat(folders)),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Root {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let inner = parts.uri.path();
        let original = parts.extensions.get::<OriginalUri>().map_or(inner, |original| original.0.path());
        Ok(Self::of(original, inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_to_the_same_page_from_wherever_it_stands() {
        for (original, inner, root) in [
            ("/", "/", "./"),
            ("/queue", "/", "./queue/"),
            ("/a/queue/", "/", "./"),
            ("/queue/tasks", "/tasks", "./"),
            ("/queue/tasks/7", "/tasks/7", "../"),
            ("/api/tasks/7/cancel", "/api/tasks/7/cancel", "../../../"),
        ] {
            assert_eq!(Root::of(original, inner).0, root, "{original}");
        }
    }
}
