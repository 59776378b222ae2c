//! Who is let in, who may act, and what a browser is told.

use std::time::Duration;

use taskqueue_dashboard::{Actions, Dashboard, Hosts, Payloads};
use taskqueue_memory::{ErrorKind, MemoryQueue, Queue, Status};

use crate::support::{acting_on, answer, enqueue, get, post, request, router};

const PAGES: [&str; 9] = [
    "/",
    "/overview",
    "/tasks",
    "/workers",
    "/redrive",
    "/metrics",
    "/assets/style.css",
    "/api/stats",
    "/nothing",
];

#[tokio::test]
async fn it_is_read_only_unless_actions_are_allowed() {
    let queue = MemoryQueue::new();
    let id = enqueue(&queue, "mail", 1).await[0];
    let app = router(Dashboard::builder(queue.clone()));
    for path in [
        format!("/tasks/{id}/cancel"),
        format!("/api/tasks/{id}/cancel"),
        format!("/tasks/{id}/run-now"),
        format!("/api/tasks/{id}/run-now"),
        "/types/mail/pause".to_owned(),
        "/api/types/mail/pause".to_owned(),
        "/redrive".to_owned(),
    ] {
        let refused = post(&app, &path, "").await;
        assert!(refused.status == 403 && refused.body.contains("read-only"), "{path}: {refused:?}");
    }
    assert_eq!(queue.get(id).await.expect("it is there").status, Status::Pending);
    assert!(queue.paused().await.expect("it is open").is_empty());
    for path in ["/overview", "/tasks", &format!("/tasks/{id}"), "/redrive"] {
        assert!(!get(&app, path).await.body.contains("method=\"post\" action"), "{path} has a button");
    }
}

#[tokio::test]
async fn nothing_at_all_is_given_without_the_password() {
    let dashboard =
        Dashboard::builder(MemoryQueue::new()).password("open sesame").metrics(|| "up 1\n".into());
    let app = router(dashboard);
    for path in PAGES {
        let refused = get(&app, path).await;
        assert_eq!(refused.status, 401, "{path}");
        assert!(refused.header("www-authenticate").starts_with("Basic realm="), "{path}");
    }
    // "anyone:open sesame"
    let given = [("authorization", "Basic YW55b25lOm9wZW4gc2VzYW1l")];
    assert_eq!(answer(&app, request("GET", "/overview", &given, "")).await.status, 200);
    assert_eq!(answer(&app, request("GET", "/metrics", &given, "")).await.body, "up 1\n");
}

#[tokio::test]
async fn a_browser_asks_for_a_password_only_where_there_is_one() {
    let app = router(Dashboard::builder(MemoryQueue::new()).bearer_token("a secret token"));
    let refused = get(&app, "/overview").await;
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, "Bearer realm=\"taskqueue\""));
}

#[tokio::test]
async fn a_post_from_another_site_changes_nothing() {
    let queue = MemoryQueue::new();
    let id = enqueue(&queue, "mail", 1).await[0];
    let app = acting_on(&queue);
    let path = format!("/tasks/{id}/cancel");
    for headers in [
        &[("sec-fetch-site", "cross-site")][..],
        &[("sec-fetch-site", "same-site"), ("origin", "http://localhost:8686")],
        &[("origin", "http://evil.example")],
        &[("origin", "null")],
        &[],
    ] {
        assert_eq!(answer(&app, request("POST", &path, headers, "")).await.status, 403, "{headers:?}");
    }
    assert_eq!(queue.get(id).await.expect("it is there").status, Status::Pending);
    let own = [("origin", "http://localhost:8686")];
    assert_eq!(answer(&app, request("POST", &path, &own, "")).await.status, 303);
    assert_eq!(queue.get(id).await.expect("it is there").status, Status::Cancelled);
}

#[tokio::test]
async fn a_name_that_was_made_to_lead_to_this_host_is_refused() {
    let app = router(Dashboard::builder(MemoryQueue::new()).hosts(Hosts::Loopback));
    assert_eq!(get(&app, "/overview").await.status, 200);
    for path in PAGES {
        let mut rebound = request("GET", path, &[], "");
        rebound.headers_mut().insert("host", "evil.example:8686".parse().expect("a value"));
        assert_eq!(answer(&app, rebound).await.status, 403, "{path}");
    }
}

#[tokio::test]
async fn every_answer_tells_the_browser_to_run_and_load_nothing_else() {
    let app = router(Dashboard::builder(MemoryQueue::new()));
    for path in PAGES {
        let answer = get(&app, path).await;
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{path}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "same-origin", "{path}");
        let is_kept = path.starts_with("/assets/");
        assert_eq!(answer.header("cache-control") == "no-store", !is_kept, "{path}");
        for inline in [" style=", " onclick=", "<style", "http://", "https://"] {
            assert!(!answer.body.contains(inline), "{path} has {inline}");
        }
    }
}

#[test]
fn settings_that_cannot_be_meant_are_named() {
    let builder = || Dashboard::builder(MemoryQueue::new());
    for (builder, named) in [
        (builder().password("short"), "password"),
        (builder().password("12345678\n"), "password"),
        (builder().bearer_token(""), "bearer_token"),
        (builder().query_timeout(Duration::ZERO), "query_timeout"),
        (builder().page_size(0), "page_size"),
        (builder().page_size(201), "page_size"),
        (builder().payloads(Payloads::Redacted(Vec::new())), "payloads"),
    ] {
        let error = builder.build().expect_err("it is refused");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(named) && !error.to_string().contains("1234"), "{error}");
    }
    let builder = builder().password("open sesame").bearer_token("a secret token").actions(Actions::Allowed);
    let before = format!("{builder:?}");
    let shown = format!("{before} {:?}", builder.build().expect("it is right"));
    assert!(!shown.contains("sesame") && !shown.contains("secret token"), "{shown}");
}
