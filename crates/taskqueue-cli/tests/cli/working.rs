//! `work` and what keeps a queue in order: pauses, dead letters, signals, metrics.

use std::io::{Read, Write};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Executor as _};

use crate::support::{Background, Program, wait_until};

#[test]
fn a_paused_type_is_not_worked_until_it_is_resumed() {
    let program = Program::new();
    let id = program.enqueue("mail", "1");
    assert!(program.ok(&["pause", "mail"]).starts_with("paused mail"));
    assert!(program.ok(&["stats"]).contains("mail  1  paused"));
    program.ok(&["work", "--drain", "--exec", "mail=cat"]);
    assert_eq!(program.status(&id), "pending");
    assert!(program.ok(&["resume", "mail"]).starts_with("resumed mail"));
    program.ok(&["work", "--drain", "--exec", "mail=cat"]);
    assert_eq!(program.status(&id), "completed");
}

#[test]
fn dead_letters_are_listed_redriven_and_cleaned_up() {
    let program = Program::new();
    let id = program.ok(&["enqueue", "--type", "mail", "--max-retries", "1", "1"]);
    let id = id.trim();
    let log = program.run(&["work", "--drain", "--exec", "mail=false"]).stderr;
    assert!(log.contains("dead letter") && !log.contains('\u{1b}'), "colours are for terminals: {log:?}");
    assert!(program.ok(&["list", "--status", "dead_letter"]).contains(id));
    assert_eq!(program.ok(&["redrive", id]), "redriven: 1 task is pending again\n");
    program.run(&["redrive", id]).refused(4, "is not a dead letter: pending");
    program.ok(&["work", "--drain", "--exec", "mail=false"]);
    assert_eq!(program.ok(&["redrive", "--all", "--type", "other"]), "redriven: 0 tasks are pending again\n");
    assert_eq!(program.ok(&["redrive", "--all"]), "redriven: 1 task is pending again\n");
    program.ok(&["work", "--drain", "--exec", "mail=false"]);
    assert!(program.ok(&["cleanup"]).starts_with("removed 0 tasks"));
    let all = &["cleanup", "--older-than", "0s"];
    assert!(program.ok(all).starts_with("removed 0 tasks"), "dead letters stay unless they are named");
    let dead = &["cleanup", "--older-than", "0s", "--status", "completed,dead_letter"];
    assert!(program.ok(dead).starts_with("removed 1 task "));
    program.run(&["get", id]).refused(3, "task not found");
}

#[test]
fn a_delayed_task_and_a_failed_one_are_run_now_with_their_attempts() {
    let program = Program::new();
    let delayed = program.ok(&["enqueue", "--type", "later", "--delay", "1h", "1"]).trim().to_owned();
    let failed = program.enqueue("mail", "1");
    program.ok(&["work", "--drain", "--exec", "mail=false"]);
    let attempts = || program.json(&["get", &failed, "--json"])["attempts"].as_u64();
    let before = attempts();
    assert_eq!((program.status(&failed).as_str(), before > Some(0)), ("failed", true));
    assert_eq!(program.ok(&["run-now", &delayed, &failed]), "run now: 2 tasks are ready\n");
    let stats = program.json(&["stats", "--json"]);
    let counts = ["pending", "scheduled", "failed"].map(|status| stats[status].as_u64());
    assert_eq!(counts, [Some(2), Some(0), Some(0)]);
    assert_eq!(attempts(), before);
    program.run(&["run-now", &delayed]).refused(4, "waits for no time: ready already");
    let worked = program.ok(&["work", "--drain", "--exec", "mail=cat", "--exec", "later=cat"]);
    assert_eq!(worked, "worked: 2 completed\n");
    program.run(&["run-now", &failed]).refused(4, "waits for no time: completed");
}

#[test]
fn one_that_waits_for_no_time_does_not_stop_the_others() {
    let program = Program::new();
    let ids = ["1", "2"].map(|payload| {
        program.ok(&["enqueue", "--type", "mail", "--delay", "1h", payload]).trim().to_owned()
    });
    let ready = program.enqueue("mail", "3");
    let ran = program.run(&["run-now", &ids[0], &ready, &ids[1]]);
    ran.refused(4, &format!("task {ready} waits for no time: ready already; 2 other tasks are ready"));
    assert_eq!(program.json(&["stats", "--json"])["scheduled"].as_u64(), Some(0));
    assert_eq!(program.run(&["run-now"]).code, 2, "which, has to be said");
}

#[test]
fn a_drain_which_removes_nothing_refuses_to_be_told_what_to_remove() {
    let program = Program::new();
    for retention in ["--retention", "--dead-letter-retention"] {
        let drain = ["work", "--drain", "--exec", "mail=cat", retention, "7d"];
        let ran = program.run(&drain);
        assert!(ran.code == 2 && ran.stderr.contains("cannot be used with"), "{ran:?}");
    }
    assert!(!program.folder().join("taskqueue.db").exists());
}

#[test]
fn one_that_cannot_be_redriven_does_not_stop_the_others() {
    let program = Program::new();
    let id = || program.ok(&["enqueue", "--type", "mail", "--max-retries", "1", "1"]).trim().to_owned();
    let ids = [id(), id()];
    program.run(&["work", "--drain", "--exec", "mail=false"]);
    let unknown = "0198c5d0-0000-7000-8000-000000000001";
    let ran = program.run(&["redrive", &ids[0], unknown, &ids[1]]);
    ran.refused(3, "2 other tasks are pending again");
    ran.refused(3, unknown);
    assert_eq!(ids.map(|id| program.status(&id)), ["pending", "pending"]);
}

#[test]
fn a_reader_that_has_gone_does_not_stop_a_cancel_half_way() {
    let program = Program::new();
    let ids = ["1", "2", "3"].map(|payload| program.enqueue("mail", payload));
    let mut command = program.command(&["cancel", &ids[0], &ids[1], &ids[2]]);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let status = command.stdout(writer).status().expect("the program starts");
    assert_eq!(status.code(), Some(0), "what the reader wanted, it has");
    assert_eq!(ids.map(|id| program.status(&id)), ["cancelled", "cancelled", "cancelled"]);
}

#[test]
fn a_command_gets_the_payload_on_its_standard_input_and_no_shell_reads_it() {
    let program = Program::new();
    let script = program.file("keep.sh", "cat > \"$1\"\n");
    let exec = format!("mail=sh {} 'a file'", script.display());
    program.enqueue("mail", r#"{"to":"$(touch oops) 'ada'"}"#);
    let text = program.ok(&["work", "--drain", "--exec", &exec]);
    assert!(text.contains("1 completed"), "{text}");
    let kept = std::fs::read_to_string(program.folder().join("a file")).expect("the command wrote it");
    assert_eq!(kept, r#"{"to":"$(touch oops) 'ada'"}"#);
    assert!(!program.folder().join("oops").exists());
}

#[test]
fn what_a_command_writes_is_logged_and_the_end_of_its_standard_error_is_kept() {
    let program = Program::new();
    let work = |level: &str| {
        program.enqueue("mail", "1");
        let exec = r#"mail=sh -c "echo found; printf 'red \033[31m\n' >&2; exit 65""#;
        let mut command = program.command(&["work", "--drain", "--exec", exec]);
        let output = command.env("RUST_LOG", level).output().expect("the program starts");
        String::from_utf8(output.stderr).expect("UTF-8")
    };
    let log = work("info");
    let told = r#"standard error line="red \u{1b}[31m""#;
    assert!(log.contains(told) && !log.contains("found"), "{log}");
    let log = work("debug");
    assert!(log.contains(told) && log.contains(r#"standard output line="found""#), "{log}");
    let dead = program.json(&["list", "--status", "dead_letter", "--json"]);
    assert_eq!(dead["tasks"][0]["last_error"], "exit code 65 (invalid payload): red \u{1b}[31m");
}

#[test]
fn a_command_finds_its_task_in_its_environment_and_nothing_of_the_workers() {
    let program = Program::new();
    let id = program.enqueue("mail", "1");
    let exec = r#"mail=sh -c "env > environment""#;
    let mut command = program.command(&["work", "--drain", "--exec", exec]);
    let output = command.env("TASKQUEUE_DATABASE_URL", "sqlite:taskqueue.db").output().expect("it starts");
    assert!(output.status.success(), "{output:?}");
    let environment = std::fs::read_to_string(program.folder().join("environment")).expect("it was written");
    let mut found: Vec<&str> = environment.lines().filter(|line| line.starts_with("TASKQUEUE_")).collect();
    found.sort_unstable();
    let expected = [
        "TASKQUEUE_ATTEMPT=1",
        "TASKQUEUE_LEASE_NUMBER=1",
        "TASKQUEUE_MAX_RETRIES=3",
        &format!("TASKQUEUE_TASK_ID={id}"),
        "TASKQUEUE_TASK_TYPE=mail",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_worker_that_is_told_to_stop_finishes_what_it_runs() {
    let program = Program::new();
    // The command says that it has begun, then waits for the file that the test makes after the signal.
    let script =
        program.file("wait.sh", "touch begun; until [ -e go ] || [ ! -e begun ]; do sleep 0.05; done\n");
    let id = program.enqueue("mail", "1");
    let exec = format!("mail=sh {}", script.display());
    let mut worker = Background::start(program.command(&["work", "--exec", &exec]));
    worker.wait_for("handles mail");
    wait_until(|| program.folder().join("begun").exists());
    assert_eq!(program.status(&id), "running");
    worker.signal("TERM");
    worker.wait_for("stopping");
    program.file("go", "");
    let (code, text) = worker.wait();
    assert_eq!(code, 0);
    assert!(text.contains("1 completed"), "{text}");
    assert_eq!(program.status(&id), "completed");
}

#[test]
fn a_worker_serves_its_metrics() {
    let program = Program::new();
    program.enqueue("mail", "1");
    let args = ["work", "--exec", "mail=cat", "--metrics-listen", "127.0.0.1:0"];
    let mut worker = Background::start(program.command(&args));
    let line = worker.wait_for("metrics at http://");
    let address = line.trim_start_matches("taskqueue: metrics at http://").trim_end_matches("/metrics");
    wait_until(|| {
        let mut stream = std::net::TcpStream::connect(address).expect("it listens");
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("it reads");
        let mut page = String::new();
        stream.read_to_string(&mut page).expect("it answers");
        page.contains("zapfs_taskqueue_tasks_processed_total{type=\"mail\",status=\"completed\"} 1")
            && page.contains(
                "zapfs_taskqueue_task_processing_duration_seconds_bucket{type=\"mail\",le=\"60\"} 1",
            )
            && page.contains("# HELP zapfs_taskqueue_tasks_processed_total ")
    });
    worker.signal("TERM");
    assert_eq!(worker.wait().0, 0);
}

/// The status line's code and the body of an answer.
pub(crate) fn got(address: &str, path: &str) -> (u16, String) {
    let mut stream = std::net::TcpStream::connect(address).expect("it listens");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("it reads");
    let mut page = String::new();
    stream.read_to_string(&mut page).expect("it answers");
    let (head, body) = page.split_once("\r\n\r\n").expect("an answer");
    (head[9..12].parse().expect("a status"), body.to_owned())
}

#[test]
fn a_worker_tells_whether_its_claims_succeed() {
    let program = Program::new();
    program.enqueue("mail", "1");
    let args =
        ["work", "--exec", "mail=cat", "--metrics-listen", "127.0.0.1:0", "--metrics-namespace", "shop"];
    let mut worker = Background::start(program.command(&[&args[..], &["--poll-interval", "50ms"]].concat()));
    let line = worker.wait_for("metrics at http://");
    let address = line.trim_start_matches("taskqueue: metrics at http://").trim_end_matches("/metrics");
    wait_until(|| got(address, "/healthz") == (200, "ok\n".to_owned()));
    wait_until(|| got(address, "/metrics").1.contains("\nshop_taskqueue_tasks_processed_total{"));
    crate::sql(&program, "ALTER TABLE tasks RENAME TO elsewhere", "SELECT 0");
    wait_until(|| got(address, "/healthz").0 == 503);
    let reason = got(address, "/healthz").1;
    assert!(reason.starts_with("claims have failed for ") && reason.contains("tasks"), "{reason}");
    crate::sql(&program, "ALTER TABLE elsewhere RENAME TO tasks", "SELECT 0");
    wait_until(|| got(address, "/healthz").0 == 200);
    worker.signal("TERM");
    assert_eq!(worker.wait().0, 0);
}

#[test]
fn a_log_is_json_where_that_is_asked_for_and_a_wrong_filter_is_named() {
    let program = Program::new();
    program.enqueue("mail", "1");
    let mut command = program.command(&["work", "--drain", "--exec", "mail=false", "--log-format", "json"]);
    let output = command.env("RUST_LOG", "info,mail=loud").output().expect("the program starts");
    let text = String::from_utf8(output.stderr).expect("UTF-8");
    let (warning, log) = text.split_once('\n').expect("two lines and more");
    assert!(warning.starts_with("taskqueue: RUST_LOG is not used: "), "{warning}");
    let lines = log.lines().map(|line| serde_json::from_str(line).expect("each line is JSON"));
    let lines: Vec<serde_json::Value> = lines.collect();
    assert!(lines.iter().any(|line| line["span"]["type"] == "mail" && line["level"] == "WARN"), "{log}");
}

/// A script that says that it has begun, then runs until there is a file `go`, or the folder goes. What this gives ends
/// once nobody is left of it: each of its processes holds the pipe open.
#[cfg(unix)]
fn held(program: &Program) -> (std::path::PathBuf, std::thread::JoinHandle<()>) {
    let pipe = program.folder().join("held");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo is there").success());
    let script = "exec 3>held; touch begun; until [ -e go ] || [ ! -e begun ]; do sleep 0.05; done\n";
    let ended = std::thread::spawn(move || {
        let mut reader = std::fs::File::open(pipe).expect("the script opens it as well");
        std::io::copy(&mut reader, &mut std::io::sink()).expect("it can be read");
    });
    (program.file("wait.sh", script), ended)
}

#[cfg(unix)]
#[test]
fn a_second_signal_stops_a_worker_and_its_command_at_once() {
    let program = Program::new();
    let (script, ended) = held(&program);
    let id = program.enqueue("mail", "1");
    let exec = format!("mail=sh {}", script.display());
    let mut worker =
        Background::start(program.command(&["work", "--exec", &exec, "--visibility-timeout", "10s"]));
    wait_until(|| program.folder().join("begun").exists());
    worker.signal("INT");
    worker.wait_for("stopping");
    worker.signal("INT");
    worker.wait_for("stopped at once");
    let status = worker.child.wait().expect("it ends");
    assert_eq!(status.code(), Some(130));
    wait_until(|| ended.is_finished());
    wait_until(|| program.ok(&["reclaim"]).contains("1 ready again"));
    assert_eq!(program.status(&id), "pending");
}

#[cfg(target_os = "linux")]
fn ignores_hang_up() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").expect("the kernel tells");
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("it tells of signals");
    u64::from_str_radix(ignored.trim(), 16).expect("a mask") & 1 == 1
}

#[cfg(target_os = "linux")]
#[test]
fn a_terminal_that_closes_stops_a_worker_as_sigterm_does_and_under_nohup_it_does_not() {
    let program = Program::new();
    let plain = || program.command(&["work", "--exec", "mail=cat"]);
    let behind = |first: &[&str]| {
        let mut command = std::process::Command::new(first[0]);
        command.args(&first[1..]).arg(plain().get_program()).args(plain().get_args());
        command.current_dir(program.folder());
        command
    };
    // Whoever runs the tests may have it ignored, and what they start inherits that.
    let heeds = if ignores_hang_up() { behind(&["env", "--default-signal=HUP"]) } else { plain() };
    let mut worker = Background::start(heeds);
    worker.wait_for("handles mail");
    worker.signal("HUP");
    worker.wait_for("stopping");
    assert_eq!(worker.wait().0, 0);

    let mut worker = Background::start(behind(&["nohup"]));
    worker.wait_for("handles mail");
    worker.signal("HUP");
    let id = program.enqueue("mail", "1");
    wait_until(|| program.status(&id) == "completed");
    worker.signal("TERM");
    worker.wait_for("stopping");
    assert_eq!(worker.wait().0, 0);
}

/// A server that takes connections and says nothing.
#[cfg(feature = "postgres")]
#[test]
fn a_worker_that_is_told_to_stop_while_it_connects_ends() {
    let server = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = server.local_addr().expect("it is bound");
    let program = Program::on_url(format!("postgres://user:secret@{address}/db"));
    let mut worker = Background::start(program.command(&["work", "--exec", "mail=cat"]));
    let _connection = server.accept().expect("the worker connects");
    worker.signal("TERM");
    worker.wait_for("interrupted before the worker started");
    assert_eq!(worker.child.wait().expect("it ends").code(), Some(130));
}

#[test]
fn a_drain_that_is_told_to_stop_finishes_what_it_runs() {
    let program = Program::new();
    let script =
        program.file("wait.sh", "touch begun; until [ -e go ] || [ ! -e begun ]; do sleep 0.05; done\n");
    let ids = [program.enqueue("mail", "1"), program.enqueue("mail", "2")];
    let exec = format!("mail=sh {}", script.display());
    let args = ["work", "--drain", "--exec", &exec, "--concurrency", "1"];
    let mut worker = Background::start(program.command(&args));
    wait_until(|| program.folder().join("begun").exists());
    worker.signal("TERM");
    worker.wait_for("stopping");
    program.file("go", "");
    let (code, text) = worker.wait();
    assert_eq!((code, ids.map(|id| program.status(&id))), (0, ["completed", "pending"].map(str::to_owned)));
    assert!(text.contains("1 completed"), "{text}");
}

#[tokio::test]
async fn a_drain_that_the_database_refuses_fails() {
    let program = Program::new();
    let id = program.enqueue("mail", "1");
    let file = SqliteConnectOptions::new().filename(program.folder().join("taskqueue.db"));
    let refuse =
        "CREATE TRIGGER refuse BEFORE UPDATE ON tasks BEGIN SELECT RAISE(ABORT, 'no claims here'); END";
    file.connect().await.expect("it is there").execute(refuse).await.expect("it takes a trigger");
    program.run(&["work", "--drain", "--exec", "mail=cat"]).refused(1, "no claims here");
    assert_eq!(program.status(&id), "pending");
}

#[test]
fn a_worker_without_anything_to_do_says_what_it_can_do() {
    let program = Program::new();
    program.run(&["work"]).refused(2, "--exec");
    program.run(&["work", "--exec", "mail=cat", "--exec", "mail=cat"]).refused(2, "mail");
    program.run(&["work", "--exec", "mail=cat", "--types", "other"]).refused(2, "other");
    assert!(!program.folder().join("taskqueue.db").exists());
}

#[test]
fn events_are_delivered_into_a_file_as_s3_records() {
    let program = Program::new();
    let event = r#"{"event_name":"s3:ObjectCreated:Put","bucket":"b","key":"a b.txt","size":5,"etag":"e","owner_id":"o","request_id":"r","source_ip":"127.0.0.1","timestamp":1767225600000,"sequencer":"01"}"#;
    program.enqueue("event", event);
    let text = program.ok(&["work", "--drain", "--event-file", "events.jsonl"]);
    assert!(text.contains("1 completed"), "{text}");
    let record = std::fs::read_to_string(program.folder().join("events.jsonl")).expect("the file is there");
    assert!(record.contains("\"ObjectCreated:Put\"") && record.contains("\"a+b.txt\""), "{record}");
}

#[test]
fn reclaim_with_nothing_to_do_says_so() {
    let program = Program::new();
    program.ok(&["migrate"]);
    assert_eq!(program.ok(&["reclaim"]), "reclaimed 0 tasks: 0 ready again, 0 dead letters\n");
}
