//! Commands run for real, by themselves and for tasks of a real queue.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use taskqueue_core::{NewTask, Queue, Retry, Status, TaskType};
use taskqueue_handlers::HandlerError;
use taskqueue_handlers::exec::{Ended, ExecCommand, ExecHandler, ExecInput, STDERR_BYTES_MAX};
use taskqueue_memory::MemoryQueue;
use taskqueue_worker::{CancellationToken, Worker};

fn shell(script: &str) -> ExecCommand {
    ExecCommand::new(["/bin/sh", "-c", script]).unwrap()
}

fn input(stdin: &[u8]) -> ExecInput {
    ExecInput { stdin: stdin.to_vec(), variables: vec![("TASKQUEUE_ATTEMPT", "2".to_owned())] }
}

async fn run(command: &ExecCommand, stdin: &[u8]) -> Result<Ended, HandlerError> {
    command.run(&input(stdin), &CancellationToken::new()).await
}

async fn failure(script: &str) -> HandlerError {
    run(&shell(script), b"{}").await.unwrap_err()
}

/// Polls until the condition holds; the test's own limit is what ends it otherwise.
async fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let mut interval = tokio::time::interval(Duration::from_millis(5));
    let waiting = async {
        while !holds() {
            interval.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting)
        .await
        .unwrap_or_else(|_| panic!("not within 20 s: {what}"));
}

fn is_running(pid: &str) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    // A zombie waits only for its parent.
    !state.is_empty() && !state.contains(") Z ")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[tokio::test]
async fn a_command_gets_the_payload_on_its_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    let payload = format!("{{\"text\":\"{}\"}}", "x".repeat(200_000));
    let command = shell("cat > out").folder(folder.path());
    assert_eq!(run(&command, payload.as_bytes()).await.unwrap(), Ended::Succeeded);
    assert_eq!(read(&folder.path().join("out")), payload);
}

#[tokio::test]
async fn a_command_that_does_not_read_its_input_succeeds_all_the_same() {
    let payload = vec![b'x'; 1 << 20];
    assert_eq!(run(&ExecCommand::new(["true"]).unwrap(), &payload).await.unwrap(), Ended::Succeeded);
}

#[tokio::test]
async fn arguments_are_not_read_by_a_shell() {
    let folder = tempfile::tempdir().unwrap();
    let command = ExecCommand::new(["touch", "a; touch $HOME `b`"]).unwrap().folder(folder.path());
    run(&command, b"").await.unwrap();
    let names: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["a; touch $HOME `b`"]);
}

#[tokio::test]
async fn exit_codes_say_what_becomes_of_the_task() {
    for (script, retry) in [
        ("exit 65", Retry::Never),
        ("exit 75", Retry::ByPolicy),
        ("exit 1", Retry::ByPolicy),
        ("kill -9 $$", Retry::ByPolicy),
    ] {
        assert_eq!(failure(script).await.retry(), retry, "{script}");
    }
    assert_eq!(run(&ExecCommand::new(["false"]).unwrap(), b"").await.unwrap_err().to_string(), "exit code 1");
}

#[tokio::test]
async fn the_end_of_standard_error_is_in_the_error_and_bounded() {
    assert_eq!(
        failure("echo no such order >&2; exit 65").await.to_string(),
        "exit code 65 (invalid payload): no such order"
    );
    let long = failure("head -c 100000 /dev/zero | tr '\\0' x >&2; echo end >&2; exit 1").await.to_string();
    assert!(long.starts_with("exit code 1: … xxx") && long.ends_with("xxxend"), "{long}");
    assert!(long.len() < STDERR_BYTES_MAX + 50, "{}", long.len());
}

#[tokio::test]
async fn a_program_that_is_not_there_is_retried_and_named() {
    let error = run(&ExecCommand::new(["/no/such/program"]).unwrap(), b"").await.unwrap_err();
    assert_eq!(error.retry(), Retry::ByPolicy);
    assert!(error.to_string().starts_with("cannot start /no/such/program: "), "{error}");
}

#[test]
fn a_command_needs_a_program() {
    assert!(ExecCommand::new(Vec::<String>::new()).is_err());
    assert!(ExecCommand::new([""]).is_err());
}

#[tokio::test]
async fn dropping_an_attempt_ends_the_command_and_all_that_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let (leader, child) = (folder.path().join("leader"), folder.path().join("child"));
    let command = shell("sleep 600 & echo $! > child; echo $$ > leader; wait").folder(folder.path());
    let attempt = tokio::spawn(async move { run(&command, b"").await });
    wait_until("both wrote their ids", || read(&leader).ends_with('\n') && read(&child).ends_with('\n'))
        .await;
    assert!(is_running(&read(&leader)) && is_running(&read(&child)));
    attempt.abort();
    wait_until("both are gone", || !is_running(&read(&leader)) && !is_running(&read(&child))).await;
}

#[tokio::test]
async fn a_command_that_is_told_to_stop_can_clean_up_first() {
    let folder = tempfile::tempdir().unwrap();
    let (ready, cleaned) = (folder.path().join("ready"), folder.path().join("cleaned"));
    let command = shell("trap 'echo yes > cleaned; exit 1' TERM; echo > ready; while :; do sleep 0.01; done");
    let command = command.folder(folder.path());
    let stop = CancellationToken::new();
    let attempt = tokio::spawn({
        let stop = stop.clone();
        async move { command.run(&input(b""), &stop).await }
    });
    wait_until("the command is ready", || ready.exists()).await;
    stop.cancel();
    assert_eq!(attempt.await.unwrap().unwrap(), Ended::Stopped);
    assert_eq!(read(&cleaned), "yes\n");
}

#[tokio::test]
async fn what_a_command_leaves_running_neither_outlives_nor_delays_it() {
    let folder = tempfile::tempdir().unwrap();
    let command = shell("sleep 600 & echo $! > child").folder(folder.path());
    assert_eq!(run(&command, b"").await.unwrap(), Ended::Succeeded);
    let child = read(&folder.path().join("child"));
    wait_until("what was left running is gone", || !is_running(&child)).await;
}

/// A process cannot change its own environment safely, so the test below runs once more in one that has settings.
#[test]
fn a_command_does_not_see_the_workers_own_settings() {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_task_tells_its_command_who_it_is"])
        .env("TASKQUEUE_DATABASE_URL", "postgres://user:hunter2@host/db")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[tokio::test]
async fn a_task_tells_its_command_who_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let order = TaskType::new("order").unwrap();
    let queue = Arc::new(MemoryQueue::new());
    let id = queue.enqueue(NewTask::raw("order", r#"{ "n": 1 }"#).unwrap().max_retries(7)).await.unwrap();
    let command = shell("env | grep ^TASKQUEUE_ | sort > env; cat > in").folder(folder.path());
    let handler = ExecHandler::new().allow(order.clone(), command);
    assert_eq!(handler.types().collect::<Vec<_>>(), [&order]);
    let report = Worker::builder(queue.clone()).handle(order, handler).build().unwrap().drain().await;
    assert_eq!(report.completed, 1);
    let expected = format!(
        "TASKQUEUE_ATTEMPT=1\nTASKQUEUE_LEASE_NUMBER=1\nTASKQUEUE_MAX_RETRIES=7\n\
         TASKQUEUE_TASK_ID={id}\nTASKQUEUE_TASK_TYPE=order\n"
    );
    assert_eq!(read(&folder.path().join("env")), expected);
    assert_eq!(read(&folder.path().join("in")), r#"{ "n": 1 }"#);
}

#[tokio::test]
async fn a_type_that_is_not_on_the_allow_list_runs_nothing() {
    let other = TaskType::new("other").unwrap();
    let queue = Arc::new(MemoryQueue::new());
    let id = queue.enqueue(NewTask::raw("other", "{}").unwrap()).await.unwrap();
    let handler = ExecHandler::new().allow(TaskType::new("order").unwrap(), shell("exit 0"));
    Worker::builder(queue.clone()).handle(other, handler).build().unwrap().drain().await;
    let task = queue.get(id).await.unwrap();
    assert_eq!(task.status, Status::DeadLetter);
    assert_eq!(task.last_error.as_deref(), Some("no command is allowed for tasks of type other"));
}

#[tokio::test]
async fn a_worker_that_stops_ends_its_commands_and_hands_their_tasks_back() {
    let folder = tempfile::tempdir().unwrap();
    let leader = folder.path().join("leader");
    let order = TaskType::new("order").unwrap();
    let queue = Arc::new(MemoryQueue::new());
    let id = queue.enqueue(NewTask::raw("order", "{}").unwrap()).await.unwrap();
    let command = shell("echo $$ > leader; exec sleep 600").folder(folder.path());
    let worker = Worker::builder(queue.clone())
        .handle(order.clone(), ExecHandler::new().allow(order, command))
        .grace_period(Duration::ZERO)
        .build()
        .unwrap()
        .start();
    wait_until("the command runs", || read(&leader).ends_with('\n')).await;
    let report = worker.stop().await;
    assert_eq!((report.released, report.failed), (1, 0));
    assert!(!is_running(&read(&leader)));
    let task = queue.get(id).await.unwrap();
    assert_eq!((task.status, task.attempts), (Status::Pending, 0));
}

#[tokio::test]
async fn a_command_that_runs_into_the_timeout_of_its_type_is_ended_and_has_failed() {
    let folder = tempfile::tempdir().unwrap();
    let leader = folder.path().join("leader");
    let order = TaskType::new("order").unwrap();
    let queue = Arc::new(MemoryQueue::new());
    let id = queue.enqueue(NewTask::raw("order", "{}").unwrap().max_retries(1)).await.unwrap();
    let command = shell("trap '' TERM; echo $$ > leader; while :; do sleep 600; done").folder(folder.path());
    let handler = ExecHandler::new().allow(order.clone(), command);
    // By path: in scope, the trait's methods would stand before `HandlerError::retry`.
    // In which a busy machine has started the shell, too.
    let handler = taskqueue_worker::Configure::timeout(handler, Duration::from_secs(3));
    let report = Worker::builder(queue.clone()).handle(order, handler).build().unwrap().drain().await;
    assert_eq!(report.dead_lettered, 1);
    wait_until("the command is gone", || !is_running(&read(&leader))).await;
    let task = queue.get(id).await.unwrap();
    assert!(task.last_error.as_deref().unwrap().contains("3s"), "{:?}", task.last_error);
}
