//! What handlers are given, and what becomes of a task by what they return.

#![allow(clippy::unwrap_used, reason = "these are tests, though some of it is outside a test function")]

mod support;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use support::{Letter, Number, SECOND, queue};
use taskqueue_worker::core::{Status, TaskFilter};
use taskqueue_worker::{
    CancellationToken, Configure, Data, FromContext, Handler, NewTask, Outcome, Queue, RetryPolicy, Task,
    TaskContext, TaskError, TaskType, Worker, WorkerBuilder, async_trait,
};

/// Works one task to the end of a drain, and answers how it stands then.
async fn work(build: impl FnOnce(WorkerBuilder) -> WorkerBuilder) -> Task {
    let queue = queue();
    let id = queue.enqueue(Number { n: 7 }).await.unwrap();
    build(Worker::builder(queue.clone())).build().unwrap().drain().await;
    queue.get(id).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_function_receives_its_payload_its_data_and_its_context() {
    async fn handle(number: Number, cx: TaskContext, seen: Data<Mutex<Vec<String>>>) {
        assert!(cx.worker_id().as_str().starts_with("accountant-"));
        assert_eq!(cx.payload().as_str(), r#"{"n":7}"#);
        assert_eq!(cx.metadata()["trace"], "abc");
        assert_eq!(cx.deadline(), None);
        let (attempt, lease, max) = (cx.attempt(), cx.lease_number(), cx.max_retries());
        seen.lock().unwrap().push(format!("{} {attempt} of {max}, lease {lease}", number.n));
    }
    let seen = Arc::new(Mutex::new(Vec::<String>::new()));
    let queue = queue();
    queue.enqueue(NewTask::new(&Number { n: 7 }).unwrap().metadata("trace", "abc")).await.unwrap();
    let builder = Worker::builder(queue).name("accountant").data_arc(Arc::clone(&seen)).handler(handle);

    let report = builder.build().unwrap().drain().await;

    assert_eq!(report.completed, 1);
    assert_eq!(*seen.lock().unwrap(), ["7 1 of 3, lease 1"]);
}

#[tokio::test(start_paused = true)]
async fn six_extractors_can_follow_the_payload_in_any_order_and_be_of_the_users_own_type() {
    struct Attempt(u32);
    impl FromContext for Attempt {
        fn from_context(cx: &TaskContext) -> Result<Self, TaskError> {
            Ok(Self(cx.attempt()))
        }
    }
    async fn handle(
        number: Number,
        text: Data<String>,
        cx: TaskContext,
        Attempt(attempt): Attempt,
        _again: TaskContext,
        sum: Data<AtomicU32>,
        _same_text: Data<String>,
    ) {
        let found = number.n + attempt + cx.attempt() + u32::try_from(text.len()).unwrap();
        sum.store(found, Ordering::SeqCst);
    }
    let sum = Arc::new(AtomicU32::new(0));

    work(|builder| builder.data("four".to_owned()).data_arc(Arc::clone(&sum)).handler(handle)).await;

    assert_eq!(sum.load(Ordering::SeqCst), 7 + 1 + 1 + 4);
}

#[tokio::test(start_paused = true)]
async fn an_extractor_that_fails_fails_the_attempt() {
    struct Never;
    impl FromContext for Never {
        fn from_context(_: &TaskContext) -> Result<Self, TaskError> {
            Err(TaskError::permanent("no tenant"))
        }
    }
    async fn handle(_: Number, _: Never) {}

    let task = work(|builder| builder.handler(handle)).await;

    assert_eq!((task.status, task.last_error.as_deref()), (Status::DeadLetter, Some("no tenant")));
}

#[tokio::test(start_paused = true)]
async fn nothing_an_outcome_and_results_of_both_complete_a_task() {
    async fn unit(_: Number) {}
    async fn outcome(_: Number) -> Outcome {
        Outcome::done()
    }
    async fn result(_: Number) -> anyhow::Result<()> {
        Ok(())
    }
    async fn both(_: Number) -> Result<Outcome, TaskError> {
        Ok(Outcome::done())
    }

    assert_eq!(work(|builder| builder.handler(unit)).await.status, Status::Completed);
    assert_eq!(work(|builder| builder.handler(outcome)).await.status, Status::Completed);
    assert_eq!(work(|builder| builder.handler(result)).await.status, Status::Completed);
    assert_eq!(work(|builder| builder.handler(both)).await.status, Status::Completed);
}

#[tokio::test(start_paused = true)]
async fn any_error_is_kept_with_its_causes_and_retried_by_the_queues_policy() {
    async fn handle(_: Number) -> anyhow::Result<()> {
        Err(anyhow::anyhow!("disk full").context("writing").context("importing"))
    }

    let task = work(|builder| builder.handler(handle)).await;

    assert_eq!((task.status, task.attempts), (Status::Failed, 1));
    assert_eq!(task.last_error.as_deref(), Some("importing: writing: disk full"));
    let wait = task.retry_after.unwrap() - task.updated_at;
    assert!((1_600..=2_000).contains(&wait.num_milliseconds()), "2 s less jitter, not {wait}");
}

#[tokio::test(start_paused = true)]
async fn a_permanent_error_makes_a_dead_letter_at_the_first_attempt() {
    async fn typed(_: Number) -> Result<(), TaskError> {
        Err(TaskError::permanent("no such bucket"))
    }
    async fn wrapped(_: Number) -> anyhow::Result<()> {
        Err(anyhow::Error::new(TaskError::permanent("no such bucket").into_std()))
    }

    for task in [work(|builder| builder.handler(typed)).await, work(|builder| builder.handler(wrapped)).await]
    {
        assert_eq!((task.status, task.attempts), (Status::DeadLetter, 1));
        assert_eq!(task.last_error.as_deref(), Some("no such bucket"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_can_say_when_to_try_again() {
    async fn handle(_: Number) -> Result<(), TaskError> {
        Err(TaskError::retry_after("busy", 40 * SECOND))
    }

    let task = work(|builder| builder.handler(handle.retry(RetryPolicy::fixed(SECOND)))).await;

    assert_eq!((task.retry_after.unwrap() - task.updated_at).num_seconds(), 40);
}

#[tokio::test(start_paused = true)]
async fn a_types_policy_goes_before_the_workers_and_that_before_the_queues() {
    async fn handle(_: Number) -> anyhow::Result<()> {
        anyhow::bail!("no")
    }
    let seven = RetryPolicy::fixed(7 * SECOND);
    let nine = RetryPolicy::fixed(9 * SECOND);

    let own = work(|builder| builder.handler(handle.retry(seven)).retry(nine.clone())).await;
    let workers = work(|builder| builder.handler(handle).retry(nine)).await;

    assert_eq!((own.retry_after.unwrap() - own.updated_at).num_seconds(), 7);
    assert_eq!((workers.retry_after.unwrap() - workers.updated_at).num_seconds(), 9);
}

#[tokio::test(start_paused = true)]
async fn a_snoozed_task_comes_back_later_with_its_attempt_given_back() {
    async fn handle(_: Number) -> Outcome {
        Outcome::snooze(90 * SECOND)
    }

    let task = work(|builder| builder.handler(handle)).await;

    assert_eq!((task.status, task.attempts), (Status::Pending, 0));
    assert_eq!((task.scheduled_at - task.updated_at).num_seconds(), 90);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_keeps_failing_is_tried_as_often_as_it_may_and_then_a_dead_letter() {
    async fn handle(_: Number) -> anyhow::Result<()> {
        anyhow::bail!("no")
    }
    let queue = queue();
    let id = queue.enqueue(Number { n: 1 }).await.unwrap();
    let builder = Worker::builder(queue.clone()).handler(handle.retry(RetryPolicy::fixed(Duration::ZERO)));

    let report = builder.build().unwrap().drain().await;

    assert_eq!((report.failed, report.dead_lettered, report.completed), (2, 1, 0));
    assert_eq!(queue.get(id).await.unwrap().attempts, 3);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failed_attempt_that_keeps_its_message_and_the_worker_goes_on() {
    async fn handle(number: Number) {
        assert!(number.n != 2, "number {} is odd", number.n);
    }
    let queue = queue();
    let ids = support::enqueue_numbers(&queue, 3).await;

    let report = Worker::builder(queue.clone()).concurrency(1).handler(handle).build().unwrap().drain().await;

    assert_eq!((report.completed, report.failed), (2, 1));
    let failed = queue.get(ids[1]).await.unwrap();
    assert_eq!(failed.status, Status::Failed);
    assert_eq!(failed.last_error.as_deref(), Some("handler panicked: number 2 is odd"));
}

#[tokio::test(start_paused = true)]
async fn a_retry_policy_that_panics_leaves_the_delay_to_the_queue_and_is_not_asked_about_the_last_attempt() {
    async fn handle(_: Number) -> Result<(), TaskError> {
        Err(TaskError::from("no".to_owned()))
    }
    let delays = [SECOND];
    let policy = RetryPolicy::custom(move |attempt| delays[attempt as usize - 1]);
    let queue = queue();
    let id = queue.enqueue(Number { n: 1 }).await.unwrap();
    let builder = Worker::builder(queue.clone()).concurrency(1).handler(handle.retry(policy));
    let running = builder.build().unwrap().start();

    let task = support::wait_for_status(&queue, id, Status::DeadLetter).await;

    assert_eq!((task.attempts, task.last_error.as_deref()), (3, Some("no")));
    let report = running.stop().await;
    assert_eq!((report.failed, report.dead_lettered), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_handler_past_its_timeout_is_stopped_told_and_fails() {
    async fn handle(_: Number, cx: TaskContext, token: Data<Mutex<Option<CancellationToken>>>) {
        let left = cx.deadline().unwrap() - tokio::time::Instant::now();
        assert_eq!(left, 3 * SECOND);
        *token.lock().unwrap() = Some(cx.cancelled().clone());
        std::future::pending::<()>().await;
    }
    let token = Arc::new(Mutex::new(None::<CancellationToken>));

    let task = work(|builder| builder.data_arc(Arc::clone(&token)).handler(handle.timeout(3 * SECOND))).await;

    assert_eq!((task.status, task.last_error.as_deref()), (Status::Failed, Some("timed out after 3s")));
    assert_eq!((task.updated_at - task.started_at.unwrap()).num_seconds(), 3);
    assert!(token.lock().unwrap().as_ref().unwrap().is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn a_payload_that_does_not_decode_makes_a_dead_letter_that_says_where() {
    async fn handle(_: Number) {}
    let queue = queue();
    let id = queue.enqueue(NewTask::raw("number", r#"{"n":"seven"}"#).unwrap()).await.unwrap();

    Worker::builder(queue.clone()).handler(handle).build().unwrap().drain().await;

    let task = queue.get(id).await.unwrap();
    assert_eq!(task.status, Status::DeadLetter);
    let error = task.last_error.unwrap();
    assert!(error.contains("invalid task payload") && error.contains("line 1 column"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_follow_up_without_a_trace_context_is_given_that_of_its_task_and_no_other_metadata() {
    async fn handle(_: Number) -> Outcome {
        let own = NewTask::new(&Letter { c: 'b' }).expect("it has a JSON form");
        Outcome::done().then(Letter { c: 'a' }).then(own.metadata("traceparent", "own"))
    }
    let queue = queue();
    let number = NewTask::new(&Number { n: 7 }).unwrap();
    let given = [("traceparent", "00-1-2-01"), ("tracestate", "a=1"), ("header", "h")];
    let number = given.into_iter().fold(number, |task, (key, value)| task.metadata(key, value));
    queue.enqueue(number).await.unwrap();

    Worker::builder(queue.clone()).handler(handle).build().unwrap().drain().await;

    let letters = TaskFilter { task_type: Some(TaskType::of::<Letter>().unwrap()), ..TaskFilter::default() };
    let mut letters = queue.list(&letters).await.unwrap().tasks;
    letters.sort_by_key(|letter| letter.payload.as_str().to_owned());
    let [handed_on, own] = &*letters else { panic!("two letters follow: {letters:?}") };
    let expected = given[..2].iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    assert_eq!(handed_on.metadata, expected.collect());
    assert_eq!(own.metadata, [("traceparent".to_owned(), "own".to_owned())].into());
}

#[tokio::test(start_paused = true)]
async fn follow_ups_are_enqueued_with_the_completion_and_a_drain_works_them_too() {
    async fn number(number: Number) -> Outcome {
        match number.n {
            0 => Outcome::done().then(Letter { c: 'z' }),
            n => Outcome::done().then(Number { n: n - 1 }).then(Letter { c: 'a' }),
        }
    }
    async fn letter(letter: Letter, letters: Data<Mutex<String>>) {
        letters.lock().unwrap().push(letter.c);
    }
    let letters = Arc::new(Mutex::new(String::new()));
    let queue = queue();
    queue.enqueue(Number { n: 3 }).await.unwrap();
    let builder = Worker::builder(queue).data_arc(Arc::clone(&letters)).handler(number).handler(letter);

    let report = builder.build().unwrap().drain().await;

    assert_eq!(report.completed, 4 + 4);
    let mut letters: Vec<char> = letters.lock().unwrap().chars().collect();
    letters.sort_unstable();
    assert_eq!(letters, ['a', 'a', 'a', 'z']);
}

#[tokio::test(start_paused = true)]
async fn a_handler_type_gets_the_raw_payload_of_a_type_named_at_run_time_and_can_be_configured() {
    struct Raw;
    #[async_trait]
    impl Handler for Raw {
        async fn handle(&self, cx: TaskContext) -> Result<Outcome, TaskError> {
            let seen = cx.data().get::<Mutex<String>>().ok_or("no data")?;
            seen.lock().unwrap().push_str(cx.payload().as_str());
            Err(TaskError::from("not this time"))
        }
    }
    let seen = Arc::new(Mutex::new(String::new()));
    let queue = queue();
    let id = queue.enqueue(NewTask::raw("raw.1", "[1, 2]").unwrap()).await.unwrap();
    let configured = Raw.retry(RetryPolicy::fixed(5 * SECOND));
    let builder = Worker::builder(queue.clone()).data_arc(Arc::clone(&seen));

    builder.handle(TaskType::new("raw.1").unwrap(), configured).build().unwrap().drain().await;

    assert_eq!(*seen.lock().unwrap(), "[1, 2]");
    let task = queue.get(id).await.unwrap();
    assert_eq!((task.retry_after.unwrap() - task.updated_at).num_seconds(), 5);
}

/// What panics when it is dropped before the handler returns.
struct Grumpy;

impl Drop for Grumpy {
    fn drop(&mut self) {
        panic!("not yet");
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_while_it_is_dropped_at_its_timeout_keeps_neither_its_slot_nor_its_task() {
    async fn hang(_: Number) {
        let _grumpy = Grumpy;
        std::future::pending::<()>().await;
    }
    let queue = queue();
    for n in 1..=2 {
        queue.enqueue(NewTask::new(&Number { n }).unwrap().max_retries(1)).await.unwrap();
    }
    let builder = Worker::builder(queue.clone()).handler(hang.timeout(SECOND)).concurrency(1);

    let drain = tokio::time::timeout(600 * SECOND, builder.build().unwrap().drain()).await;

    assert_eq!(drain.expect("the slot was freed").dead_lettered, 2);
    let filter = TaskFilter { status: Some(Status::DeadLetter), ..TaskFilter::default() };
    for task in queue.list(&filter).await.unwrap().tasks {
        assert_eq!(task.last_error.as_deref(), Some("handler panicked: not yet"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_while_a_stop_drops_it_fails_its_attempt() {
    async fn hang(_: Number, started: Data<tokio::sync::Notify>) {
        let _grumpy = Grumpy;
        started.notify_one();
        std::future::pending::<()>().await;
    }
    let (queue, started) = (queue(), Arc::new(tokio::sync::Notify::new()));
    let id = queue.enqueue(Number { n: 1 }).await.unwrap();
    let builder = Worker::builder(queue.clone()).data_arc(Arc::clone(&started)).handler(hang);
    let running = builder.grace_period(SECOND).build().unwrap().start();
    started.notified().await;

    let report = running.stop().await;

    assert_eq!((report.failed, report.released), (1, 0));
    assert_eq!(queue.get(id).await.unwrap().last_error.as_deref(), Some("handler panicked: not yet"));
}
