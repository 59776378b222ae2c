//! `enqueue`: one task and many, from arguments, files and standard input.

use std::io::Write;

use crate::support::{Background, Program, wait_until};
use crate::task_objects;

#[test]
fn one_task_is_enqueued_shown_and_counted() {
    let program = Program::new();
    let id = program.enqueue("mail", r#"{"to":  "ada"}"#);
    let task = program.json(&["get", &id, "--json"]);
    assert_eq!((task["status"].as_str(), task["type"].as_str()), (Some("pending"), Some("mail")));
    assert_eq!(program.ok(&["get", &id, "--payload"]), "{\"to\":  \"ada\"}");
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
    assert_eq!(program.ok(&["get", from_file.trim(), "--payload"]), "{\"from\": \"file\"}");
    let from_input = program.run_with_input(&["enqueue", "--type", "mail", "-"], "[1]");
    assert_eq!(program.ok(&["get", from_input.stdout.trim(), "--payload"]), "[1]");
}

#[test]
fn a_file_that_is_named_as_a_payload_is_not_passed_over() {
    let program = Program::new();
    program.file("tasks.jsonl", "1\n");
    for args in
        [&["enqueue", "--json-lines", "tasks.jsonl"][..], &["enqueue", "--json-lines", "--type", "mail", "1"]]
    {
        program.run(args).refused(2, "--file FILE");
    }
    assert!(!program.folder().join("taskqueue.db").exists());
    let text = program.run_with_input(&["enqueue", "--json-lines", "--type", "mail", "-"], "1\n2\n").stdout;
    assert_eq!(text, "enqueued 2 tasks\n");
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
    assert_eq!(program.ok(&["get", &id, "--payload"]), "1");
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
    wait_until(|| program.json(&["stats", "--json"])["pending"].as_u64() == Some(2));
    stdin.write_all(b"3\n").expect("the program still reads");
    drop(stdin);
    assert_eq!(running.wait(), (0, "enqueued 3 tasks\n".to_owned()));
}

#[test]
fn a_dash_as_file_is_standard_input() {
    let program = Program::new();
    let one = program.run_with_input(&["enqueue", "--type", "mail", "--file", "-"], "[1]\n");
    assert_eq!(program.ok(&["get", one.stdout.trim(), "--payload"]), "[1]", "{one:?}");
    let many =
        program.run_with_input(&["enqueue", "--json-lines", "--type", "mail", "--file", "-"], "1\n2\n");
    assert_eq!(many.stdout, "enqueued 2 tasks\n");
}

#[test]
fn what_cannot_be_a_payload_is_a_usage_error() {
    let program = Program::new();
    std::fs::create_dir(program.folder().join("folder")).expect("the folder is writable");
    program.file_of_bytes("latin1.json", b"\"gr\xf6\xdfe\"");
    for options in [&["--type", "mail"][..], &["--json-lines"]] {
        let args = [&["enqueue", "--file", "folder"], options].concat();
        program.run(&args).refused(2, "folder is a folder, not a file");
        let args = [&["enqueue", "--file", "latin1.json"], options].concat();
        program.run(&args).refused(2, "not UTF-8");
    }
    let mut command = program.command(&["enqueue", "--type", "mail", "-"]);
    let latin1 = std::fs::File::open(program.folder().join("latin1.json")).expect("it is there");
    let output = command.stdin(latin1).output().expect("the program starts");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && text.contains("standard input is not UTF-8"), "{text}");
    assert!(!program.folder().join("taskqueue.db").exists());
}

#[test]
fn a_value_that_cannot_be_is_refused_by_its_limit_and_named_once() {
    let program = Program::new();
    let refused = |options: &[&str]| {
        let ran = program.run(&[&["enqueue", "--type", "mail", "1"], options].concat());
        assert_eq!(ran.code, 2, "{ran:?}");
        ran.stderr
    };
    assert!(refused(&["--delay", "1000000y"]).contains("longer than the limit of 1,000 years"));
    let region = refused(&["--region", "a\tb"]);
    assert!(region.contains("region has a control character, '\\t'"), "{region}");
    assert!(refused(&["--metadata", "key"]).contains("not of the form KEY=VALUE"));
    let task_type = program.run(&["enqueue", "--type", "Mail", "1"]).stderr;
    assert_eq!(task_type.matches("task type").count(), 1, "{task_type}");
}

#[test]
fn metadata_is_given_by_options_and_a_lines_own_stands_above_it() {
    let program = Program::new();
    let options = ["--type", "mail", "--metadata", "tenant=a=b", "--metadata", "empty="];
    let id = program.ok(&[&["enqueue", "1"], &options[..]].concat());
    let task = program.json(&["get", id.trim(), "--json"]);
    assert_eq!(task["metadata"], serde_json::json!({ "tenant": "a=b", "empty": "" }));
    let line = r#"{"type":"mail","payload":1,"metadata":{"tenant":"own"}}"#;
    program.run_with_input(&["enqueue", "--json-lines", "--metadata", "tenant=a", "--metadata", "k=v"], line);
    let task = &program.json(&["list", "--json", "--limit", "1"])["tasks"][0];
    assert_eq!(task["metadata"], serde_json::json!({ "tenant": "own", "k": "v" }));
}

#[cfg(unix)]
#[test]
fn an_interrupted_enqueue_says_how_far_it_came_and_how_to_go_on() {
    let program = Program::new();
    program.ok(&["migrate"]);
    let mut running = Background::start(program.command(&["enqueue", "--json-lines", "--type", "mail"]));
    let mut stdin = running.child.stdin.take().expect("it is piped");
    stdin.write_all(b"1\n2\n").expect("the program reads");
    wait_until(|| program.json(&["stats", "--json"])["pending"].as_u64() == Some(2));
    running.signal("INT");
    let line = running.wait_for("interrupted");
    assert!(
        line.contains(
            "2 tasks were enqueued up to line 2; go on with --from-line 3; to repeat lines is safe"
        ),
        "{line}"
    );
    assert_eq!(running.child.wait().expect("it ends").code(), Some(130));
    drop(stdin);
}
