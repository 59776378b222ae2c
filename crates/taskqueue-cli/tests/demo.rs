//! The demo from outside: on a folder of made files it kills a worker and loses nothing. It knows nothing of the
//! program's inside.

mod support;

use std::io::{BufRead, BufReader};

use support::{Background, Program};

const FILES: usize = 300;

/// A folder of small files, some with names that S3 must encode.
fn made_files(program: &Program) -> String {
    let folder = program.folder().join("files");
    for index in 0..FILES {
        let below = folder.join(format!("part {}+x", index % 7));
        std::fs::create_dir_all(&below).expect("the folder is writable");
        std::fs::write(below.join(format!("ä %20 {index}.txt")), format!("content {index}"))
            .expect("writable");
    }
    folder.to_str().expect("UTF-8").to_owned()
}

/// The number that the summary gives under this name.
fn number(text: &str, name: &str) -> u64 {
    let line = text.lines().find(|line| line.trim_start().starts_with(name));
    let line = line.unwrap_or_else(|| panic!("no line {name:?} in {text}"));
    let value = line.trim_start()[name.len()..].split_whitespace().next().expect("a value");
    value.replace(',', "").parse().unwrap_or_else(|_| panic!("no number in {line:?}"))
}

#[test]
fn a_kill_in_the_middle_loses_nothing_and_alters_nothing() {
    let program = Program::new();
    let text = program.ok(&["demo", "--input", &made_files(&program)]);
    assert_eq!(number(&text, "enqueued"), FILES as u64);
    assert_eq!(number(&text, "delivered  "), FILES as u64, "{text}");
    for none in ["lost", "altered", "dead letters"] {
        assert_eq!(number(&text, none), 0, "{text}");
    }
    assert!(text.contains("Killed worker 1 (SIGKILL"), "{text}");
    assert!(text.contains("Nothing was lost"), "{text}");
    assert!(!program.folder().join("taskqueue.db").exists(), "the demo ran in the default database");
}

#[test]
fn the_demo_reads_events_from_json_lines_and_leaves_its_database_where_it_was_told() {
    let program = Program::new();
    let event = |index: usize| {
        format!(
            r#"{{"event_name":"s3:ObjectRemoved:Delete","bucket":"b{index}","key":"k{index}","size":{index},"etag":"e","owner_id":"o","request_id":"r","source_ip":"127.0.0.1","timestamp":1767225600000,"sequencer":"{index:04X}"}}"#
        )
    };
    let lines: String = (0..50).map(|index| event(index) + "\n").collect();
    let file = program.file("events.jsonl", &lines);
    let input = file.to_str().expect("UTF-8");
    let demo = ["demo", "--database", "sqlite:demo.db", "--input", input, "--limit", "40"];
    let text = program.ok(&demo);
    assert!(text.contains("left out: 10 more, past the limit of 40"), "{text}");
    assert_eq!((number(&text, "enqueued"), number(&text, "lost")), (40, 0));
    program.ok(&demo);
    let stats = program.json(&["stats", "--database", "sqlite:demo.db", "--json"]);
    assert_eq!(stats["completed"].as_u64(), Some(80), "two runs in one file");
}

#[test]
fn the_demo_refuses_a_database_in_which_tasks_wait() {
    let program = Program::new();
    program.enqueue("mail", "1");
    let input = made_files(&program);
    let ran = program.run(&["demo", "--database", "sqlite:taskqueue.db", "--input", &input]);
    ran.refused(4, "holds 1 unfinished task");
}

#[test]
fn the_demo_never_runs_in_the_database_of_the_environment() {
    let program = Program::new();
    let input = made_files(&program);
    let mut command = program.command(&["demo", "--input", &input, "--limit", "20"]);
    let output =
        command.env("TASKQUEUE_DATABASE_URL", "sqlite:production.db").output().expect("the program runs");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(!program.folder().join("production.db").exists());
}

#[test]
fn an_empty_or_missing_input_is_said() {
    let program = Program::new();
    program.run(&["demo", "--input", "nothing"]).refused(3, "nothing");
    std::fs::create_dir(program.folder().join("empty")).expect("the folder is writable");
    program.run(&["demo", "--input", "empty"]).refused(2, "there is no event to deliver");
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    let program = Program::new();
    let input = made_files(&program);
    let temporary = program.folder().join("tmp");
    std::fs::create_dir(&temporary).expect("the folder is writable");
    let mut command = program.command(&["demo", "--input", &input]);
    command.env("TMPDIR", &temporary);
    let mut demo = Background::start(command);
    let mut started = String::new();
    let mut output = BufReader::new(demo.child.stdout.take().expect("it is piped"));
    while !started.contains("worker 1") {
        assert!(output.read_line(&mut started).expect("it prints") > 0, "it ended: {started}");
    }
    demo.signal("INT");
    demo.wait_for("taskqueue: demo: interrupted");
    assert_eq!(demo.child.wait().expect("it ends").code(), Some(130));
    assert_eq!(std::fs::read_dir(&temporary).expect("it is there").count(), 0);
}
