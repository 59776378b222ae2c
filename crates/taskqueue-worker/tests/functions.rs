//! Functions where a handler is asked for, what they decode, and how they are called without a worker.

#![allow(clippy::unwrap_used, reason = "these are tests, though some of it is outside a test function")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use support::{Number, SECOND, queue};
use taskqueue_worker::core::{ErrorKind, Status};
use taskqueue_worker::{
    Configure, Data, Handler, HandlerOptions, NewTask, Outcome, Queue, Task, TaskContext, TaskError,
    TaskType, UndecodablePayload, Worker, WorkerBuilder, async_trait, handler_fn, testing,
};

trait Mailer: Send + Sync {
    fn send(&self) -> Result<(), TaskError>;
}

struct Refusing;

impl Mailer for Refusing {
    fn send(&self) -> Result<(), TaskError> {
        Err(TaskError::permanent("no such mailbox"))
    }
}

async fn mail(_: Number, mailer: Data<dyn Mailer>) -> Result<(), TaskError> {
    mailer.send()
}

/// A handler around another one.
struct Around<H>(H);

#[async_trait]
impl<H: Handler> Handler for Around<H> {
    async fn handle(&self, cx: TaskContext) -> Result<Outcome, TaskError> {
        self.0.handle(cx).await.map_err(|error| TaskError::permanent(format!("around: {error}")))
    }

    fn options(&self) -> HandlerOptions {
        self.0.options().timeout(9 * SECOND)
    }

    fn check(&self, data: &taskqueue_worker::DataMap) -> Result<(), String> {
        self.0.check(data)
    }
}

fn mailer() -> Arc<dyn Mailer> {
    Arc::new(Refusing)
}

/// Works one task to the end of a drain.
async fn work(task: NewTask, build: impl FnOnce(WorkerBuilder) -> WorkerBuilder) -> Task {
    let queue = queue();
    let id = queue.enqueue(task).await.unwrap();
    build(Worker::builder(queue.clone())).build().unwrap().drain().await;
    queue.get(id).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_function_can_stand_inside_another_handler_and_handle_a_second_type() {
    let alias = TaskType::new("number.old").unwrap();
    let task = work(NewTask::raw("number.old", r#"{"n":1}"#).unwrap(), |builder| {
        builder.data_arc(mailer()).handler(mail).handle(alias, Around(handler_fn(mail)))
    });
    assert_eq!(task.await.last_error.as_deref(), Some("around: no such mailbox"));
}

#[tokio::test]
async fn what_a_function_asks_for_is_checked_also_inside_another_handler() {
    let number = TaskType::new("number").unwrap();
    let builder = Worker::builder(queue()).handle(number, Arc::new(Around(handler_fn(mail)).concurrency(2)));
    let error = builder.build().unwrap_err().to_string();
    assert!(error.contains("Data<dyn functions::Mailer> was not given"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_payload_that_does_not_decode_is_a_dead_letter_or_as_set_a_failed_attempt() {
    async fn never(_: Number) {
        unreachable!("its payload is another one");
    }
    let task = || NewTask::raw("number", r#"{"number":1}"#).unwrap();

    let dead = work(task(), |builder| builder.handler(never)).await;
    let failed =
        work(task(), |builder| builder.handler(never).undecodable_payload(UndecodablePayload::Retry)).await;

    assert_eq!((dead.status, dead.attempts), (Status::DeadLetter, 1));
    assert_eq!((failed.status, failed.attempts), (Status::Failed, 1));
    assert!(failed.last_error.unwrap().contains("missing field"));
}

#[tokio::test(start_paused = true)]
async fn the_timeout_of_the_worker_is_for_handlers_without_one_of_their_own() {
    async fn hang(_: Number) {
        std::future::pending::<()>().await;
    }
    async fn slow(_: Number) {
        tokio::time::sleep(60 * SECOND).await;
    }
    async fn without_end(_: Number, cx: TaskContext) {
        assert_eq!(cx.deadline(), None);
    }
    let task = || NewTask::new(&Number { n: 1 }).unwrap().max_retries(1);

    let of_worker = work(task(), |builder| builder.handler(hang).timeout(7 * SECOND)).await;
    let own = work(task(), |builder| builder.handler(hang.timeout(3 * SECOND)).timeout(7 * SECOND)).await;
    let none = work(task(), |builder| builder.handler(slow.timeout(Duration::MAX)).timeout(7 * SECOND)).await;

    let endless = work(task(), |builder| builder.handler(without_end.timeout(Duration::MAX))).await;

    assert_eq!(of_worker.last_error.as_deref(), Some("timed out after 7s"));
    assert_eq!(own.last_error.as_deref(), Some("timed out after 3s"));
    assert_eq!((none.status, endless.status), (Status::Completed, Status::Completed));
    assert!(Worker::builder(queue()).handler(hang).timeout(Duration::ZERO).build().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_handler_with_a_context_can_be_called_without_a_worker() {
    async fn copies(number: Number, cx: TaskContext) -> Result<Outcome, TaskError> {
        assert_eq!((cx.attempt(), cx.decode::<Number>()?.n), (1, number.n));
        cx.heartbeat().await?;
        Ok(Outcome::done())
    }
    let queue = queue();
    let cx = testing::context(queue.clone(), Number { n: 4 }).await.unwrap();
    assert_eq!(copies(Number { n: 4 }, cx.clone()).await.unwrap(), Outcome::done());

    queue.cancel(cx.id()).await.unwrap();

    assert!(copies(Number { n: 4 }, cx.clone()).await.is_err());
    assert!(cx.cancelled().is_cancelled(), "its heartbeat has found that its lease is lost");
}

#[tokio::test(start_paused = true)]
async fn the_context_of_a_task_that_is_not_claimed_is_refused() {
    let later = NewTask::new(&Number { n: 1 }).unwrap().delay(SECOND);
    let error = testing::context(queue(), later).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);

    let queue = queue();
    queue.enqueue(Number { n: 1 }).await.unwrap();
    let error = testing::context(queue, Number { n: 2 }).await.unwrap_err();
    assert!(error.to_string().contains("another task of type number"), "{error}");
}
