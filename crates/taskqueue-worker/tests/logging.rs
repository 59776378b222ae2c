//! What is told of a task that goes wrong, where only warnings and errors are wanted: spans at INFO are not there then.

mod support;

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use support::spy::{Call, Spy};
use support::{Gate, Number, SECOND, at_gate, enqueue_numbers, queue, wait_until};
use taskqueue_worker::{Configure, Data, Queue, RetryPolicy, TaskContext, TaskError, TaskId, Worker};
use tracing::Level;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// The lines that hold `words`.
    fn lines(&self, words: &str) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.lock()).into_owned();
        text.lines().filter(|line| line.contains(words)).map(ToOwned::to_owned).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes down what this thread logs, at WARN and above, until the answer is dropped.
    fn listen(&self) -> DefaultGuard {
        self.listen_at(Level::WARN)
    }

    /// The same at this level and above.
    fn listen_at(&self, level: Level) -> DefaultGuard {
        let subscriber = tracing_subscriber::fmt().with_max_level(level).with_ansi(false);
        tracing::subscriber::set_default(subscriber.with_writer(self.clone()).finish())
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lock().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;
    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// The one line that holds `words` names the task as fields of its own.
fn names(log: &Log, words: &str, id: TaskId, attempt: u32) {
    let lines = log.lines(words);
    let [line] = lines.as_slice() else { panic!("{} lines of {words:?}: {lines:?}", lines.len()) };
    for field in [format!("id={id}"), "type=number".to_owned(), format!("attempt={attempt}")] {
        assert!(line.contains(&field), "{field} in {line}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_spans_a_failure_still_names_its_task_its_type_and_its_attempt() {
    async fn fails(number: Number) -> Result<(), TaskError> {
        match number.n {
            1 => Err(TaskError::from("one".to_owned())),
            2 => panic!("two"),
            _ => Err(TaskError::permanent("three")),
        }
    }
    let log = Log::default();
    let _listening = log.listen();
    let queue = queue();
    let ids = enqueue_numbers(&queue, 3).await;
    let handler = fails.retry(RetryPolicy::custom(|_| panic!("the policy")));
    let worker = Worker::builder(queue.clone()).handler(handler).build().unwrap();

    let report = worker.drain().await;

    assert_eq!((report.failed, report.dead_lettered), (2, 1));
    names(&log, "error=one", ids[0], 1);
    names(&log, "handler panicked: two", ids[1], 1);
    names(&log, "failed permanently", ids[2], 1);
    assert!(log.lines("retry policy panicked").iter().all(|line| line.contains("type=number")));
}

#[tokio::test(start_paused = true)]
async fn without_spans_a_lost_lease_and_an_outcome_that_is_given_up_name_their_tasks() {
    let log = Log::default();
    let _listening = log.listen();
    let (spy, gate) = (Spy::on(queue()), Gate::closed());
    let ids = enqueue_numbers(&spy, 14).await;
    let builder = Worker::builder(spy.clone()).data_arc(Arc::clone(&gate)).handler(at_gate);
    let builder = builder.concurrency(14).visibility_timeout(30 * SECOND);
    let running = builder.build().unwrap().start();
    gate.wait_for(14).await;

    spy.cancel(ids[0]).await.unwrap();
    wait_until("it is told", async || running.report().leases_lost == 1).await;
    wait_until("its handler is dropped", async || running.active() == 13).await;
    names(&log, "while the handler ran", ids[0], 1);
    assert!(log.lines("leases were lost")[0].contains(&format!("{} (number, attempt 1)", ids[0])));

    spy.fail(Call::Heartbeat, usize::MAX);
    spy.fail(Call::Settle, usize::MAX);
    gate.open_for(13);
    let report = running.stop().await;
    assert_eq!((report.completed, report.unconfirmed), (0, 13));

    let given_up = log.lines("outcomes could not be settled");
    // One was tried a last time by itself, and then the others were given up with it.
    let [alone, others] = given_up.as_slice() else { panic!("{given_up:?}") };
    let named = |line: &str| ids[1..].iter().filter(|id| line.contains(&id.to_string())).count();
    assert_eq!((named(alone), named(others)), (1, 10), "{given_up:?}");
    assert!(others.contains("rows=12") && others.ends_with(" and 2 more"), "{others}");
}

#[tokio::test(start_paused = true)]
async fn an_error_that_holds_line_breaks_and_escape_codes_stays_one_line_of_plain_text() {
    async fn fails(number: Number) -> Result<(), TaskError> {
        match number.n {
            1 => Err(TaskError::permanent("exit status 1:\n\u{1b}[31mno such file\r\n")),
            _ => panic!("one\ntwo"),
        }
    }
    let log = Log::default();
    let _listening = log.listen();
    let queue = queue();
    let ids = enqueue_numbers(&queue, 2).await;
    let handler = fails.retry(RetryPolicy::custom(|_| panic!("a\nb")));

    Worker::builder(queue.clone()).handler(handler).build().unwrap().drain().await;

    names(&log, "error=exit status 1:\\n\\u{1b}[31mno such file\\r\\n", ids[0], 1);
    names(&log, "error=handler panicked: one\\ntwo", ids[1], 1);
    names(&log, "retry policy panicked: a\\nb", ids[1], 1);
    let stored = queue.get(ids[0]).await.unwrap().last_error;
    assert_eq!(
        stored.as_deref(),
        Some("exit status 1:\n\u{1b}[31mno such file\r\n"),
        "it is stored as it is"
    );
}

#[tokio::test(start_paused = true)]
async fn outcomes_that_a_silent_store_did_not_confirm_are_told_and_counted() {
    let log = Log::default();
    let _listening = log.listen();
    let (spy, gate) = (Spy::on(queue()), Gate::closed());
    let ids = enqueue_numbers(&spy, 4).await;
    let builder = Worker::builder(spy.clone()).data_arc(Arc::clone(&gate)).handler(at_gate).concurrency(4);
    let running = builder.build().unwrap().start();
    gate.open_for(1);
    gate.wait_for(4).await;
    wait_until("one is settled", async || running.report().completed == 1).await;
    spy.hold_settles(true);
    gate.open_for(3);

    let report = running.stop().await;

    assert_eq!((report.completed, report.unconfirmed), (1, 3));
    let lines = log.lines("could not be settled");
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    assert!(line.contains("ERROR") && line.contains("rows=3"), "{line}");
    let named = ids.iter().filter(|id| line.contains(&id.to_string())).count();
    assert_eq!(named, 3, "{line}");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_is_said_to_be_given_back_only_where_the_lease_is_held() {
    async fn fails_late(_: Number, cx: TaskContext, gate: Data<Gate>) -> Result<(), TaskError> {
        cx.cancelled().cancelled().await;
        gate.pass().await;
        Err(TaskError::from("stopping"))
    }
    for is_held in [true, false] {
        let log = Log::default();
        let _listening = log.listen_at(Level::INFO);
        let (queue, gate) = (queue(), Gate::closed());
        let ids = enqueue_numbers(&queue, 1).await;
        let builder = Worker::builder(queue.clone()).data_arc(Arc::clone(&gate)).handler(fails_late);
        let running = builder.grace_period(SECOND).cancel_period(600 * SECOND).build().unwrap().start();
        wait_until("it runs", async || running.active() == 1).await;
        let stopping = tokio::spawn(running.stop());
        gate.wait_for(1).await;
        if !is_held {
            queue.cancel(ids[0]).await.unwrap();
            wait_until("it is lost", async || log.lines("leases were lost").len() == 1).await;
        }

        gate.open_for(1);

        let report = stopping.await.unwrap();
        assert_eq!((report.released, report.leases_lost), if is_held { (1, 0) } else { (0, 1) });
        assert_eq!(log.lines("the attempt is given back").len(), usize::from(is_held));
    }
}
