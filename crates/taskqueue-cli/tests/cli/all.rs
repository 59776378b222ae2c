//! `--all` of `redrive`, `list` and `cancel`: every task once, over as many pages as it takes.

use crate::support::{Background, Program, wait_until};
use crate::{sql, task_objects};

/// A payload that is no event makes a dead letter at the first attempt, without a process for each.
fn dead_letters(program: &Program, tasks: usize) {
    let lines = "{\"type\":\"event\",\"payload\":1}\n".repeat(tasks);
    program.run_with_input(&["enqueue", "--json-lines"], &lines);
    let text = program.ok(&["work", "--drain", "--event-file", "events.jsonl", "--concurrency", "100"]);
    assert_eq!(text, format!("worked: 0 completed, {} became dead letters\n", thousands(tasks)));
}

fn thousands(tasks: usize) -> String {
    if tasks < 1000 { tasks.to_string() } else { format!("{},{:03}", tasks / 1000, tasks % 1000) }
}

/// What is redriven dies again at once, and is written down.
const DIES_AGAIN: &str = "
    CREATE TABLE redriven (id BLOB NOT NULL);
    CREATE TRIGGER dies_again AFTER UPDATE ON tasks WHEN OLD.status = 5 AND NEW.status = 0 BEGIN
        INSERT INTO redriven VALUES (NEW.id);
        UPDATE tasks SET status = 5, queue_rank = 0, queue_at = 0, completed_at = 1 WHERE seq = NEW.seq;
    END";

#[test]
fn each_dead_letter_is_redriven_once_though_it_dies_again_at_once() {
    let program = Program::new();
    dead_letters(&program, 1500);
    sql(&program, DIES_AGAIN, "SELECT 0");
    assert_eq!(
        program.ok(&["redrive", "--all", "--type", "event"]),
        "redriven: 1,500 tasks are pending again\n"
    );
    assert_eq!(sql(&program, "", "SELECT count(*) FROM redriven"), 1500);
    assert_eq!(sql(&program, "", "SELECT count(DISTINCT id) FROM redriven"), 1500);
}

#[test]
fn a_limit_of_dead_letters_is_kept_to() {
    let program = Program::new();
    dead_letters(&program, 250);
    assert_eq!(
        program.ok(&["redrive", "--all", "--limit", "203"]),
        "redriven: 203 tasks are pending again\n"
    );
    assert_eq!(program.json(&["stats", "--json"])["dead_letter"].as_u64(), Some(47));
}

#[test]
fn a_redrive_that_fails_on_its_way_says_how_many_tasks_are_pending_again() {
    let program = Program::new();
    dead_letters(&program, 250);
    let refuse = format!(
        "{DIES_AGAIN};
        CREATE TRIGGER refuse BEFORE UPDATE ON tasks
        WHEN OLD.status = 5 AND NEW.status = 0 AND (SELECT count(*) FROM redriven) >= 200
        BEGIN SELECT RAISE(ABORT, 'no more of these'); END"
    );
    sql(&program, &refuse, "SELECT 0");
    let ran = program.run(&["redrive", "--all"]);
    ran.refused(1, "no more of these");
    ran.refused(1, "; 200 tasks are pending again");
}

#[test]
fn a_whole_listing_holds_every_task_once_in_each_form() {
    let program = Program::new();
    program.ok(&["migrate"]);
    assert_eq!(program.ok(&["list", "--all"]), "no tasks\n");
    assert_eq!(program.ok(&["list", "--all", "--json-lines"]), "");
    let none = program.json(&["list", "--all", "--json"]);
    assert_eq!(none, serde_json::json!({ "tasks": [], "next": null }));
    // More than a page of a walk, and more than a listing shows by default.
    program.run_with_input(&["enqueue", "--json-lines"], &task_objects(401));
    let other = program.enqueue("other", "1");

    let whole = program.json(&["list", "--all", "--json", "--type", "mail"]);
    let ids = |tasks: &serde_json::Value| -> Vec<String> {
        let tasks = tasks.as_array().expect("a list").iter();
        tasks.map(|task| task["id"].as_str().expect("text").to_owned()).collect()
    };
    let expected = ids(&program.json(&["list", "--limit", "1000", "--json", "--type", "mail"])["tasks"]);
    assert_eq!((expected.len(), ids(&whole["tasks"])), (401, expected.clone()));
    assert!(whole["next"].is_null(), "there is no more");

    let lines = program.run(&["list", "--all", "--json-lines", "--type", "mail"]);
    let lines: Vec<serde_json::Value> =
        lines.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(ids(&lines.into()), expected);
    let table = program.run(&["list", "--all"]);
    let shown: Vec<&str> = table.stdout.lines().skip(1).map(|line| &line[..36]).collect();
    assert_eq!((shown.len(), shown[0], table.stderr.as_str()), (402, other.as_str(), ""));
    assert!(expected.iter().all(|id| shown.contains(&id.as_str())));
    assert_eq!(table.stdout.matches("STATUS").count(), 1, "one heading");
}

#[test]
fn a_cancel_of_all_says_how_many_and_does_it_only_when_it_is_told_to() {
    let program = Program::new();
    program.run_with_input(&["enqueue", "--json-lines"], &task_objects(401));
    let other = program.enqueue("other", "1");
    for (options, tasks) in [
        (&["--all"][..], "402 tasks"),
        (&["--all", "--type", "mail"], "401 tasks"),
        (&["--all", "--type", "mail", "--status", "pending"], "401 tasks"),
        (&["--all", "--type", "other", "--status", "pending"], "1 task;"),
    ] {
        program.run(&[&["cancel"], options].concat()).refused(2, &format!("would cancel {tasks}"));
    }
    assert_eq!(program.ok(&["cancel", "--all", "--status", "running"]), "cancelled 0 tasks\n");
    let cancelled = program.ok(&["cancel", "--all", "--type", "mail", "--yes"]);
    assert_eq!(cancelled, "cancelled 401 tasks (401 pending)\n");
    assert_eq!(program.status(&other), "pending");
    assert_eq!(program.json(&["stats", "--json"])["cancelled"].as_u64(), Some(401));
    for wrong in [&["--all", &other][..], &["--yes", &other], &["--all", "--status", "completed"], &[]] {
        assert_eq!(program.run(&[&["cancel"], wrong].concat()).code, 2, "{wrong:?}");
    }
}

#[test]
fn tasks_in_every_unfinished_status_are_cancelled_at_once() {
    let program = Program::new();
    let failed = program.enqueue("mail", "1");
    program.ok(&["work", "--drain", "--exec", "mail=false"]);
    let script =
        program.file("wait.sh", "touch begun; until [ -e go ] || [ ! -e begun ]; do sleep 0.05; done\n");
    let exec = format!("slow=sh {}", script.display());
    let running = program.enqueue("slow", "1");
    let worker = Background::start(program.command(&["work", "--exec", &exec]));
    wait_until(|| program.folder().join("begun").exists());
    let pending = program.enqueue("mail", "1");
    let text = program.ok(&["cancel", "--all", "--yes"]);
    // The worker may have found by now that the retry is due.
    assert!(text.starts_with("cancelled 3 tasks (") && text.contains("1 running"), "{text}");
    assert_eq!([failed, running, pending].map(|id| program.status(&id)), ["cancelled"; 3]);
    program.file("go", "");
    drop(worker);
}

#[test]
fn a_cancel_that_fails_on_its_way_says_how_many_tasks_are_cancelled() {
    let program = Program::new();
    program.run_with_input(&["enqueue", "--json-lines"], &task_objects(250));
    let refuse = "
        CREATE TRIGGER refuse BEFORE UPDATE ON tasks
        WHEN (SELECT count(*) FROM tasks WHERE status = 6) >= 210
        BEGIN SELECT RAISE(ABORT, 'no more of these'); END";
    sql(&program, refuse, "SELECT 0");
    let ran = program.run(&["cancel", "--all", "--yes"]);
    ran.refused(1, "no more of these");
    ran.refused(1, "; 210 tasks were cancelled");
}

#[test]
fn a_region_of_all_is_kept_to() {
    let program = Program::new();
    let lines = ["eu", "us", "eu"]
        .map(|region| format!("{{\"type\":\"event\",\"payload\":1,\"region\":\"{region}\"}}\n"));
    program.run_with_input(&["enqueue", "--json-lines"], &lines.concat());
    program.ok(&["work", "--drain", "--event-file", "events.jsonl"]);
    assert_eq!(program.ok(&["redrive", "--all", "--region", "us"]), "redriven: 1 task is pending again\n");
    assert_eq!(program.ok(&["redrive", "--all", "--region", "eu"]), "redriven: 2 tasks are pending again\n");
    program.run(&["cancel", "--all", "--region", "eu"]).refused(2, "would cancel 2 tasks");
    assert_eq!(
        program.ok(&["cancel", "--all", "--region", "eu", "--yes"]),
        "cancelled 2 tasks (2 pending)\n"
    );
    for command in ["cancel", "redrive"] {
        assert_eq!(program.run(&[command, "--region", "eu", "0198c5d0-0000-7000-8000-000000000001"]).code, 2);
    }
}
