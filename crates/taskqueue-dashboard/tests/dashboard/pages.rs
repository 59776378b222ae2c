//! What the pages show, and that their links lead to pages.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Router;
use taskqueue_dashboard::Dashboard;
use taskqueue_memory::{MemoryQueue, NewTask, Queue, Status, TaskFilter, TaskId};

use crate::support::{acting_on, dead_letters, enqueue, full, get, router};

#[tokio::test]
async fn the_overview_shows_every_status_and_type_and_what_is_paused() {
    let app = acting_on(&full().await);
    let page = get(&app, "/overview").await;
    for status in Status::ALL {
        page.shows(&[&format!("tasks?status={status}\"")]);
    }
    page.shows(&[
        concat!("memory ", env!("CARGO_PKG_VERSION")),
        "tasks?type=waiting\"",
        "types/waiting/resume",
        "types/retried/pause",
    ]);
    page.shows(&["tasks?type=dead&#38;status=dead_letter", "oldest ready", "data-live"]);
}

#[tokio::test]
async fn a_chart_is_drawn_once_the_queue_was_looked_at_twice() {
    tokio::time::pause();
    let queue = MemoryQueue::new();
    let app = acting_on(&queue);
    assert!(!get(&app, "/overview").await.body.contains("<polyline"));
    enqueue(&queue, "mail", 7).await;
    tokio::time::advance(std::time::Duration::from_secs(2)).await;
    get(&app, "/overview")
        .await
        .shows(&["<polyline points=\"193.3,34.0 200.0,2.0\"", "from 0 to 7 in the last 1 m"]);
}

#[tokio::test]
async fn a_list_is_walked_page_by_page_and_has_each_task_once() {
    let queue = MemoryQueue::new();
    enqueue(&queue, "other", 5).await;
    let mut expected = enqueue(&queue, "mail", 57).await;
    enqueue(&queue, "other", 5).await;
    let app = router(Dashboard::builder(queue).page_size(10));
    let (mut path, mut seen) = ("/tasks?type=mail&status=pending".to_owned(), Vec::<TaskId>::new());
    loop {
        let page = get(&app, &path).await;
        page.shows(&["data-label=\"id\""]);
        let ids = page
            .body
            .split("href=\"./tasks/")
            .skip(1)
            .map(|rest| rest[..36].parse::<TaskId>().expect("an id"));
        seen.extend(ids);
        match page.body.split_once("rel=\"next\" href=\".") {
            Some((_, rest)) => path = rest[..rest.find('"').expect("its end")].replace("&#38;", "&"),
            None => break,
        }
    }
    expected.reverse();
    assert_eq!(seen, expected, "newest first, each once, and no other type's");
}

#[tokio::test]
async fn a_calendar_is_told_from_a_backlog() {
    let queue = MemoryQueue::new();
    enqueue(&queue, "mail", 2).await;
    let later = NewTask::raw("mail", "1").expect("a valid task").delay(Duration::from_secs(3600));
    queue.enqueue(later).await.expect("there is room");
    let app = acting_on(&queue);
    get(&app, "/overview").await.shows(&["<dt>pending for later</dt><dd>1</dd>"]);
    let stats = get(&app, "/api/stats").await.json();
    assert_eq!((stats["pending"].as_u64(), stats["scheduled"].as_u64()), (Some(3), Some(1)));
}

#[tokio::test]
async fn a_page_with_a_misspelt_filter_is_refused_and_lists_nothing() {
    let app = acting_on(&full().await);
    for path in ["/tasks?typ=pay", "/tasks?type=dead&type=waiting", "/tasks?other=1", "/redrive?typ=dead"] {
        let page = get(&app, path).await;
        assert!(page.status == 400 && !page.body.contains("data-label"), "{path}: {page:?}");
    }
    assert!(get(&app, "/tasks?typ=pay").await.body.contains("&#34;typ&#34; is none of type, status"));
}

#[tokio::test]
async fn a_task_is_opened_by_the_id_that_is_given_beside_a_list() {
    let queue = MemoryQueue::new();
    let id = enqueue(&queue, "mail", 1).await[0];
    let app = Router::new().nest("/a/queue", acting_on(&queue));
    let lists = ["/a/queue/tasks", "/a/queue/tasks?status=dead_letter"];
    for list in lists {
        get(&app, list).await.shows(&["<label>task id <input name=\"id\""]);
    }
    for given in [id.to_string(), format!("+{id}%0A")] {
        let led = get(&app, &format!("/a/queue/tasks?id={given}")).await;
        let path = resolved(lists[0], led.header("location"));
        assert_eq!((led.status, path), (303, format!("/a/queue/tasks/{id}?")));
    }
    get(&app, &format!("/a/queue/tasks/{id}")).await.shows(&[&id.to_string(), "pending"]);
    get(&app, "/a/queue/tasks?id=").await.shows(&[&id.to_string(), "<h1>Tasks</h1>"]);
    let refused = get(&app, "/a/queue/tasks?id=nonsense").await;
    assert!(refused.status == 400 && refused.body.contains("&#34;nonsense&#34;"), "{refused:?}");
    let unclear = get(&app, &format!("/a/queue/tasks?id={id}&type=mail")).await;
    assert!(unclear.status == 400 && unclear.body.contains("is none of id"), "{unclear:?}");
}

#[tokio::test]
async fn dead_letters_are_listed_with_their_errors() {
    let app = acting_on(&full().await);
    let page = get(&app, "/tasks?status=dead_letter").await;
    page.shows(&["<h1>Dead letters</h1>", "it broke", "1/3", "redrive?status=dead_letter"]);
    assert!(!page.body.contains("waiting"));
    get(&app, "/tasks?type=nothing").await.shows(&["No tasks."]);
}

#[tokio::test]
async fn a_task_is_shown_with_its_life_its_error_and_its_payload() {
    let queue = MemoryQueue::new();
    let dead = dead_letters(&queue, "mail", 1, "no such address").await[0];
    let app = acting_on(&queue);
    let page = get(&app, &format!("/tasks/{dead}")).await;
    page.shows(&["no such address", "claimed by killer, attempt 1", "finished: dead_letter", "1 of 3"]);
    page.shows(&["{\n  &#34;n&#34;: 0\n}", &format!("../tasks/{dead}/redrive")]);
    assert!(!page.body.contains("data-live"), "nothing more happens to it");
    let gone = get(&app, "/tasks/0198c5d0-0000-7000-8000-000000000009").await;
    assert!(gone.status == 404 && gone.body.contains("task not found"), "{gone:?}");
    assert_eq!(get(&app, "/tasks/nonsense").await.status, 400);
}

#[tokio::test]
async fn a_payload_is_downloaded_byte_for_byte() {
    let queue = MemoryQueue::new();
    let text = " {\"n\":  1.50,\n\"é\":\"<\\u003c\"} ";
    let id = queue.enqueue(NewTask::raw("mail", text).expect("JSON")).await.expect("there is room");
    let payload = get(&acting_on(&queue), &format!("/tasks/{id}/payload")).await;
    assert_eq!((payload.body.as_str(), payload.header("content-type")), (text, "application/json"));
    assert!(payload.header("content-disposition").starts_with("attachment"));
}

#[tokio::test]
async fn workers_are_seen_by_what_they_run() {
    let app = acting_on(&full().await);
    get(&app, "/workers").await.shows(&["worker-1", "running 1"]);
    get(&acting_on(&MemoryQueue::new()), "/workers").await.shows(&["No task is running"]);
}

#[tokio::test]
async fn a_list_of_workers_says_when_it_is_cut() {
    let queue = MemoryQueue::new();
    enqueue(&queue, "mail", 1_300).await;
    crate::support::claim(&queue, "mail", "busy").await;
    get(&acting_on(&queue), "/workers").await.shows(&["1,000", "there are more"]);
}

/// What a page links to, loads, or sends its forms to.
fn targets(body: &str) -> BTreeSet<(bool, String)> {
    let of = |attribute: &'static str, is_form| {
        body.split(attribute).skip(1).map(move |rest| {
            let target = &rest[..rest.find('"').expect("its end")];
            (is_form, target.replace("&#38;", "&"))
        })
    };
    of("href=\"", false).chain(of("src=\"", false)).chain(of("action=\"", true)).collect()
}

/// As a browser does.
fn resolved(page: &str, target: &str) -> String {
    let (target, query) = target.split_once('?').unwrap_or((target, ""));
    let mut parts: Vec<&str> = page.split('?').next().expect("a path").split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("{}?{query}", parts.join("/"))
}

#[tokio::test]
async fn every_link_of_every_page_leads_to_a_page_wherever_it_is_nested() {
    let queue = full().await;
    let dead = TaskFilter { status: Some(Status::DeadLetter), ..TaskFilter::default() };
    let id = queue.list(&dead).await.expect("it is open").tasks[0].id;
    let alone = acting_on(&queue);
    let nested = Router::new().nest("/a/queue", acting_on(&queue));
    for (app, place) in [(alone, ""), (nested, "/a/queue")] {
        for page in
            ["/overview", "/tasks", "/workers", "/redrive?type=dead", &format!("/tasks/{id}"), "/gone/7"]
        {
            let page = format!("{place}{page}");
            let found = get(&app, &page).await;
            let targets = targets(&found.body);
            assert!(targets.len() > 5, "{page}: {targets:?}");
            for (is_form, target) in targets {
                assert!(target.starts_with('.'), "{page}: {target} is not relative");
                let path = resolved(&page, &target);
                let status = get(&app, &path).await.status;
                let is_right = status == 200 || (is_form && status == 405);
                assert!(is_right, "{page}: {target} leads to {path}: {status}");
            }
        }
        let home = get(&app, if place.is_empty() { "/" } else { place }).await;
        let path = resolved(if place.is_empty() { "/" } else { place }, home.header("location"));
        assert_eq!((home.status, get(&app, &path).await.status), (303, 200), "{path}");
    }
}

#[tokio::test]
async fn a_slash_at_the_end_of_its_place_leads_home_as_well_where_it_is_nested_as_a_service() {
    let app = Router::new().nest_service("/a/queue", acting_on(&MemoryQueue::new()));
    for place in ["/a/queue", "/a/queue/"] {
        let home = get(&app, place).await;
        let path = resolved(place, home.header("location"));
        assert_eq!((home.status, path.as_str()), (303, "/a/queue/overview?"));
        assert_eq!(get(&app, &path).await.status, 200);
    }
}
