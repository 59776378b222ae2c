//! `work --handlers --config`: ready-made handlers that need no store, from the file to what they deliver.

use std::io::Read;

use serde_json::Value;

use crate::event::{self, Destination, EVENT};
use crate::receiver::HttpReceiver;
use crate::support::Program;

/// Two rules match the event above, by the name of a destination and by an ARN; two do not.
const PHOTOS: &str = r#"
[[TopicConfigurations]]
Id = "all"
TopicArn = "arn:aws:sns:us-east-1:1:everything"
Events = ["s3:ObjectCreated:*"]

[[QueueConfigurations]]
Id = "pictures"
QueueArn = "pictures"
Events = ["s3:ObjectCreated:Put"]
Filter.Key.FilterRules = [{ Name = "prefix", Value = "in/" }, { Name = "suffix", Value = ".jpg" }]

[[QueueConfigurations]]
Id = "removed"
QueueArn = "pictures"
Events = ["s3:ObjectRemoved:*"]

[[QueueConfigurations]]
Id = "elsewhere"
QueueArn = "pictures"
Events = ["s3:ObjectCreated:*"]
Filter.Key.FilterRules = [{ Name = "prefix", Value = "out/" }]
"#;

fn work(program: &Program, types: &str) -> String {
    program.ok(&["work", "--drain", "--handlers", types, "--config", "handlers.toml"])
}

/// The lines of a file of events, each with the rule it was delivered by.
fn delivered(program: &Program, file: &str) -> Vec<(Value, Value)> {
    let text = std::fs::read_to_string(program.folder().join(file)).expect("the sink has made it");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("each line is JSON"));
    lines
        .map(|line| line["Records"][0]["s3"].clone())
        .map(|s3| (s3["configurationId"].clone(), s3["object"]["key"].clone()))
        .collect()
}

#[test]
fn an_event_goes_to_each_destination_that_the_buckets_notification_configuration_names() {
    let program = Program::new();
    std::fs::create_dir_all(program.folder().join("documents/notification")).expect("the folder is writable");
    program.file("documents/notification/photos.toml", PHOTOS);
    program.file(
        "handlers.toml",
        "[documents]\nfolder = \"documents\"\n\
         [event.destinations.everything.file]\npath = \"everything.jsonl\"\n\
         [event.destinations.pictures.file]\npath = \"pictures.jsonl\"\ndurability = \"buffered\"\n",
    );
    let id = program.enqueue("event", EVENT);
    let nobody = program.enqueue("event", &EVENT.replace("photos", "untold"));
    let text = work(&program, "event");
    assert!(text.contains("4 completed"), "the event, its two deliveries and that of nobody: {text}");
    assert_eq!(delivered(&program, "everything.jsonl"), [("all".into(), "in/a+b.jpg".into())]);
    assert_eq!(delivered(&program, "pictures.jsonl"), [("pictures".into(), "in/a+b.jpg".into())]);
    assert_eq!([program.status(&id), program.status(&nobody)], ["completed", "completed"]);
}

#[test]
fn an_event_for_a_destination_that_this_worker_has_not_got_waits_for_another() {
    let program = Program::new();
    std::fs::create_dir_all(program.folder().join("documents/notification")).expect("the folder is writable");
    program.file("documents/notification/photos.toml", PHOTOS);
    program.file(
        "handlers.toml",
        "[documents]\nfolder = \"documents\"\n[event.destinations.everything.file]\npath = \"everything.jsonl\"\n",
    );
    program.enqueue("event", EVENT);
    let text = work(&program, "event");
    assert!(text.contains("2 completed, 1 will be tried again"), "{text}");
    assert_eq!(delivered(&program, "everything.jsonl"), [("all".into(), "in/a+b.jpg".into())]);
    let failed = program.json(&["list", "--status", "failed", "--json"]);
    let id = failed["tasks"][0]["id"].as_str().expect("one task waits for its next attempt");
    let error = program.json(&["get", id, "--json"])["last_error"].to_string();
    assert!(error.contains("this worker has no destination") && error.contains("pictures"), "{error}");
}

#[test]
fn an_event_is_posted_to_a_webhook_signed_with_the_secret_of_its_destination() {
    let program = Program::new();
    let receiver = HttpReceiver::start();
    let url = receiver.url("/events");
    program.file("secret", "hunter2\n");
    let settings = format!("url = {url:?}\nallow_private = true\nsecret = {{ file = \"secret\" }}");
    let tasks = event::tell(&program, &[Destination { name: "hook", kind: "webhook", settings }]);
    let request = receiver.next();
    assert_eq!(request.line, "POST /events HTTP/1.1");
    assert_eq!(request.headers["webhook-id"], tasks[0]);
    assert!(request.headers["webhook-signature"].starts_with("v1,"), "{request:?}");
    event::assert_is_record(&request.body, "hook");
    assert!(receiver.rest().is_empty(), "one event, one request");
}

#[test]
fn audit_records_are_posted_together_signed_and_compressed() {
    let program = Program::new();
    let receiver = HttpReceiver::start();
    program.file("secret", "hunter2\n");
    let url = receiver.url("/audit");
    program.file(
        "handlers.toml",
        &format!(
            "[audit_log]\nrecords_max = 3\nage_max_milliseconds = 60_000\n\
             http = {{ url = {url:?}, allow_private = true, secret = {{ file = \"secret\" }} }}\n"
        ),
    );
    for id in ["r-2", "r-1", "r-3"] {
        let record = format!(
            r#"{{"record_id":"{id}","timestamp":1767225600000000000,"principal_id":"ada","action":"s3:GetObject","request_id":"q","status_code":200}}"#
        );
        program.enqueue("audit_log", &record);
    }
    let text = work(&program, "audit_log");
    assert!(text.contains("3 completed"), "{text}");

    let request = receiver.next();
    assert_eq!(request.line, "POST /audit HTTP/1.1");
    assert_eq!(request.headers["content-type"], "application/x-ndjson");
    assert_eq!(request.headers["content-encoding"], "gzip");
    assert!(request.headers["webhook-signature"].starts_with("v1,"), "{request:?}");
    let mut lines = String::new();
    flate2::read::GzDecoder::new(&*request.body).read_to_string(&mut lines).expect("it is gzip");
    let ids: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("each line is JSON")["record_id"].clone())
        .collect();
    assert_eq!(ids, ["r-1", "r-2", "r-3"]);
    assert!(receiver.rest().is_empty(), "one batch, one request");
}

#[test]
fn a_wrong_file_changes_nothing_and_says_where_it_is_wrong() {
    let program = Program::new();
    let refused = |text: &str, expected: &str| {
        program.file("handlers.toml", text);
        let args = ["work", "--drain", "--handlers", "event,audit_log", "--config", "handlers.toml"];
        program.run(&args).refused(2, expected);
    };
    refused("[event]\nregoin = \"r\"\n", "handlers.toml:2: regoin: unknown field `regoin`");
    refused("", "handlers.toml: event.destinations: expected at least one section");
    refused(
        "[documents]\nfolder = \"nowhere\"\n[event.destinations.log.file]\npath = \"events.jsonl\"\n",
        "handlers.toml: documents.folder: there is no folder nowhere",
    );
    let args = ["work", "--handlers", "webhook", "--config", "handlers.toml", "--allow-private"];
    program.run(&args).refused(2, "--allow-private is for --webhook, --webhooks and --event-webhook");
    assert!(!program.folder().join("taskqueue.db").exists());
}
