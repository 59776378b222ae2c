//! `work --handlers --config`: ready-made handlers that need no store, from the file to what they deliver.

use std::io::Read;

use serde_json::Value;

use crate::event::{self, Destination, EVENT};
use crate::receiver::HttpReceiver;
use crate::support::{Background, Program, wait_until};
use crate::working::got;

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
fn a_webhook_is_signed_with_the_secret_that_its_payload_names() {
    let program = Program::new();
    let receiver = HttpReceiver::start();
    program.file("secret", "hunter2\n");
    program.file(
        "handlers.toml",
        "[webhook]\nallow_private = true\n[webhook.secrets]\nbilling = { file = \"secret\" }\n",
    );
    let to = |secret: &str| {
        let url = receiver.url("/hook");
        program.enqueue(
            "webhook",
            &serde_json::json!({"url": url, "body": {}, "secret_name": secret}).to_string(),
        )
    };
    let (known, unknown) = (to("billing"), to("shipping"));
    work(&program, "webhook");
    let request = receiver.next();
    assert!(request.headers["webhook-signature"].starts_with("v1,"), "{request:?}");
    assert_eq!(request.headers["webhook-id"], known);
    assert_eq!((program.status(&unknown), receiver.rest().len()), ("dead_letter".to_owned(), 0));
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

/// Works all that is enqueued under another namespace until each of these outcomes is counted in it.
fn counts(program: &Program, types: &str, outcomes: &[(&str, &str)]) {
    let args = ["work", "--handlers", types, "--config", "handlers.toml", "--poll-interval", "50ms"];
    let metrics = ["--metrics-listen", "127.0.0.1:0", "--metrics-namespace", "shop"];
    let mut worker = Background::start(program.command(&[&args[..], &metrics[..]].concat()));
    let line = worker.wait_for("metrics at http://");
    let address = line.trim_start_matches("taskqueue: metrics at http://").trim_end_matches("/metrics");
    for (task_type, outcome) in outcomes {
        let counter = "shop_taskqueue_handler_outcomes_total";
        let counted = format!("\n{counter}{{type=\"{task_type}\",outcome=\"{outcome}\"}} 1\n");
        wait_until(|| got(address, "/metrics").1.contains(&counted));
    }
    worker.signal("TERM");
    assert_eq!(worker.wait().0, 0);
}

#[test]
fn events_and_audit_records_are_counted_under_the_namespace_that_was_asked_for() {
    let program = Program::new();
    let receiver = HttpReceiver::start();
    std::fs::create_dir_all(program.folder().join("documents/notification")).expect("the folder is writable");
    let http = format!("http = {{ url = {:?}, allow_private = true }}", receiver.url("/audit"));
    let event = "[event.destinations.log.file]\npath = \"log.jsonl\"\n";
    let text = format!("[documents]\nfolder = \"documents\"\n{event}[audit_log]\n{http}\n");
    program.file("handlers.toml", &text);
    program.enqueue("event", EVENT);
    let record = r#"{"record_id":"r","timestamp":1,"principal_id":"ada","action":"s3:GetObject","request_id":"q","status_code":200}"#;
    program.enqueue("audit_log", record);
    counts(&program, "event,audit_log", &[("event", "nobody"), ("audit_log", "shipped")]);
}

/// The URL of a store that has nothing.
#[cfg(feature = "s3")]
fn empty_store() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a loopback port");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let lines = std::io::BufRead::lines(std::io::BufReader::new(&stream)).map_while(Result::ok);
            let _head = lines.take_while(|line| !line.is_empty()).count();
            let answer = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            // Who asked may have gone.
            let _ = std::io::Write::write_all(&mut &stream, answer);
        }
    });
    format!("http://{address}")
}

#[cfg(feature = "s3")]
#[test]
fn so_are_federation_and_replication() {
    let program = Program::new();
    program.file("secret", "hunter2");
    let store = format!("endpoint = {:?}\nregion = \"r\"\ncredentials = \"local\"\n", empty_store());
    let key = "{ file = \"secret\" }";
    let external = "external = { endpoint = \"https://s3.example.org\", region = \"r\", bucket = \"old\", credentials = \"local\" }";
    program.file(
        "handlers.toml",
        &format!(
            "[credentials.local]\naccess_key_id = {key}\nsecret_access_key = {key}\n[store]\n{store}\
             [[federation.buckets]]\nbucket = \"photos\"\npaused = true\n{external}\n[replication.regions.r]\n{store}"
        ),
    );
    program.enqueue("federation_discovery", r#"{"bucket":"photos","include_versions":false,"started_at":0}"#);
    let found = r#"{"bucket":"photos","key":"k","size":1,"etag":"e","last_modified":0,"discovered_at":0}"#;
    program.enqueue("federation_ingest", found);
    let deleted = r#"{"operation":"DELETE","source_region":"r","source_bucket":"b","source_key":"k","destination_region":"r","destination_bucket":"c","destination_key":"k","etag":"","size":0,"requested_at":1}"#;
    program.enqueue("replication", deleted);
    let outcomes =
        [("federation_discovery", "paused"), ("federation_ingest", "paused"), ("replication", "present")];
    counts(&program, "federation_discovery,federation_ingest,replication", &outcomes);
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

#[test]
fn no_error_line_drives_the_terminal() {
    let program = Program::new();
    let args = ["work", "--handlers", "event", "--config", "\u{1b}[31m\n.toml"];
    program.run(&args).refused(3, "cannot read \\u{1b}[31m\\n.toml");
}
