//! The annotated example of `work --config`, which docs/handlers.md shows: every handler, every kind of destination and
//! every alternative in it can be had as it is written there. It knows nothing of the program's inside.

mod support;

use support::Program;

const EXAMPLE: &str = include_str!("../examples/handlers.toml");
const HANDLERS: &str =
    "lifecycle,cleanup,restore,federation_discovery,federation_ingest,replication,event,webhook,audit_log";
/// What stands where the example wants a secret.
const SECRET: &str = "hunter2";

#[test]
fn every_handler_is_made_of_the_example() {
    assert_works(EXAMPLE);
}

#[test]
fn so_it_is_of_the_alternatives_that_are_commented_out() {
    let mut text = EXAMPLE.to_owned();
    for (taken, other) in [("folder = ", "database = "), ("objects = ", "http = ")] {
        text = text.replacen(&format!("\n{taken}"), &format!("\n# {taken}"), 1);
        text = text.replacen(&format!("\n# {other}"), &format!("\n{other}"), 1);
    }
    for others in ["table = ", "session_token = ", "secret = ", "secrets.", "timeout_seconds = "] {
        text = text.replace(&format!("\n# {others}"), &format!("\n{others}"));
    }
    text = text.replacen(
        "stream = { key = \"s3-events\", length_max = 1_000_000 }",
        "channel = \"s3-events\"",
        1,
    );
    text = text.replacen("synced_replicas = 0", "", 1);
    assert_ne!(text, EXAMPLE);
    assert_works(&text);
}

/// Has a worker make all handlers of the file; there is nothing for it to do.
#[track_caller]
fn assert_works(text: &str) {
    let program = Program::new();
    let folder = program.folder().to_str().expect("UTF-8");
    std::fs::create_dir(program.folder().join("documents")).expect("the folder is writable");
    for secret in ["partner-id", "partner-secret", "partner-token", "webhook", "pictures"] {
        program.file(secret, SECRET);
    }
    let of_the_host = ["/run/secrets", "/var/lib/taskqueue", "/var/log"];
    let text = of_the_host.iter().fold(text.to_owned(), |text, path| text.replace(path, folder));
    program.file("handlers.toml", &text);
    let mut command =
        program.command(&["work", "--drain", "--handlers", HANDLERS, "--config", "handlers.toml"]);
    let of_the_worker = ["LOCAL_ACCESS_KEY_ID", "LOCAL_SECRET_ACCESS_KEY"];
    let of_others = ["AUDIT_SECRET", "BILLING_SECRET", "KAFKA_PASSWORD"];
    for variable in of_the_worker.iter().chain(&of_others) {
        command.env(variable, SECRET);
    }
    command.env("NATS_SERVERS", format!("nats://ada:{SECRET}@127.0.0.1:1"));
    command.env("TASKQUEUE_DOCUMENTS_URL", format!("sqlite:{folder}/documents.db?mode=rwc"));
    let output = command.output().expect("the program starts");
    let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).expect("UTF-8"));
    assert_eq!((output.status.code(), stdout.as_str()), (Some(0), "worked: 0 completed\n"), "{stderr}");
    assert!(!stderr.contains(SECRET), "{stderr}");
}
