//! What a slow or failing database does to pages, and how little viewers ask of one.

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use futures::future::join_all;
use taskqueue_dashboard::{Actions, Dashboard};
use taskqueue_memory::{MemoryQueue, NewTask, Outcome, Queue, Retry};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::spy::{Conduct, SECRET, Spy};
use crate::support::{claim, dead_letters, enqueue, full, get, post, router};

const LIMIT: Duration = Duration::from_secs(3);
const PAGES: [&str; 5] = [
    "/overview",
    "/tasks",
    "/workers",
    "/tasks/0198c5d0-0000-7000-8000-000000000009",
    "/tasks/0198c5d0-0000-7000-8000-000000000009/payload",
];
const ACTIONS: [(&str, &str); 8] = [
    ("/tasks/0198c5d0-0000-7000-8000-000000000009/cancel", ""),
    ("/tasks/0198c5d0-0000-7000-8000-000000000009/run-now", ""),
    ("/tasks/0198c5d0-0000-7000-8000-000000000009/redrive", ""),
    ("/types/mail/pause", ""),
    ("/types/mail/resume", ""),
    ("/redrive", "type=mail"),
    ("/tasks", "action=redrive&id=0198c5d0-0000-7000-8000-000000000009"),
    ("/tasks", "action=run-now&id=0198c5d0-0000-7000-8000-000000000009"),
];

fn over(spy: &Spy) -> Router {
    router(Dashboard::builder(spy.clone()).actions(Actions::Allowed).query_timeout(LIMIT))
}

/// Lets others run until it is so.
async fn wait_until(is_so: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if is_so() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it did not become so");
}

#[tokio::test(start_paused = true)]
async fn a_database_that_hangs_gives_a_page_that_says_so() {
    for path in PAGES {
        let app = over(&Spy::over(MemoryQueue::new(), Conduct::Hangs));
        let began = Instant::now();
        let page = get(&app, path).await;
        assert!(page.status == 504 && page.body.contains("did not answer within 3 s"), "{path}: {page:?}");
        assert_eq!(began.elapsed(), LIMIT, "{path}");
    }
    for (path, form) in ACTIONS {
        let app = over(&Spy::over(MemoryQueue::new(), Conduct::Hangs));
        assert_eq!(post(&app, path, form).await.status, 504, "{path}");
    }
    let app = over(&Spy::over(MemoryQueue::new(), Conduct::Hangs));
    assert_eq!(get(&app, "/api/stats").await.json()["error"]["kind"], "too_slow");
}

#[tokio::test(start_paused = true)]
async fn redriving_all_is_offered_also_where_nobody_can_say_how_many_they_are() {
    for conduct in [Conduct::Hangs, Conduct::Fails] {
        let app = over(&Spy::over(MemoryQueue::new(), conduct));
        let page = get(&app, "/redrive?type=mail").await;
        page.shows(&["of type mail will be pending again", "is not known now", "Redrive them"]);
    }
}

#[tokio::test(start_paused = true)]
async fn redriving_all_tells_what_was_done_before_it_failed_also_if_none_was_redriven() {
    let queue = MemoryQueue::new();
    let task = |key: usize| NewTask::raw("mail", "1").expect("JSON").unique_key(key.to_string());
    queue.enqueue_many((0..250).map(task).collect()).await.expect("there is room");
    for claim in claim(&queue, "mail", "killer").await {
        let outcome = Outcome::Fail { error: "no".into(), retry: Retry::Never };
        queue.settle(claim.lease, outcome).await.expect("the lease is live");
    }
    queue.enqueue_many((0..250).map(task).collect()).await.expect("the dead letters' keys are free");
    let app = over(&Spy::over(queue, Conduct::ListsFailAfter(1)));
    let done = post(&app, "/redrive", "type=mail").await;
    done.shows(&["0 tasks are pending again. 200 tasks stayed", "It stopped: the database", "Go on"]);
    let failed = post(&app, "/redrive", "type=mail").await;
    assert_eq!(failed.status, 503, "nothing at all was done");
}

#[tokio::test(start_paused = true)]
async fn a_list_is_asked_for_in_steps_and_ends_once_its_payloads_are_many_bytes() {
    let queue = MemoryQueue::new();
    let payload = format!("\"{}\"", "x".repeat(1_000_000));
    let task = |_| NewTask::raw("large", payload.clone()).expect("JSON");
    queue.enqueue_many((0..20).map(task).collect()).await.expect("there is room");
    enqueue(&queue, "small", 120).await;
    let spy = Spy::over(queue, Conduct::Gate(Semaphore::new(1)));
    let app = over(&spy);
    let small = get(&app, "/api/tasks?type=small&limit=110").await.json();
    assert_eq!(
        (small["tasks"].as_array().map(Vec::len), spy.seen().lists.load(Ordering::SeqCst)),
        (Some(110), 3)
    );
    assert_eq!(small["next"], small["tasks"][109]["id"]);
    let (mut seen, mut after) = (Vec::new(), String::new());
    for expected in [9, 9, 2] {
        let page = get(&app, &format!("/api/tasks?type=large&after={after}")).await.json();
        let tasks = page["tasks"].as_array().expect("a list");
        assert_eq!(tasks.len(), expected, "8 MiB, and the one that passes them");
        seen.extend(tasks.iter().map(|task| task["id"].to_string()));
        after = page["next"].as_str().unwrap_or_default().to_owned();
    }
    assert!(after.is_empty(), "there are no more");
    seen.dedup();
    assert_eq!(seen.len(), 20);
}

#[test]
fn the_longest_answer_is_one_question_that_was_begun_last() {
    for (limit, expected) in [(3, 8), (10, 15)] {
        let limited = Dashboard::builder(MemoryQueue::new()).query_timeout(Duration::from_secs(limit));
        let dashboard = limited.build().expect("it is right");
        assert_eq!(dashboard.answer_max(), Duration::from_secs(expected));
    }
}

#[tokio::test(start_paused = true)]
async fn a_database_that_fails_is_told_without_its_words() {
    let app = over(&Spy::over(MemoryQueue::new(), Conduct::Fails));
    for path in PAGES {
        let page = get(&app, path).await;
        assert!(page.status == 503 && page.body.contains("cannot be reached"), "{path}: {page:?}");
        assert!(!page.body.contains(SECRET) && !page.body.contains("db.internal"), "{path}: {page:?}");
    }
    for (path, form) in ACTIONS {
        let page = post(&app, path, form).await;
        assert!(page.status == 503 && !page.body.contains(SECRET), "{path}: {page:?}");
    }
    let cancelled = post(&app, "/tasks", "action=cancel&id=0198c5d0-0000-7000-8000-000000000009").await;
    assert!(cancelled.body.contains("0 tasks are cancelled") && !cancelled.body.contains(SECRET));
    let error = get(&app, "/api/tasks").await;
    assert!(error.json()["error"]["kind"] == "unavailable" && !error.body.contains(SECRET), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_hundred_viewers_cost_one_query() {
    let spy = Spy::over(full().await, Conduct::Gate(Semaphore::new(0)));
    let app = over(&spy);
    let Conduct::Gate(gate) = &spy.seen().conduct else { unreachable!("it is a gate") };
    // All have asked before the gate opens: each future is polled once before the last.
    let viewers = join_all((0..100).map(|n| get(&app, if n % 2 == 0 { "/overview" } else { "/api/stats" })));
    let (answers, ()) = tokio::join!(viewers, async { gate.add_permits(1) });
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(spy.seen().stats.load(Ordering::SeqCst), 1);
    join_all((0..100).map(|_| get(&app, "/workers"))).await;
    assert_eq!(spy.seen().lists.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn statistics_are_read_anew_after_a_second() {
    let spy = Spy::over(MemoryQueue::new(), Conduct::Gate(Semaphore::new(1)));
    let app = over(&spy);
    for (advance, expected) in [(0, 1), (900, 1), (200, 2)] {
        tokio::time::advance(Duration::from_millis(advance)).await;
        get(&app, "/overview").await;
        assert_eq!(spy.seen().stats.load(Ordering::SeqCst), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn viewers_leave_the_database_to_the_workers() {
    let queue = MemoryQueue::new();
    enqueue(&queue, "mail", 1).await;
    let spy = Spy::over(queue, Conduct::Gate(Semaphore::new(0)));
    let app = over(&spy);
    let Conduct::Gate(gate) = &spy.seen().conduct else { unreachable!("it is a gate") };
    let viewers = join_all((0..50).map(|_| get(&app, "/tasks")));
    let (answers, ()) = tokio::join!(viewers, async {
        wait_until(|| spy.seen().under_way.load(Ordering::SeqCst) == 3).await;
        gate.add_permits(1);
    });
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(spy.seen().under_way_max.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn a_query_that_nobody_waits_for_keeps_its_place_until_it_ends() {
    let spy = Spy::over(MemoryQueue::new(), Conduct::Gate(Semaphore::new(0)));
    let app = over(&spy);
    let Conduct::Gate(gate) = &spy.seen().conduct else { unreachable!("it is a gate") };
    assert_eq!(get(&app, "/tasks").await.status, 504);
    for _ in 0..2 {
        let gone = tokio::time::timeout(Duration::from_secs(1), get(&app, "/api/tasks")).await;
        assert!(gone.is_err());
    }
    let busy = get(&app, "/api/tasks").await;
    assert_eq!((busy.status, busy.json()["error"]["kind"].as_str()), (503, Some("busy")));
    assert_eq!(spy.seen().lists.load(Ordering::SeqCst), 3);
    gate.add_permits(1);
    assert_eq!(get(&app, "/tasks").await.status, 200);
    assert_eq!(spy.seen().under_way_max.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn a_viewer_who_goes_away_leaves_the_question_under_way_for_the_others() {
    let spy = Spy::over(MemoryQueue::new(), Conduct::Gate(Semaphore::new(0)));
    let app = over(&spy);
    let Conduct::Gate(gate) = &spy.seen().conduct else { unreachable!("it is a gate") };
    for _ in 0..5 {
        let gone = tokio::time::timeout(Duration::from_secs(1), get(&app, "/overview")).await;
        assert!(gone.is_err());
        assert_eq!(get(&app, "/overview").await.status, 504, "that is no answer to keep");
    }
    gate.add_permits(1);
    assert_eq!(get(&app, "/overview").await.status, 200);
    assert_eq!(spy.seen().stats.load(Ordering::SeqCst), 1);
    wait_until(|| spy.seen().under_way.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test(start_paused = true)]
async fn actions_are_not_kept_waiting_by_viewers_and_say_when_nothing_was_done() {
    let queue = MemoryQueue::new();
    let id = enqueue(&queue, "mail", 1).await[0];
    let app = over(&Spy::over(queue.clone(), Conduct::ListsHang));
    join_all((0..20).map(|_| get(&app, "/tasks"))).await;
    assert_eq!(post(&app, &format!("/tasks/{id}/cancel"), "").await.status, 303);
    let app = over(&Spy::over(queue.clone(), Conduct::Hangs));
    assert_eq!(post(&app, "/types/mail/pause", "").await.status, 504, "it may have been done");
    let busy = post(&app, "/types/mail/pause", "").await;
    assert!(busy.status == 503 && busy.body.contains("nothing was done"), "{busy:?}");
}

#[tokio::test(start_paused = true)]
async fn an_action_on_many_tasks_ends_in_time_and_says_what_it_left() {
    let queue = MemoryQueue::new();
    let ids = enqueue(&queue, "mail", 100).await;
    let app = over(&Spy::over(queue.clone(), Conduct::Slow(Duration::from_secs(1))));
    let (form, began) = (ids.iter().map(|id| format!("&id={id}")).collect::<String>(), Instant::now());
    let done = post(&app, "/tasks", &format!("action=cancel{form}")).await;
    done.shows(&["6 tasks are cancelled.", "94 tasks were not tried"]);
    assert_eq!(began.elapsed(), Duration::from_secs(6));
    dead_letters(&queue, "other", 900, "no").await;
    let began = Instant::now();
    let first = post(&app, "/redrive", "type=other").await;
    first.shows(&[
        "600 tasks are pending again.",
        "There are more of type other.",
        "name=\"after\"",
        "Go on",
    ]);
    assert_eq!(began.elapsed(), Duration::from_secs(6));
    let (_, after) = first.body.split_once("name=\"after\" value=\"").expect("where to go on");
    let again = post(&app, "/redrive", &format!("type=other&after={}", &after[..36])).await;
    again.shows(&["300 tasks are pending again."]);
}
