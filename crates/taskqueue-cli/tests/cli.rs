//! The program from outside: each command's output, its errors and its exit code, on a database of the test's own.
//! It knows nothing of the program's inside.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

use sqlx::ConnectOptions;
use support::{Background, Program};

#[test]
fn one_task_is_enqueued_shown_and_counted() {
    let program = Program::new();
    let id = program.enqueue("mail", r#"{"to":  "ada"}"#);
    let task = program.json(&["get", &id, "--json"]);
    assert_eq!((task["status"].as_str(), task["type"].as_str()), (Some("pending"), Some("mail")));
    assert_eq!(program.ok(&["get", &id, "--payload"]), "{\"to\":  \"ada\"}\n");
    let shown = program.ok(&["get", &id]);
    assert!(shown.contains("\nattempts   0 of 3\n"), "{shown}");
    let stats = program.json(&["stats", "--json"]);
    assert_eq!((stats["pending"].as_u64(), stats["by_type"]["mail"].as_u64()), (Some(1), Some(1)));
    assert!(program.ok(&["stats"]).contains("pending      1"));
}

#[test]
fn every_option_of_enqueue_reaches_the_task() {
    let program = Program::new();
    let options =
        ["--priority", "high", "--max-retries", "7", "--region", "eu", "--at", "2030-01-01T00:00:00Z"];
    let given = ["--unique-key", "k", "--id", "0198c5d0-0000-7000-8000-000000000001"];
    let id = program.ok(&[&["enqueue", "--type", "mail", "1"], &options[..], &given[..]].concat());
    let task = program.json(&["get", id.trim(), "--json"]);
    assert_eq!((task["priority"].as_i64(), task["max_retries"].as_i64()), (Some(10), Some(7)));
    assert_eq!((task["region"].as_str(), task["unique_key"].as_str()), (Some("eu"), Some("k")));
    assert_eq!(task["scheduled_at"].as_str(), Some("2030-01-01T00:00:00Z"));
    assert_eq!(task["id"].as_str(), Some("0198c5d0-0000-7000-8000-000000000001"));
}

#[test]
fn a_payload_is_read_from_an_argument_a_file_or_standard_input() {
    let program = Program::new();
    let file = program.file("payload.json", "{\"from\": \"file\"}\n");
    let from_file = program.ok(&["enqueue", "--type", "mail", "--file", file.to_str().expect("UTF-8")]);
    assert_eq!(program.ok(&["get", from_file.trim(), "--payload"]), "{\"from\": \"file\"}\n");
    let from_input = program.run_with_input(&["enqueue", "--type", "mail", "-"], "[1]");
    assert_eq!(program.ok(&["get", from_input.stdout.trim(), "--payload"]), "[1]\n");
}

#[test]
fn a_second_task_with_a_unique_key_is_a_conflict_that_names_the_first() {
    let program = Program::new();
    let enqueue = ["enqueue", "--type", "mail", "--unique-key", "ada", "1"];
    let first = program.ok(&enqueue);
    program.run(&enqueue).refused(4, first.trim());
}

#[test]
fn enqueueing_an_id_again_changes_nothing() {
    let program = Program::new();
    let id = program.enqueue("mail", "1");
    let again = program.json(&["enqueue", "--type", "mail", "--id", &id, "--json", "2"]);
    assert_eq!((again["id"].as_str(), again["repeated"].as_bool()), (Some(id.as_str()), Some(true)));
    assert_eq!(program.ok(&["get", &id, "--payload"]), "1\n");
}

#[test]
fn bad_input_is_a_usage_error_in_one_line() {
    let program = Program::new();
    program.run(&["enqueue", "--type", "mail", "{oops"]).refused(2, "not JSON");
    program.run(&["enqueue", "--type", "mail", "--file", "nothing.json"]).refused(3, "nothing.json");
    let bad_type = program.run(&["enqueue", "--type", "No Good", "1"]);
    assert!(bad_type.code == 2 && bad_type.stderr.contains("[a-z0-9_.:-]"), "{bad_type:?}");
    assert_eq!(program.run(&["enqueue", "--type", "mail"]).code, 2);
    assert_eq!(program.run(&["no-such-command"]).code, 2);
    assert!(!program.folder().join("taskqueue.db").exists(), "bad input made a database");
}

#[test]
fn many_tasks_come_from_json_lines() {
    let program = Program::new();
    let objects = program.file("tasks.jsonl", &task_objects(2500));
    let objects = objects.to_str().expect("UTF-8");
    assert_eq!(program.ok(&["enqueue", "--json-lines", "--file", objects]), "enqueued 2,500 tasks\n");
    let payloads = program.run_with_input(&["enqueue", "--json-lines", "--type", "other"], "1\n\n[2]\n");
    assert_eq!(payloads.stdout, "enqueued 2 tasks\n", "{payloads:?}");
    let stats = program.json(&["stats", "--json"]);
    assert_eq!(
        (stats["by_type"]["mail"].as_u64(), stats["by_type"]["other"].as_u64()),
        (Some(2500), Some(2))
    );
}

#[test]
fn lines_whose_id_or_unique_key_is_taken_are_passed_over_and_counted() {
    let program = Program::new();
    let id = program.enqueue("mail", "1");
    let lines = format!(
        "{{\"type\":\"mail\",\"payload\":1,\"id\":\"{id}\"}}\n{0}\n{0}\n",
        r#"{"type":"mail","payload":2,"unique_key":"k"}"#
    );
    let tally = program.run_with_input(&["enqueue", "--json-lines", "--json"], &lines);
    let tally: serde_json::Value = serde_json::from_str(&tally.stdout).expect("JSON");
    assert_eq!(tally, serde_json::json!({ "enqueued": 1, "repeated": 1, "duplicates": 1 }));
}

#[test]
fn a_bad_line_in_a_file_is_named_and_nothing_is_enqueued() {
    let program = Program::new();
    let file = program.file("tasks.jsonl", &format!("{}{{oops\n", task_objects(1500)));
    let file = file.to_str().expect("UTF-8");
    let ran = program.run(&["enqueue", "--json-lines", "--file", file]);
    ran.refused(2, "line 1501: not a task object");
    ran.refused(2, "nothing was enqueued");
    assert!(!program.folder().join("taskqueue.db").exists());
}

#[test]
fn a_bad_line_on_standard_input_says_what_was_enqueued_before_it() {
    let program = Program::new();
    let input = format!("{}{{oops\n{}", task_objects(3), task_objects(2));
    let ran = program.run_with_input(&["enqueue", "--json-lines"], &input);
    ran.refused(1, "line 4: not a task object");
    ran.refused(1, "3 tasks were enqueued up to line 3; go on with --from-line 4");
    assert_eq!(program.json(&["stats", "--json"])["pending"].as_u64(), Some(3));
    let rest = program.run_with_input(&["enqueue", "--json-lines", "--from-line", "5"], &input);
    assert_eq!(rest.stdout, "enqueued 2 tasks\n");
}

#[test]
fn what_standard_input_has_brought_is_enqueued_before_it_ends() {
    let program = Program::new();
    program.ok(&["migrate"]);
    let mut running = Background::start(program.command(&["enqueue", "--json-lines", "--type", "mail"]));
    let mut stdin = running.child.stdin.take().expect("it is piped");
    stdin.write_all(b"1\n2\n").expect("the program reads");
    support::wait_until(|| program.json(&["stats", "--json"])["pending"].as_u64() == Some(2));
    stdin.write_all(b"3\n").expect("the program still reads");
    drop(stdin);
    assert_eq!(running.wait(), (0, "enqueued 3 tasks\n".to_owned()));
}

#[test]
fn pages_of_a_listing_hold_every_task_once() {
    let program = Program::new();
    program.run_with_input(&["enqueue", "--json-lines"], &task_objects(25));
    let mut seen = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let mut args = vec!["list", "--json", "--limit", "10"];
        args.extend(after.iter().flat_map(|id| ["--after", id]));
        let page = program.json(&args);
        let ids = page["tasks"].as_array().expect("a list").iter();
        seen.extend(ids.map(|task| task["id"].as_str().expect("text").to_owned()));
        match page["next"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!(seen.len(), 25);
    assert!(seen.windows(2).all(|pair| pair[0] > pair[1]), "newest first, none twice");
}

#[test]
fn a_listing_filters_and_says_how_to_go_on() {
    let program = Program::new();
    let mail = program.enqueue("mail", "1");
    let other = program.enqueue("other", "1");
    program.ok(&["cancel", &other]);
    let table = program.ok(&["list", "--type", "mail"]);
    assert!(table.starts_with("ID ") && table.contains(&mail) && !table.contains(&other), "{table}");
    assert!(program.ok(&["list", "--status", "cancelled"]).contains(&other));
    assert_eq!(program.ok(&["list", "--status", "running"]), "no tasks\n");
    let first = program.run(&["list", "--limit", "1"]);
    assert_eq!(first.stderr, format!("there may be more: go on with --after {other}\n"));
    let bad = program.run(&["list", "--status", "lost"]);
    assert!(bad.code == 2 && bad.stderr.contains("dead_letter"), "{bad:?}");
}

#[test]
fn what_list_prints_can_be_enqueued_elsewhere() {
    let (here, there) = (Program::new(), Program::new());
    here.run_with_input(&["enqueue", "--json-lines"], &task_objects(3));
    let lines = here.ok(&["list", "--json-lines"]);
    assert_eq!(there.run_with_input(&["enqueue", "--json-lines"], &lines).stdout, "enqueued 3 tasks\n");
    assert_eq!(there.ok(&["list", "--limit", "3"]), here.ok(&["list", "--limit", "3"]));
}

#[test]
fn cancel_says_what_the_task_was_and_refuses_a_finished_one() {
    let program = Program::new();
    let id = program.enqueue("mail", "1");
    assert_eq!(program.ok(&["cancel", &id]), format!("cancelled {id} (was pending)\n"));
    program.run(&["cancel", &id]).refused(4, "is finished already: cancelled");
    program.run(&["cancel", "0198c5d0-0000-7000-8000-000000000009"]).refused(3, "task not found");
}

#[test]
fn a_missing_task_and_a_missing_database_are_not_found() {
    let program = Program::new();
    let id = "0198c5d0-0000-7000-8000-000000000009";
    program.run(&["get", id]).refused(3, "there is no database at taskqueue.db");
    assert!(!program.folder().join("taskqueue.db").exists(), "looking made a database");
    program.ok(&["migrate"]);
    program.run(&["get", id]).refused(3, "task not found");
    assert_eq!(program.run(&["get", "nonsense"]).code, 2);
}

#[test]
fn migrate_can_be_repeated_and_names_the_database() {
    let program = Program::new();
    for _ in 0..2 {
        let text = program.ok(&["migrate", "--database", "sqlite:other.db"]);
        assert!(text.starts_with("the tables in other.db are up to date (sqlite 3."), "{text}");
    }
}

#[test]
fn a_file_without_tables_is_left_as_it_is_until_migrate() {
    let program = Program::new();
    program.file_of_bytes("mine.db", &empty_sqlite_file());
    for args in [&["stats"][..], &["enqueue", "--type", "mail", "1"], &["work", "--exec", "mail=cat"]] {
        let args = [&["--database", "sqlite:mine.db"], args].concat();
        program.run(&args).refused(1, "migrate it first");
    }
}

#[test]
fn a_database_that_cannot_be_opened_is_refused_without_its_password() {
    let program = Program::new();
    for url in
        ["oracle://user:secret@host/db", "mysql://user:secret@host", "postgres://user:secret@host:x/db"]
    {
        for ran in [program.run(&["--database", url, "stats"]), Program::on_url(url.into()).run(&["stats"])] {
            ran.refused(2, "");
            assert!(!ran.stderr.contains("secret") && !ran.stderr.contains("user"), "{ran:?}");
        }
    }
    program.run(&["--database", "memory:", "stats"]).refused(2, "ends with the command");
}

#[test]
fn the_printed_sql_leaves_migrate_nothing_to_do() {
    let program = Program::new();
    let script = program.ok(&["migrate", "--print", "--engine", "sqlite", "--table", "outbox"]);
    assert!(!program.folder().join("taskqueue.db").exists(), "printing made a database");
    let file = program.folder().join("taskqueue.db");
    let applied = applied_by_hand(&file, &script);
    assert!(program.ok(&["migrate", "--table", "outbox"]).contains("are up to date"));
    assert_eq!(applied_by_hand(&file, ""), applied, "migrate changed what the script made");
    let id = program.ok(&["enqueue", "--table", "outbox", "--type", "mail", "1"]);
    assert!(
        program.ok(&["work", "--table", "outbox", "--drain", "--exec", "mail=cat"]).contains("1 completed")
    );
    assert!(program.ok(&["list", "--table", "outbox", "--status", "completed"]).contains(id.trim()));
}

#[test]
fn the_sql_of_every_engine_is_printed_without_a_database() {
    let program = Program::on_url("postgres://user:secret@127.0.0.1:1/db".to_owned());
    assert!(program.ok(&["migrate", "--print"]).contains(" timestamptz "));
    assert!(program.ok(&["migrate", "--print", "--engine", "mariadb"]).contains("ENGINE = InnoDB"));
    assert!(
        program
            .run(&["migrate", "--print", "--engine", "oracle"])
            .stderr
            .contains("not sqlite, postgres or mysql")
    );
    program.run(&["migrate", "--print", "--after", "99"]).refused(2, "versions are 0 to ");
}

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
    assert!(program.ok(&["cleanup", "--older-than", "0s"]).starts_with("removed 1 task "));
    program.run(&["get", id]).refused(3, "task not found");
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
fn a_worker_that_is_told_to_stop_finishes_what_it_runs() {
    let program = Program::new();
    // The command says that it has begun, then waits for the file that the test makes after the signal.
    let script = program.file("wait.sh", "touch begun; until [ -e go ]; do sleep 0.05; done\n");
    let id = program.enqueue("mail", "1");
    let exec = format!("mail=sh {}", script.display());
    let mut worker = Background::start(program.command(&["work", "--exec", &exec]));
    worker.wait_for("handles mail");
    support::wait_until(|| program.folder().join("begun").exists());
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
    support::wait_until(|| {
        let mut stream = std::net::TcpStream::connect(address).expect("it listens");
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("it reads");
        let mut page = String::new();
        stream.read_to_string(&mut page).expect("it answers");
        page.contains("zapfs_taskqueue_tasks_processed_total{type=\"mail\",status=\"completed\"} 1")
            && page.contains(
                "zapfs_taskqueue_task_processing_duration_seconds_bucket{type=\"mail\",le=\"60\"} 1",
            )
    });
    worker.signal("TERM");
    assert_eq!(worker.wait().0, 0);
}

#[test]
fn a_second_signal_stops_a_worker_at_once() {
    let program = Program::new();
    let script = program.file("wait.sh", "touch begun; until [ -e go ]; do sleep 0.05; done\n");
    let id = program.enqueue("mail", "1");
    let exec = format!("mail=sh {}", script.display());
    let mut worker =
        Background::start(program.command(&["work", "--exec", &exec, "--visibility-timeout", "1s"]));
    support::wait_until(|| program.folder().join("begun").exists());
    worker.signal("INT");
    worker.wait_for("stopping");
    worker.signal("INT");
    worker.wait_for("stopped at once");
    let status = worker.child.wait().expect("it ends");
    program.file("go", "");
    assert_eq!(status.code(), Some(130));
    support::wait_until(|| program.ok(&["reclaim"]).contains("1 ready again"));
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

#[test]
fn completions_name_the_commands_in_every_shell() {
    let program = Program::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(program.ok(&["completions", shell]).contains("redrive"), "{shell}");
    }
}

#[test]
fn help_tells_the_exit_codes_and_hides_the_environments_url() {
    let program = Program::new();
    let output =
        program.command(&["--help"]).env("TASKQUEUE_DATABASE_URL", "sqlite://secret").output().expect("runs");
    let help = String::from_utf8_lossy(&output.stdout);
    assert!(help.contains("75   failed for now") && !help.contains("secret"), "{help}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let program = Program::new();
    program.run_with_input(&["enqueue", "--json-lines"], &task_objects(3000));
    let mut child = program
        .command(&["list", "--json", "--limit", "3000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut first = String::new();
    let mut reader = BufReader::new(child.stdout.take().expect("it is piped"));
    reader.read_line(&mut first).expect("it prints");
    drop(reader);
    let mut stderr = String::new();
    child.stderr.take().expect("it is piped").read_to_string(&mut stderr).expect("UTF-8");
    assert_eq!((child.wait().expect("it ends").code(), stderr.as_str()), (Some(0), ""));
}

fn task_objects(tasks: usize) -> String {
    (0..tasks)
        .map(|index| format!("{{\"type\":\"mail\",\"payload\":{{\"n\":{index}}},\"priority\":9}}\n"))
        .collect()
}

/// A SQLite file that some application made: it is there, and has none of our tables. The header of its one
/// page says so.
fn empty_sqlite_file() -> Vec<u8> {
    let mut page = vec![0_u8; 4096];
    page[..16].copy_from_slice(b"SQLite format 3\0");
    page[16..28].copy_from_slice(&[0x10, 0, 1, 1, 0, 64, 32, 32, 0, 0, 0, 1]);
    page[28..32].copy_from_slice(&1_u32.to_be_bytes());
    page[44..48].copy_from_slice(&4_u32.to_be_bytes());
    page[56..60].copy_from_slice(&1_u32.to_be_bytes());
    page[92..96].copy_from_slice(&1_u32.to_be_bytes());
    page[100] = 0x0d;
    page[105..107].copy_from_slice(&4096_u16.to_be_bytes());
    page
}

/// Applies a script to a SQLite file as another tool would, and answers what the schema and the records are then.
fn applied_by_hand(file: &std::path::Path, script: &str) -> Vec<String> {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file).create_if_missing(true);
    let schema =
        "SELECT name FROM sqlite_master UNION ALL SELECT version || applied_at FROM outbox_migrations";
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut connection = options.connect().await.expect("the file opens");
        let script = sqlx::raw_sql(sqlx::AssertSqlSafe(script.to_owned()));
        script.execute(&mut connection).await.expect("the script is right");
        sqlx::query_scalar(schema).fetch_all(&mut connection).await.expect("the tables are there")
    })
}
