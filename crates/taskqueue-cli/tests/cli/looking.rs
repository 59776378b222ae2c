//! `get`, `list` and `cancel`: what is there, page by page and elsewhere.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use crate::support::Program;
use crate::{sql, task_objects};

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
    assert_eq!(program.run(&["list", "--limit", "1", "--json"]).stderr, first.stderr);
    let bad = program.run(&["list", "--status", "lost"]);
    assert!(bad.code == 2 && bad.stderr.contains("dead_letter"), "{bad:?}");
}

#[test]
fn a_payload_of_several_lines_is_printed_in_one() {
    let (here, there) = (Program::new(), Program::new());
    here.enqueue("mail", "{\n  \"to\":\r\n\"a\\nb\"}");
    let line = here.ok(&["list", "--json-lines"]);
    assert_eq!(
        there.run_with_input(&["enqueue", "--json-lines"], &line).stdout,
        "enqueued 1 task\n",
        "{line}"
    );
    let task = &there.json(&["list", "--json"])["tasks"][0];
    assert_eq!(task["payload"], serde_json::json!({ "to": "a\nb" }));
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
fn a_task_is_shown_and_cancelled_by_the_unique_key_that_it_holds() {
    let program = Program::new();
    let enqueue =
        |name| program.ok(&["enqueue", "--type", name, "--unique-key", "user-7", "1"]).trim().to_owned();
    let (other, first) = (enqueue("other"), enqueue("mail"));
    let by_key = ["--type", "mail", "--unique-key", "user-7"];
    assert!(program.ok(&[&["get"], &by_key[..]].concat()).contains(&first));
    assert_eq!(program.json(&[&["get", "--json"], &by_key[..]].concat())["id"], *first);
    let cancel = [&["cancel"], &by_key[..]].concat();
    assert_eq!(program.ok(&cancel), format!("cancelled {first} (was pending)\n"));
    let nobody = "no unfinished task of type mail holds the unique key \"user-7\"";
    program.run(&cancel).refused(3, nobody);
    program.run(&[&["get"], &by_key[..]].concat()).refused(3, nobody);
    let next = enqueue("mail");
    assert_eq!(program.ok(&cancel), format!("cancelled {next} (was pending)\n"), "the key was free");
    assert_eq!((program.status(&other), program.status(&first)), ("pending".into(), "cancelled".into()));
}

#[test]
fn a_key_is_asked_for_with_its_type_and_without_ids() {
    let program = Program::new();
    let id = program.enqueue("mail", "1");
    for args in [
        &["get"][..],
        &["get", "--type", "mail"],
        &["get", "--unique-key", "k"],
        &["get", &id, "--type", "mail", "--unique-key", "k"],
        &["cancel"],
        &["cancel", "--type", "mail"],
        &["cancel", "--unique-key", "k"],
        &["cancel", &id, "--type", "mail", "--unique-key", "k"],
        &["cancel", "--all", "--type", "mail", "--unique-key", "k"],
        &["cancel", "--status", "pending", "--type", "mail", "--unique-key", "k"],
        &["cancel", "--yes", "--type", "mail", "--unique-key", "k"],
    ] {
        let ran = program.run(args);
        assert!(ran.code == 2 && !ran.stderr.is_empty(), "{args:?}: {ran:?}");
    }
    program
        .run(&["get", "--type", "mail", "--unique-key", ""])
        .refused(2, "unique key is not 1 to 200 bytes");
    assert_eq!(program.status(&id), "pending");
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

#[test]
fn a_task_with_a_long_text_is_shown_whole() {
    let program = Program::new();
    let payload = format!("\"{}\"", "x".repeat(100_000));
    let id = program.run_with_input(&["enqueue", "--type", "mail", "-"], &payload).stdout;
    let shown = program.ok(&["get", id.trim()]);
    assert!(shown.contains(&format!("payload    {payload}\n")), "{} bytes", shown.len());
    assert!(shown.lines().all(|line| line.len() < 60 || line.starts_with("payload")), "nothing is padded");
}

/// As another program may write it: the column holds any text.
const NOT_JSON: &str = "UPDATE tasks SET payload = 'no \"JSON\"'";

#[test]
fn a_payload_that_is_not_json_is_a_text_in_every_listing() {
    let program = Program::new();
    let id = program.enqueue("mail", "1");
    sql(&program, NOT_JSON, "SELECT 0");
    program.enqueue("mail", "2");
    for tasks in [program.json(&["list", "--json"]), program.json(&["list", "--all", "--json"])] {
        assert_eq!(
            (&tasks["tasks"][0]["payload"], &tasks["tasks"][1]["payload"]),
            (&2.into(), &"no \"JSON\"".into())
        );
    }
    assert!(program.ok(&["list", "--json-lines"]).contains(r#""payload":"no \"JSON\"""#));
    assert_eq!(program.json(&["get", &id, "--json"])["payload"], "no \"JSON\"");
    assert_eq!(program.ok(&["get", &id, "--payload"]), "no \"JSON\"", "byte for byte");
}

#[test]
fn a_text_that_turns_the_direction_is_shown_as_such() {
    let program = Program::new();
    let id = program.enqueue("mail", "\"gpj.\u{202e}exe\"");
    let shown = program.ok(&["get", &id]);
    assert!(shown.contains("\"gpj.\\u{202e}exe\"") && !shown.contains('\u{202e}'), "{shown}");
}

#[test]
fn an_unknown_task_is_named_with_the_command_that_was_asked_for() {
    let program = Program::new();
    program.ok(&["migrate"]);
    let id = "0198c5d0-0000-7000-8000-000000000009";
    for command in ["get", "cancel", "run-now", "redrive"] {
        let ran = program.run(&[command, id]);
        assert_eq!(ran.stderr, format!("taskqueue: {command}: task not found: {id}\n"), "{ran:?}");
    }
}
