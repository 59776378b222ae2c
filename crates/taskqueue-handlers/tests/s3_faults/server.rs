//! A gateway of a test's own, in a container that it may pause and kill. The program that holds servers starts it, and
//! removes it when the test ends, also when it is killed; it knows what a container is told and when it is ready.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};

use serde::Deserialize;
use taskqueue_handlers::store::S3Config;

/// The variable that names that program.
const PROGRAM: &str = "TASKQUEUE_SERVERS";
/// What it is asked for.
const WANTED: &str = "s3=ceph-rgw:20";

pub(crate) struct Server {
    holder: Child,
    stdin: Option<ChildStdin>,
    url: String,
}

/// What the program says.
#[derive(Deserialize)]
struct Line {
    url: Option<String>,
    error: Option<String>,
}

impl Server {
    /// Starts one, and waits until it answers.
    pub(crate) fn start() -> Self {
        let program = std::env::var_os(PROGRAM)
            .unwrap_or_else(|| panic!("{PROGRAM} does not name the program that starts servers"));
        let holder = Command::new(program).arg(WANTED).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut holder = holder.expect("the program that starts servers can be run");
        let (stdin, stdout) = (holder.stdin.take(), holder.stdout.take().expect("it is piped"));
        let mut server = Self { holder, stdin, url: String::new() };
        let mut text = String::new();
        BufReader::new(stdout).read_line(&mut text).unwrap();
        let line: Line = serde_json::from_str(&text).unwrap();
        server.url = line.url.unwrap_or_else(|| panic!("{WANTED}: {}", line.error.unwrap_or_default()));
        server
    }

    pub(crate) fn config(&self) -> S3Config {
        S3Config::from_url(&self.url).unwrap()
    }

    /// Host and port.
    pub(crate) fn address(&self) -> &str {
        self.url.rsplit_once('@').unwrap().1.trim_end_matches('/')
    }

    /// All its processes stand still, and its connections stay open.
    pub(crate) fn pause(&self) {
        self.docker("pause");
    }

    pub(crate) fn unpause(&self) {
        self.docker("unpause");
    }

    /// SIGKILL. It kept everything in memory: nothing of it is left.
    pub(crate) fn kill(self) {
        self.docker("kill");
    }

    fn docker(&self, command: &str) {
        let port = self.address().rsplit_once(':').unwrap().1;
        let publishes = format!("publish={port}");
        let found = docker(&["ps", "--quiet", "--no-trunc", "--filter", &publishes]);
        assert_eq!(found.lines().count(), 1, "the container that publishes port {port}: {found:?}");
        docker(&[command, found.trim()]);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ended = self.holder.wait();
    }
}

fn docker(arguments: &[&str]) -> String {
    let ran = Command::new("docker").args(arguments).output().expect("docker can be run");
    assert!(ran.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}
