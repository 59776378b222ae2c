//! What `build` refuses, and what it says.

mod support;

use std::sync::Arc;
use std::time::Duration;

use support::{Number, SECOND, queue};
use taskqueue_worker::core::ErrorKind;
use taskqueue_worker::{Configure, Data, MaintenanceConfig, Queue, Worker, WorkerBuilder};

async fn handle(_: Number) {}

/// What is wrong with this worker.
fn refusal(build: impl FnOnce(WorkerBuilder) -> WorkerBuilder) -> String {
    let error = build(Worker::builder(queue())).build().expect_err("it must be refused");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    error.to_string()
}

#[tokio::test]
async fn data_that_a_handler_asks_for_and_that_was_not_given_is_named() {
    struct Mailer;
    async fn needy(_: Number, _mailer: Data<Mailer>) {}

    let error = refusal(|builder| builder.data("something else").handler(needy));

    assert!(error.contains("handler of number: Data<") && error.contains("Mailer> was not given"), "{error}");
    assert!(Worker::builder(queue()).data(Mailer).handler(needy).build().is_ok());
    assert!(refusal(|builder| builder.handler(needy.concurrency(2))).contains("was not given"));
}

#[tokio::test]
async fn two_handlers_of_one_type_are_refused() {
    async fn other(_: Number) {}
    assert!(
        refusal(|builder| builder.handler(handle).handler(other)).contains("two handlers of type number")
    );
}

#[tokio::test]
async fn a_worker_without_handlers_is_refused() {
    assert!(refusal(|builder| builder).contains("no handler"));
}

#[tokio::test]
async fn a_concurrency_of_zero_is_refused_for_the_worker_and_for_a_type() {
    assert!(refusal(|builder| builder.handler(handle).concurrency(0)).contains("concurrency is 0"));
    let error = refusal(|builder| builder.handler(handle.concurrency(0)));
    assert!(error.contains("handler of number: concurrency is 0"), "{error}");
}

#[tokio::test]
async fn times_of_zero_are_refused_where_they_would_spin_or_always_fail() {
    let zero = Duration::ZERO;
    let off = MaintenanceConfig::off();
    assert!(refusal(|builder| builder.handler(handle.timeout(zero))).contains("timeout is zero"));
    assert!(refusal(|builder| builder.handler(handle).poll_interval(zero)).contains("poll interval"));
    assert!(
        refusal(|builder| builder.handler(handle).visibility_timeout(zero)).contains("visibility timeout")
    );
    assert!(
        refusal(|builder| builder.handler(handle).maintenance(off.promote_interval(zero)))
            .contains("promote")
    );
}

#[tokio::test]
async fn heartbeats_too_rare_for_the_visibility_timeout_are_refused() {
    let error = refusal(|builder| {
        builder.handler(handle).visibility_timeout(30 * SECOND).heartbeat_interval(16 * SECOND)
    });
    assert!(error.contains("more than half the visibility timeout"), "{error}");
}

#[tokio::test]
async fn a_worker_tells_its_id_its_types_and_its_queue() {
    let build = || Worker::builder(queue()).name("mailer").handler(handle).build().unwrap();
    let (worker, other) = (build(), build());

    assert!(worker.id().as_str().starts_with("mailer-"));
    assert_ne!(worker.id(), other.id());
    assert_eq!(worker.handler_types().collect::<Vec<_>>(), [&support::number_type()]);
    assert_eq!(worker.queue().backend().await.unwrap().name, "memory");
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_chosen_at_run_time_is_worked_as_well() {
    let queue: Arc<dyn Queue> = Arc::new(queue());
    queue.enqueue(Number { n: 1 }).await.unwrap();
    let report = Worker::builder(Arc::clone(&queue)).handler(handle).build().unwrap().drain().await;
    assert_eq!(report.completed, 1);
}
