//! What a test shows of a task type, and against which server: lines of which `cargo xtask handlers-table` makes the
//! table in docs/handlers.md. It judges nothing: a test that panics has failed.

use std::fs::OpenOptions;
use std::io::Write;

/// The file that lines are appended to; without it nothing is written.
const VARIABLE: &str = "TASKQUEUE_PROOFS";

/// Begins what one test shows; keep it until the test ends. `server` is a name and a version: `nats 2.10.27`.
///
/// ```ignore
/// let _proof = support::proof::begin("lifecycle", "an object that changed is left alone", &server);
/// ```
#[must_use = "the outcome is written when it is dropped"]
pub(crate) fn begin(task_type: &'static str, shows: &'static str, server: &str) -> Proof {
    Proof { task_type, shows, server: server.to_owned() }
}

/// Writes its line when it is dropped.
pub(crate) struct Proof {
    task_type: &'static str,
    shows: &'static str,
    server: String,
}

impl Drop for Proof {
    fn drop(&mut self) {
        let Some(path) = std::env::var_os(VARIABLE) else { return };
        let outcome = if std::thread::panicking() { "failed" } else { "passed" };
        let Self { task_type, shows, server } = self;
        let line =
            serde_json::json!({"type": task_type, "shows": shows, "server": server, "outcome": outcome});
        // One write a line: the tests of several processes append to one file.
        let file = OpenOptions::new().append(true).create(true).open(path);
        let written = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
        if let Err(error) = written {
            eprintln!("what the test showed could not be written: {error}");
        }
    }
}
