//! The JSON: core's own forms, errors with a kind, and what is kept back.

use axum::Router;
use taskqueue_dashboard::{Actions, Dashboard, Payloads};
use taskqueue_memory::{MemoryQueue, NewTask, Queue, Status, Task, TaskId};

use crate::support::{acting_on, answer, enqueue, full, get, post, request, router};

#[tokio::test]
async fn tasks_are_what_the_queue_says_of_them_page_by_page() {
    let queue = full().await;
    let app = acting_on(&queue);
    let (mut seen, mut after) = (Vec::<Task>::new(), String::new());
    loop {
        let page = get(&app, &format!("/api/tasks?limit=2&after={after}")).await.json();
        let tasks: Vec<Task> = serde_json::from_value(page["tasks"].clone()).expect("core's form");
        seen.extend(tasks);
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => break,
        }
    }
    let expected = queue.list(&taskqueue_memory::TaskFilter::default()).await.expect("it is open").tasks;
    assert_eq!(seen, expected);
    let one = get(&app, &format!("/api/tasks/{}", seen[0].id)).await.json();
    assert_eq!(serde_json::from_value::<Task>(one).expect("core's form"), seen[0]);
}

#[tokio::test]
async fn statistics_and_workers_have_their_names() {
    let app = acting_on(&full().await);
    let stats = get(&app, "/api/stats").await.json();
    assert_eq!((stats["dead_letter"].as_u64(), stats["by_type"]["waiting"].as_u64()), (Some(2), Some(3)));
    assert_eq!(stats["paused"], serde_json::json!(["waiting"]));
    assert_eq!(stats["backend"]["name"], "memory");
    assert!(stats["now"].is_string() && stats["oldest_pending"].is_string(), "{stats}");
    let workers = get(&app, "/api/workers").await.json();
    assert_eq!((workers["tasks"].as_u64(), workers["is_cut"].as_bool()), (Some(1), Some(false)));
    let worker = &workers["workers"][0];
    assert_eq!(
        (worker["worker_id"].as_str(), worker["by_type"]["running"].as_u64()),
        (Some("worker-1"), Some(1))
    );
}

#[tokio::test]
async fn an_error_is_json_with_a_kind_and_a_text() {
    let app = acting_on(&MemoryQueue::new());
    for (path, status, kind) in [
        ("/api/tasks/0198c5d0-0000-7000-8000-000000000009", 404, "task_not_found"),
        ("/api/tasks/x", 400, "invalid_input"),
        ("/api/tasks?limit=201", 400, "invalid_input"),
        ("/api/tasks?status=lost", 400, "invalid_input"),
        ("/api/tasks?typ=mail", 400, "invalid_input"),
        ("/api/tasks?type=mail&type=other", 400, "invalid_input"),
        ("/api/tasks/%FF", 400, "invalid_input"),
        ("/api/nothing", 404, "not_found"),
        ("/api/redrive", 405, "no_method"),
    ] {
        let answer = get(&app, path).await;
        let error = &answer.json()["error"];
        assert_eq!((answer.status, error["kind"].as_str()), (status, Some(kind)), "{path}");
        assert!(error["text"].as_str().is_some_and(|text| !text.is_empty()), "{path}");
    }
}

#[tokio::test]
async fn what_is_refused_before_it_is_read_has_the_same_form() {
    let app = acting_on(&MemoryQueue::new());
    let long = "x".repeat(64 * 1024 + 1);
    let answer = post(&app, "/api/redrive?all=true", &long).await;
    assert_eq!((answer.status, answer.json()["error"]["kind"].as_str()), (413, Some("too_large")));
    for page in [post(&app, "/tasks", &long).await, get(&app, "/tasks/%FF").await] {
        assert!(page.status == 413 || page.status == 400, "{page:?}");
        assert!(page.body.contains("<p class=\"notice bad\">"), "{page:?}");
    }
}

#[tokio::test]
async fn redriving_everything_takes_a_word_for_it() {
    let queue = MemoryQueue::new();
    crate::support::dead_letters(&queue, "mail", 2, "no").await;
    let app = acting_on(&queue);
    for (query, body, named) in [
        ("", "", "all=true"),
        ("?type=", "", "all=true"),
        ("?after=0198c5d0-0000-7000-8000-000000000009", "", "all=true"),
        ("?status=dead_letter", "", "all=true"),
        ("?typ=mail", "", "typ"),
        ("?type=mail&limit=1", "", "limit"),
        ("?type=mail&type=other", "", "type is given twice"),
        ("?type=mail&status=failed", "", "status"),
        ("?type=mail", "type=mail", "body"),
        ("", "type=mail", "body"),
        ("?all=1", "", "all is not true"),
        ("?all=true&region=eu", "", "all contradicts"),
    ] {
        let refused = post(&app, &format!("/api/redrive{query}"), body).await;
        let text = refused.json()["error"]["text"].to_string();
        assert!(refused.status == 400 && text.contains(named), "{query}: {refused:?}");
    }
    assert_eq!(get(&app, "/api/stats").await.json()["dead_letter"], 2);
    assert_eq!(post(&app, "/api/redrive?all=true", "").await.json()["redriven"], 2);
}

#[tokio::test]
async fn a_program_acts_with_the_bearer_token() {
    let queue = MemoryQueue::new();
    let id = enqueue(&queue, "mail", 1).await[0];
    let builder = Dashboard::builder(queue.clone()).actions(Actions::Allowed).bearer_token("a secret token");
    let app = router(builder);
    let send = async |path: String| {
        let token = [("authorization", "Bearer a secret token")];
        answer(&app, request("POST", &path, &token, "")).await.json()
    };
    assert_eq!(post(&app, &format!("/api/tasks/{id}/cancel"), "").await.status, 401);
    let paused = send("/api/types/mail/pause".to_owned()).await;
    assert_eq!(paused, serde_json::json!({ "type": "mail", "is_paused": true }));
    let cancelled = send(format!("/api/tasks/{id}/cancel")).await;
    assert_eq!(cancelled, serde_json::json!({ "id": id, "was": "pending" }));
    assert_eq!(send(format!("/api/tasks/{id}/run-now")).await["error"]["kind"], "conflict");
    let later = crate::support::enqueue_later(&queue, "other", 1).await[0];
    assert_eq!(send(format!("/api/tasks/{later}/run-now")).await, serde_json::json!({ "id": later }));
    assert_eq!(queue.stats().await.expect("it is open").scheduled, 0);
    queue.cancel(later).await.expect("it is there");
    assert_eq!(send(format!("/api/tasks/{id}/redrive")).await["error"]["kind"], "conflict");
    crate::support::dead_letters(&queue, "other", 3, "no").await;
    assert_eq!(send("/api/redrive?type=other".to_owned()).await["redriven"], 3);
    assert_eq!(queue.get(id).await.expect("it is there").status, Status::Cancelled);
}

async fn keeping_back(payloads: Payloads) -> (Router, TaskId) {
    let queue = MemoryQueue::new();
    let task = NewTask::raw("mail", r#"{"to":"lovelace","Token":{"a":"hunter2"}}"#).expect("JSON");
    let id = queue
        .enqueue(task.unique_key("augusta").metadata("token", "hunter2").metadata("trace", "7"))
        .await
        .expect("room");
    (router(Dashboard::builder(queue).payloads(payloads)), id)
}

#[tokio::test]
async fn what_is_kept_back_is_on_no_page_and_in_no_json() {
    for payloads in [Payloads::Hidden, Payloads::Redacted(vec!["token".into()])] {
        let (app, id) = keeping_back(payloads.clone()).await;
        let paths = [
            format!("/tasks/{id}"),
            format!("/tasks/{id}/payload"),
            format!("/api/tasks/{id}"),
            "/api/tasks".into(),
        ];
        for path in paths {
            let answer = get(&app, &path).await;
            assert!(!answer.body.contains("hunter2"), "{path}: {answer:?}");
            let is_shown = answer.body.contains("lovelace");
            assert_eq!(is_shown, payloads != Payloads::Hidden, "{path}: {answer:?}");
            assert!(payloads != Payloads::Hidden || !answer.body.contains("augusta"), "{path}: {answer:?}");
        }
    }
    let (app, id) = keeping_back(Payloads::Hidden).await;
    assert_eq!(get(&app, &format!("/tasks/{id}/payload")).await.status, 404);
}

#[tokio::test]
async fn metrics_are_served_where_somebody_gives_them() {
    let without = acting_on(&MemoryQueue::new());
    assert_eq!(get(&without, "/metrics").await.status, 404);
    let with = router(Dashboard::builder(MemoryQueue::new()).metrics(|| "up 1\n".to_owned()));
    let page = get(&with, "/metrics").await;
    assert_eq!((page.status, page.body.as_str()), (200, "up 1\n"));
    assert!(page.header("content-type").starts_with("text/plain; version=0.0.4"));
}
