//! What a worker and its operator are told: at its start, in its log, at its end, and of a type that nobody knows.

use crate::support::{Background, Program, wait_until};

#[test]
fn a_command_that_cannot_be_run_is_refused_before_it_uses_up_attempts() {
    let program = Program::new();
    let id = program.enqueue("mail", "1");
    program.file("plain.sh", "true");
    for (command, why) in [
        ("no-such-program --flag", "\"no-such-program\": it is in no folder of PATH"),
        ("./missing.sh", "\"./missing.sh\": there is no such file"),
        ("./plain.sh", "\"./plain.sh\": it is not executable"),
    ] {
        program.run(&["work", "--drain", "--exec", &format!("mail={command}")]).refused(2, why);
    }
    assert_eq!(program.json(&["get", &id, "--json"])["attempts"].as_u64(), Some(0));
}

#[cfg(unix)]
#[test]
fn a_secret_that_is_not_utf_8_is_refused_and_nothing_is_delivered_unsigned() {
    use std::os::unix::ffi::OsStringExt as _;
    let program = Program::new();
    let mut command = program.command(&["work", "--drain", "--webhooks"]);
    let secret = std::ffi::OsString::from_vec(b"hunter2\xff".to_vec());
    let output = command.env("TASKQUEUE_WEBHOOK_SECRET", secret).output().expect("the program starts");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("the secret in TASKQUEUE_WEBHOOK_SECRET is not UTF-8"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn a_line_of_the_log_says_each_thing_of_its_task_once() {
    let program = Program::new();
    let id = program.enqueue("mail", "1");
    let log = program.run(&["work", "--drain", "--exec", "mail=sh -c 'echo oops >&2; exit 1'"]).stderr;
    let line = |text: &str| log.lines().find(|line| line.contains(text)).expect("it is told").to_owned();
    let failed = line("WARN failed with 2 attempts left; the next in ");
    for said in [id.as_str(), "mail", "attempt=1"] {
        assert_eq!(failed.matches(said).count(), 1, "{said} in {failed}");
    }
    let stderr = line("standard error");
    assert!(stderr.contains(&id) && stderr.contains("INFO task{"), "the span names the task: {stderr}");
}

#[test]
fn a_worker_that_cannot_settle_counts_the_outcomes_that_it_does_not_know() {
    let program = Program::new();
    let script =
        program.file("wait.sh", "touch begun; until [ -e go ] || [ ! -e begun ]; do sleep 0.05; done\n");
    let id = program.enqueue("mail", "1");
    let exec = format!("mail=sh {}", script.display());
    let mut worker = Background::start(program.command(&["work", "--exec", &exec]));
    wait_until(|| program.folder().join("begun").exists());
    // As long as this is open nobody else writes.
    let (locked, unlock) = lock(&program);
    locked.recv().expect("it is locked");
    worker.signal("TERM");
    worker.wait_for("stopping");
    program.file("go", "");
    let told = worker.wait_for("could not be settled");
    assert!(told.contains(&id) && told.contains("ERROR"), "{told}");
    assert_eq!(worker.wait(), (0, "worked: 0 completed, 1 outcome unknown\n".to_owned()));
    unlock.send(()).expect("it waits for this");
}

/// Locks the program's file on a thread of its own: tells when it is locked, and keeps it so until it is told otherwise.
fn lock(program: &Program) -> (std::sync::mpsc::Receiver<()>, std::sync::mpsc::Sender<()>) {
    use sqlx::sqlite::SqliteConnectOptions;
    use sqlx::{ConnectOptions as _, Connection as _};
    let options = SqliteConnectOptions::new().filename(program.folder().join("taskqueue.db"));
    let ((tell, told), (unlock, end)) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut connection = options.connect().await.expect("the file opens");
            let _locked = connection.begin_with("BEGIN IMMEDIATE").await.expect("nobody writes long");
            tell.send(()).expect("the test waits for this");
            let _ = end.recv();
        });
    });
    (told, unlock)
}

#[test]
fn a_type_that_nobody_knows_is_paused_and_told_of() {
    let program = Program::new();
    program.enqueue("mail", "1");
    let slip = program.run(&["pause", "nosuch"]);
    assert!(slip.code == 0 && slip.stdout.starts_with("paused nosuch"), "{slip:?}");
    assert!(slip.stderr.contains("no dead letter is of type nosuch now"), "{slip:?}");
    assert_eq!(program.json(&["stats", "--json"])["paused"], serde_json::json!(["nosuch"]));
    assert_eq!(program.run(&["pause", "mail"]).stderr, "");
    assert_eq!(program.run(&["resume", "mail"]).stderr, "");
    assert!(program.run(&["resume", "mail"]).stderr.contains("mail was not paused"));
}
