//! That nothing that a task, a worker or a URL brings becomes part of a page.

use taskqueue_memory::{MemoryQueue, NewTask, Outcome, Queue, Retry};

use crate::support::{acting_on, claim, get, post};

const HOSTILE: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>";

#[track_caller]
fn is_harmless(body: &str) {
    for part in ["<script>", "<img", "\"'>", "alert(1)</"] {
        assert!(!body.contains(part), "{part} stands in {body}");
    }
}

#[tokio::test]
async fn what_a_task_carries_is_text_on_every_page() {
    let queue = MemoryQueue::new();
    let task = NewTask::json("mail", &serde_json::json!({ HOSTILE: HOSTILE })).expect("JSON");
    let task = task.region("<b>\"'>").unique_key(HOSTILE).metadata(HOSTILE, HOSTILE);
    let id = queue.enqueue(task).await.expect("there is room");
    let lease = claim(&queue, "mail", HOSTILE).await.remove(0).lease;
    let app = acting_on(&queue);
    get(&app, "/workers").await.shows(&["&#60;script&#62;alert(1)"]);
    is_harmless(&get(&app, "/workers").await.body);
    queue.settle(lease, Outcome::Fail { error: HOSTILE.into(), retry: Retry::Never }).await.expect("live");
    for path in
        ["/tasks", "/tasks?region=%3Cb%3E%22'%3E", &format!("/tasks/{id}"), "/redrive?region=%3Cb%3E%22'%3E"]
    {
        let page = get(&app, path).await;
        page.shows(&["&#60;"]);
        is_harmless(&page.body);
    }
    let page = get(&app, &format!("/tasks/{id}")).await;
    assert!(
        page.body.matches("&#60;script&#62;").count() >= 6,
        "error, key, worker, payload, metadata: {page:?}"
    );
}

#[tokio::test]
async fn a_character_that_turns_the_direction_of_a_text_is_shown_as_such() {
    let queue = MemoryQueue::new();
    let task =
        NewTask::raw("mail", "{\n\"file\":\"gpj.\u{202e}exe\"}").expect("JSON").metadata("\u{2066}k", "v");
    let id = queue.enqueue(task).await.expect("there is room");
    let page = get(&acting_on(&queue), &format!("/tasks/{id}")).await;
    page.shows(&["gpj.\\u{202e}exe", "\\u{2066}k"]);
    assert!(!page.body.contains(['\u{202e}', '\u{2066}']), "{page:?}");
}

#[tokio::test]
async fn what_a_url_or_a_form_brings_is_text_as_well() {
    let app = acting_on(&MemoryQueue::new());
    let hostile = "%3Cscript%3Ealert(1)%3C/script%3E%22'%3E";
    for path in [
        format!("/tasks?type={hostile}"),
        format!("/tasks?status={hostile}"),
        format!("/tasks?after={hostile}"),
        format!("/tasks?region={hostile}"),
        format!("/redrive?type={hostile}"),
        format!("/tasks/{}", hostile.replace('/', "%2F")),
        format!("/{hostile}"),
    ] {
        let page = get(&app, &path).await;
        assert!(page.status == 200 || page.status == 400 || page.status == 404, "{path}: {page:?}");
        is_harmless(&page.body);
    }
    for (path, form) in
        [("/tasks", format!("action=cancel&id={hostile}")), ("/tasks", format!("action={hostile}"))]
    {
        let page = post(&app, path, &form).await;
        assert_eq!(page.status, 400);
        is_harmless(&page.body);
    }
}

#[tokio::test]
async fn json_is_told_to_be_json() {
    let queue = MemoryQueue::new();
    queue.enqueue(NewTask::json("mail", HOSTILE).expect("JSON")).await.expect("there is room");
    let answer = get(&acting_on(&queue), "/api/tasks").await;
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.json()["tasks"][0]["payload"], HOSTILE);
}
