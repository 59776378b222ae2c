//! What the tests of the program share: running it on a database of the test's own, and waiting, with a limit,
//! for what it says. It knows nothing of the program's inside.

#![allow(dead_code, reason = "each test binary uses a part of this")]

#[cfg(feature = "server-tests")]
pub(crate) mod server;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;

/// How long anything may take before a test gives up on it.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(60);
/// How long a wait pauses between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// How long it pauses where a look is dear.
const SELDOM: Duration = Duration::from_millis(400);

/// Looks again and again until `done` says so, or fails the test after about [`WAIT_MAX`].
#[track_caller]
pub(crate) fn wait_until(done: impl Fn() -> bool) {
    let (_sender, never) = channel::<()>();
    let looks = WAIT_MAX.as_millis() / LOOK_INTERVAL.as_millis();
    let happened = (0..looks).any(|_| done() || never.recv_timeout(LOOK_INTERVAL).is_ok());
    assert!(happened, "it did not happen within {WAIT_MAX:?}");
}

/// Looks again and again until `done` says so of `progress`, or fails the test when that has not moved for
/// [`WAIT_MAX`]. Seldom, as a look that runs the program takes time from those that work.
#[track_caller]
pub(crate) fn wait_while_it_moves(progress: impl Fn() -> u64, done: impl Fn(u64) -> bool) {
    let (_sender, never) = channel::<()>();
    let looks = WAIT_MAX.as_millis() / SELDOM.as_millis();
    let (mut seen, mut still) = (0, 0);
    while still < looks {
        let now = progress();
        if done(now) {
            return;
        }
        still = if now == seen { still + 1 } else { 0 };
        seen = now;
        let _ = never.recv_timeout(SELDOM);
    }
    panic!("nothing has moved for {WAIT_MAX:?}: {seen}");
}

/// The program, with a database and a folder of its own.
pub(crate) struct Program {
    folder: tempfile::TempDir,
    /// What the environment names as the database, if it does.
    url: Option<String>,
}

/// What a run of the program gave.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Program {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder"), url: None }
    }

    /// With the database of this URL.
    pub(crate) fn on_url(url: String) -> Self {
        Self { url: Some(url), ..Self::new() }
    }

    /// With an empty database of a server.
    #[cfg(feature = "server-tests")]
    pub(crate) fn on(database: &server::Database) -> Self {
        Self::on_url(database.url())
    }

    /// With a database of a server and its tables.
    #[cfg(feature = "server-tests")]
    pub(crate) fn migrated_on(database: &server::Database) -> Self {
        let program = Self::on(database);
        program.ok(&["migrate"]);
        program
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file into the test's folder.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        self.file_of_bytes(name, text.as_bytes())
    }

    pub(crate) fn file_of_bytes(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder().join(name);
        std::fs::write(&path, bytes).expect("the folder is writable");
        path
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_taskqueue"));
        command
            .current_dir(self.folder())
            .env_remove("TASKQUEUE_DATABASE_URL")
            .env_remove("TASKQUEUE_DASHBOARD_PASSWORD")
            .env_remove("RUST_LOG")
            .args(args);
        if let Some(url) = &self.url {
            command.env("TASKQUEUE_DATABASE_URL", url);
        }
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(args).stdin(Stdio::null()).output().expect("the program starts"))
    }

    pub(crate) fn run_with_input(&self, args: &[&str], input: &str) -> Ran {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut stdin = child.stdin.take().expect("it is piped");
        stdin.write_all(input.as_bytes()).expect("the program reads its input");
        drop(stdin);
        Ran::of(child.wait_with_output().expect("the program ends"))
    }

    /// Runs a command that must succeed, and gives what it printed.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
        ran.stdout
    }

    /// Runs a command that must succeed, and reads what it printed as JSON.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let text = self.ok(args);
        serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{args:?} printed no JSON: {error}: {text}"))
    }

    /// Enqueues one task and gives its id.
    pub(crate) fn enqueue(&self, task_type: &str, payload: &str) -> String {
        self.ok(&["enqueue", "--type", task_type, payload]).trim().to_owned()
    }

    /// The status of a task.
    pub(crate) fn status(&self, id: &str) -> String {
        self.json(&["get", id, "--json"])["status"].as_str().expect("a status is text").to_owned()
    }
}

impl Ran {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).expect("the program prints UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("the program prints UTF-8"),
        }
    }

    /// Checks that it failed with this code and said why in one line that holds `text`.
    #[track_caller]
    pub(crate) fn refused(&self, code: i32, text: &str) {
        assert_eq!(self.code, code, "{self:?}");
        let lines: Vec<&str> = self.stderr.lines().collect();
        assert!(lines.len() == 1 && lines[0].starts_with("taskqueue: "), "not one clear line: {self:?}");
        assert!(lines[0].contains(text), "it does not say {text:?}: {self:?}");
    }
}

/// A program that runs while the test goes on; its standard error is read line by line. Killed when dropped.
pub(crate) struct Background {
    pub(crate) child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Background {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stderr: ChildStderr = child.stderr.take().expect("it is piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self { child, lines, seen: Vec::new() }
    }

    /// Waits until a line on standard error holds `text`, and gives that line.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        loop {
            if let Some(line) = self.seen.iter().find(|line| line.contains(text)) {
                return line.clone();
            }
            match self.lines.recv_timeout(WAIT_MAX) {
                Ok(line) => self.seen.push(line),
                Err(error) => panic!("the program never said {text:?} ({error}), only {:#?}", self.seen),
            }
        }
    }

    /// Sends a signal by its name, as TERM.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().expect("kill is there");
        assert!(sent.success());
    }

    /// Waits until it has ended, and gives its exit code and what it printed.
    pub(crate) fn wait(mut self) -> (i32, String) {
        drop(self.child.stdin.take());
        let mut stdout = String::new();
        let mut pipe = self.child.stdout.take().expect("it is piped");
        std::io::Read::read_to_string(&mut pipe, &mut stdout).expect("the program prints UTF-8");
        let status = self.child.wait().expect("the program ends");
        (status.code().unwrap_or(-1), stdout)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
