//! One event, and a notification configuration that names who is to be told of it: the program is given both, and
//! delivers. It knows no destination.

#![allow(dead_code, reason = "each test binary uses a part of this")]

use serde_json::Value;

use crate::support::Program;

/// The payload. Its key is one that S3 encodes.
pub(crate) const EVENT: &str = r#"{"event_name":"s3:ObjectCreated:Put","bucket":"photos","key":"in/a b.jpg","size":5,"etag":"e","owner_id":"o","request_id":"r","source_ip":"127.0.0.1","timestamp":1767225600000,"sequencer":"01"}"#;

/// Where the event goes.
pub(crate) struct Destination {
    /// Its name, which is that of its rule as well.
    pub(crate) name: &'static str,
    /// What stands behind the name in the name of its section.
    pub(crate) kind: &'static str,
    /// What stands in its section.
    pub(crate) settings: String,
}

/// Enqueues the event and has it worked. Gives the ids of the tasks that this took: that of the event, and one for each
/// delivery if there are several.
pub(crate) fn tell(program: &Program, destinations: &[Destination]) -> Vec<String> {
    configure(program, destinations);
    program.enqueue("event", EVENT);
    let text = program.ok(&["work", "--drain", "--handlers", "event", "--config", "handlers.toml"]);
    let tasks = if let [_] = destinations { 1 } else { destinations.len() + 1 };
    assert_eq!(text, format!("worked: {tasks} completed\n"));
    let listed = program.json(&["list", "--status", "completed", "--json"]);
    let ids = listed["tasks"].as_array().expect("a list").iter();
    ids.map(|task| task["id"].as_str().expect("text").to_owned()).collect()
}

/// Writes `handlers.toml`, and the bucket's notification configuration.
fn configure(program: &Program, destinations: &[Destination]) {
    std::fs::create_dir_all(program.folder().join("documents/notification")).expect("the folder is writable");
    let (mut rules, mut sections) = (String::new(), "[documents]\nfolder = \"documents\"\n".to_owned());
    for Destination { name, kind, settings } in destinations {
        let events = "Events = [\"s3:ObjectCreated:*\"]";
        rules.push_str(&format!("[[QueueConfigurations]]\nId = {name:?}\nQueueArn = {name:?}\n{events}\n"));
        sections.push_str(&format!("[event.destinations.{name}.{kind}]\n{settings}\n"));
    }
    program.file("documents/notification/photos.toml", &rules);
    program.file("handlers.toml", &sections);
}

/// Checks that it is the record of the event, by the rule of this name.
#[track_caller]
pub(crate) fn assert_is_record(json: &[u8], rule: &str) {
    let json: Value = serde_json::from_slice(json).expect("a record is JSON");
    let record = &json["Records"][0];
    assert_eq!(record["eventName"], "ObjectCreated:Put", "{json}");
    assert_eq!(record["s3"]["object"]["key"], "in/a+b.jpg", "{json}");
    assert_eq!(record["s3"]["configurationId"], rule, "{json}");
}
