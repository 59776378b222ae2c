//! What the buttons do.

use taskqueue_memory::{MemoryQueue, NewTask, Outcome, Queue, Status, TaskFilter, TaskId};

use crate::support::{
    HOUR, acting_on, claim, dead_letters, enqueue, enqueue_later, full, get, post, task_type,
};

async fn status(queue: &MemoryQueue, id: TaskId) -> Status {
    queue.get(id).await.expect("it is there").status
}

async fn count(queue: &MemoryQueue, status: Status) -> usize {
    let filter = TaskFilter { status: Some(status), limit: 10_000, ..TaskFilter::default() };
    queue.list(&filter).await.expect("it is open").tasks.len()
}

fn selected(action: &str, ids: &[TaskId]) -> String {
    ids.iter().fold(format!("action={action}"), |form, id| format!("{form}&id={id}"))
}

#[tokio::test]
async fn a_task_is_cancelled_and_a_dead_letter_redriven_once() {
    let queue = MemoryQueue::new();
    let id = dead_letters(&queue, "mail", 1, "no").await[0];
    let app = acting_on(&queue);
    for (action, expected, refusal) in [
        ("redrive", Status::Pending, "is not a dead letter: pending"),
        ("cancel", Status::Cancelled, "is finished already: cancelled"),
    ] {
        let path = format!("/tasks/{id}/{action}");
        let done = post(&app, &path, "").await;
        assert_eq!((done.status, done.header("location")), (303, format!("../../tasks/{id}").as_str()));
        assert_eq!(status(&queue, id).await, expected);
        let again = post(&app, &path, "").await;
        assert!(again.status == 409 && again.body.contains(refusal), "{again:?}");
    }
    assert_eq!(post(&app, "/tasks/0198c5d0-0000-7000-8000-000000000009/cancel", "").await.status, 404);
}

#[tokio::test]
async fn a_task_that_waits_has_a_button_to_run_now_which_works_once() {
    let queue = MemoryQueue::new();
    let app = acting_on(&queue);
    let failed = enqueue(&queue, "mail", 1).await[0];
    let lease = claim(&queue, "mail", "busy").await.remove(0).lease;
    get(&app, &format!("/tasks/{failed}")).await.shows_not("run-now");
    queue.settle(lease, Outcome::retry_after("no", HOUR)).await.expect("the lease is live");
    for id in [failed, enqueue_later(&queue, "mail", 1).await[0]] {
        let path = format!("/tasks/{id}/run-now");
        get(&app, &format!("/tasks/{id}")).await.shows(&[&path, &format!("/tasks/{id}/cancel")]);
        let done = post(&app, &path, "").await;
        assert_eq!((done.status, done.header("location")), (303, format!("../../tasks/{id}").as_str()));
        assert_eq!(status(&queue, id).await, Status::Pending);
        get(&app, &format!("/tasks/{id}")).await.shows_not("run-now");
        let again = post(&app, &path, "").await;
        assert!(again.status == 409 && again.body.contains("waits for no time: ready already"), "{again:?}");
    }
    let stats = queue.stats().await.expect("it is open");
    assert_eq!((stats.pending, stats.scheduled, stats.failed), (2, 0, 0));
    assert_eq!(post(&app, "/tasks/0198c5d0-0000-7000-8000-000000000009/run-now", "").await.status, 404);
}

#[tokio::test]
async fn those_that_are_selected_are_run_now_and_others_stay() {
    let queue = MemoryQueue::new();
    let mut ids = enqueue_later(&queue, "mail", 3).await;
    ids.extend(dead_letters(&queue, "other", 1, "no").await);
    let app = acting_on(&queue);
    get(&app, "/tasks").await.shows(&["value=\"run-now\""]);
    let done = post(&app, "/tasks", &selected("run-now", &ids[1..])).await;
    done.shows(&["2 tasks are ready.", "1 task stayed as they were: they wait for no time"]);
    let stats = queue.stats().await.expect("it is open");
    assert_eq!((stats.pending, stats.scheduled, stats.dead_letter), (3, 1, 1));
}

#[tokio::test]
async fn a_type_is_paused_and_resumed_and_the_overview_shows_it_at_once() {
    let queue = MemoryQueue::new();
    enqueue(&queue, "mail", 1).await;
    let app = acting_on(&queue);
    get(&app, "/overview").await.shows(&["types/mail/pause"]);
    assert_eq!(post(&app, "/types/mail/pause", "").await.header("location"), "../../overview");
    assert_eq!(queue.paused().await.expect("it is open"), [task_type("mail")]);
    get(&app, "/overview").await.shows(&["types/mail/resume"]);
    post(&app, "/types/mail/resume", "").await;
    get(&app, "/overview").await.shows(&["types/mail/pause"]);
    assert_eq!(post(&app, "/types/No-Type/pause", "").await.status, 400);
}

#[tokio::test]
async fn those_that_are_selected_are_cancelled_and_the_others_told() {
    let queue = MemoryQueue::new();
    let ids = enqueue(&queue, "mail", 4).await;
    queue.cancel(ids[0]).await.expect("it is there");
    let app = acting_on(&queue);
    let done = post(&app, "/tasks", &selected("cancel", &ids[..3])).await;
    done.shows(&["2 tasks are cancelled.", "is finished already: cancelled"]);
    assert_eq!(status(&queue, ids[3]).await, Status::Pending);
    for form in
        ["action=cancel", "action=delete&id=0198c5d0-0000-7000-8000-000000000009", "action=cancel&id=x", ""]
    {
        assert_eq!(post(&app, "/tasks", form).await.status, 400, "{form}");
    }
}

#[tokio::test]
async fn a_selection_says_how_many_were_running_and_leads_back_to_its_list() {
    let queue = MemoryQueue::new();
    let ids = enqueue(&queue, "mail", 1).await;
    claim(&queue, "mail", "busy").await;
    let app = acting_on(&queue);
    let list = "?type=mail&#38;status=running";
    let page = get(&app, "/tasks?type=mail&status=running").await;
    page.shows(&[&format!("name=\"list\" value=\"{list}\"")]);
    let (redrive, cancel) = (page.body.find("value=\"redrive\""), page.body.find("value=\"cancel\""));
    assert!(redrive.is_some() && redrive < cancel, "Enter presses the first");
    let form = format!("{}&list=%3Ftype%3Dmail%26status%3Drunning", selected("cancel", &ids));
    let done = post(&app, "/tasks", &form).await;
    done.shows(&["1 task is cancelled. 1 of them was running.", &format!("href=\"./tasks{list}\"")]);
    for hostile in ["%3Fstatus%3Dlost", "%22%3E", "//evil.example", ""] {
        let form = format!("{}&list={hostile}", selected("cancel", &ids));
        post(&app, "/tasks", &form).await.shows(&["href=\"./tasks\""]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_cancelled_or_redriven_is_counted_at_once() {
    let queue = MemoryQueue::new();
    let id = dead_letters(&queue, "mail", 1, "no").await[0];
    let app = acting_on(&queue);
    let counts = async || {
        let stats = get(&app, "/api/stats").await.json();
        ["dead_letter", "pending", "cancelled"].map(|status| stats[status].as_u64().expect("a number"))
    };
    assert_eq!(counts().await, [1, 0, 0]);
    post(&app, &format!("/tasks/{id}/redrive"), "").await;
    assert_eq!(counts().await, [0, 1, 0]);
    post(&app, &format!("/tasks/{id}/cancel"), "").await;
    assert_eq!(counts().await, [0, 0, 1]);
    dead_letters(&queue, "mail", 2, "no").await;
    post(&app, "/redrive", "type=mail").await;
    assert_eq!(counts().await, [0, 2, 1]);
}

#[tokio::test]
async fn those_that_are_selected_are_redriven_and_others_stay() {
    let queue = MemoryQueue::new();
    let mut ids = dead_letters(&queue, "mail", 3, "no").await;
    ids.extend(enqueue(&queue, "other", 1).await);
    let done = post(&acting_on(&queue), "/tasks", &selected("redrive", &ids[1..])).await;
    done.shows(&["2 tasks are pending again.", "1 task stayed"]);
    assert_eq!(count(&queue, Status::DeadLetter).await, 1);
}

#[tokio::test(start_paused = true)]
async fn redriving_all_says_first_what_it_will_do_and_then_does_no_more() {
    let queue = full().await;
    dead_letters(&queue, "mail", 450, "no").await;
    let app = acting_on(&queue);
    let asked = get(&app, "/redrive?type=mail").await;
    asked.shows(&[
        "All dead letters of type mail will be pending again: 450 tasks.",
        "name=\"type\" value=\"mail\"",
    ]);
    assert_eq!(post(&app, "/redrive", "typ=mail").await.status, 400);
    assert_eq!(count(&queue, Status::DeadLetter).await, 452, "asking does nothing");
    post(&app, "/redrive", "type=mail").await.shows(&["450 tasks are pending again."]);
    assert_eq!(count(&queue, Status::DeadLetter).await, 2, "those of another type stay");
}

#[tokio::test]
async fn redriving_all_of_a_region_leaves_those_of_others_and_those_whose_key_is_taken() {
    let queue = MemoryQueue::new();
    let task =
        |region: &str, key: &str| NewTask::raw("mail", "1").expect("JSON").region(region).unique_key(key);
    for (region, key) in [("eu", "a"), ("eu", "b"), ("us", "c")] {
        queue.enqueue(task(region, key)).await.expect("there is room");
    }
    for claim in claim(&queue, "mail", "killer").await {
        let outcome =
            taskqueue_memory::Outcome::Fail { error: "no".into(), retry: taskqueue_memory::Retry::Never };
        queue.settle(claim.lease, outcome).await.expect("the lease is live");
    }
    queue.enqueue(task("eu", "b")).await.expect("the dead letter's key is free");
    let app = acting_on(&queue);
    get(&app, "/redrive?region=eu").await.shows(&["of region eu", "is not counted"]);
    let done = post(&app, "/redrive", "region=eu").await;
    done.shows(&[
        "1 task is pending again. 1 task stayed: another task holds the unique key, or a program was faster.",
    ]);
    assert_eq!(count(&queue, Status::DeadLetter).await, 2);
}
