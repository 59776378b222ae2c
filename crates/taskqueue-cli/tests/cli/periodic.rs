//! `work --cron` and `--every`: tasks that come again and again.

use crate::support::{Background, Program, wait_until};

#[test]
fn a_worker_enqueues_and_works_a_task_each_time_its_interval_has_passed() {
    let program = Program::new();
    let args = ["work", "--exec", "mail=cat", "--every", "tick", "1s", "mail", r#"{"n":1}"#];
    let mut worker = Background::start(program.command(&args));
    let line = worker.wait_for("periodic tasks");
    assert!(line.contains("tick at 20"), "it says when the next one is: {line}");
    wait_until(|| program.ok(&["list", "--status", "completed"]).matches("mail").count() >= 2);
    worker.signal("TERM");
    assert_eq!(worker.wait().0, 0);
    assert!(program.ok(&["list", "--status", "completed", "--json"]).contains("\"tick\""));
}

#[test]
fn a_cron_expression_is_read_in_the_time_zone_that_was_given() {
    let program = Program::new();
    let cron = ["--cron", "nightly", "0 3 * * *", "mail", "1", "--cron", "yearly", "@yearly", "mail", "2"];
    let args = [&["work", "--exec", "mail=cat", "--time-zone", "Asia/Tokyo"][..], &cron].concat();
    let mut worker = Background::start(program.command(&args));
    let line = worker.wait_for("periodic tasks");
    assert!(line.contains("T18:00:00Z") && line.contains("-12-31T15:00:00Z"), "{line}");
    wait_until(|| program.ok(&["list", "--status", "pending"]).matches("mail").count() == 2);
    worker.signal("TERM");
    assert_eq!(worker.wait().0, 0);
}

#[test]
fn periodic_tasks_that_cannot_be_are_refused_before_anything_is_touched() {
    let program = Program::new();
    let work = |args: &[&str]| program.run(&[&["work", "--exec", "mail=cat"], args].concat());
    work(&["--cron", "n", "every day", "mail", "1"]).refused(2, "expected five fields");
    work(&["--every", "n", "1ms", "mail", "1"]).refused(2, "expected 1s at least");
    let cron = ["--cron", "n", "0 3 * * *", "mail", "1"];
    work(&[&cron[..], &["--time-zone", "Moon"]].concat()).refused(2, "\"Moon\" is not known");
    assert!(!program.folder().join("taskqueue.db").exists());
    assert_eq!(work(&[&cron[..], &["--drain"]].concat()).code, 2);
    assert_eq!(work(&["--cron", "n", "0 3 * * *", "mail"]).code, 2);
}
