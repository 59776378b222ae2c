//! Servers of a test's own, since it kills them: one that syncs its disk as in production, or a cluster. The program that holds
//! servers starts them and removes them. It knows no engine.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// The variable that names the program that holds servers.
const PROGRAM: &str = "TASKQUEUE_SERVERS";
/// And what that program is asked for: a server,
const DURABLE: &str = "TASKQUEUE_DURABLE_SERVER";
/// or several.
const CLUSTER: &str = "TASKQUEUE_CLUSTER";

/// Servers in containers of their own. They go with this value.
#[derive(Debug)]
pub struct Servers {
    holder: Child,
    stdin: Option<ChildStdin>,
    nodes: Vec<Node>,
}

/// One of them.
#[derive(Debug)]
pub struct Node {
    container: String,
    url: Mutex<String>,
}

impl Servers {
    /// Starts a server, and waits until it answers.
    ///
    /// # Panics
    /// Where `cargo xtask test` has not said how, and when it does not start.
    pub async fn durable() -> Self {
        Self::start(DURABLE).await
    }

    /// Starts a cluster, and waits until it is whole. Its nodes have a fixed order; the first is the primary, where there is one.
    ///
    /// # Panics
    /// As [`durable`](Self::durable).
    pub async fn cluster() -> Self {
        Self::start(CLUSTER).await
    }

    /// The containers.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    async fn start(wanted: &'static str) -> Self {
        tokio::task::spawn_blocking(|| Self::held(wanted)).await.expect("the servers start")
    }

    fn held(wanted: &str) -> Self {
        let [program, wanted] = [PROGRAM, wanted].map(|name| {
            std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set: `cargo xtask test` sets it"))
        });
        let holder = Command::new(program).arg(wanted).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut holder = holder.expect("the program that holds servers can be run");
        let (stdin, stdout) = (holder.stdin.take(), holder.stdout.take().expect("it is piped"));
        let mut servers = Self { holder, stdin, nodes: Vec::new() };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("it says where the servers are");
        assert!(!line.is_empty(), "the program that holds servers has ended");
        let said: serde_json::Value = serde_json::from_str(&line).expect("what it says is JSON");
        let why = || said["error"].as_str().unwrap_or(&line);
        let nodes = said["nodes"].as_array().unwrap_or_else(|| panic!("no server: {}", why()));
        let text = |value: &serde_json::Value| value.as_str().expect("a node has it").to_owned();
        let node =
            |it: &serde_json::Value| Node { container: text(&it["container"]), url: text(&it["url"]).into() };
        servers.nodes = nodes.iter().map(node).collect();
        servers
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ended = self.holder.wait();
    }
}

impl Node {
    /// Where it is, since it was last started.
    pub fn url(&self) -> String {
        self.url.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Kills it with all its processes.
    pub async fn kill(&self) {
        self.docker(&["kill"], &[]).await;
    }

    /// Starts it again, with what is on its disk and perhaps at another port. It may not answer yet.
    pub async fn start(&self) {
        self.docker(&["start"], &[]).await;
        let published = self.docker(&["port"], &[]).await;
        let port = published.lines().next().and_then(|line| line.rsplit_once(':'));
        let port = port.expect("it publishes a port").1.parse::<u16>().expect("a port is a number");
        let mut url = self.url.lock().unwrap_or_else(PoisonError::into_inner);
        *url = at_port(&url, port);
    }

    /// Stops all its processes where they are: its connections stay, and nothing answers.
    pub async fn pause(&self) {
        self.docker(&["pause"], &[]).await;
    }

    /// Lets them go on.
    pub async fn unpause(&self) {
        self.docker(&["unpause"], &[]).await;
    }

    /// Runs a program inside its container; answers what it printed.
    ///
    /// # Panics
    /// When the program fails.
    pub async fn run(&self, command: &[&str]) -> String {
        self.docker(&["exec"], command).await
    }

    /// The last lines of its log, for people.
    pub async fn last_lines(&self) -> String {
        let arguments = ["logs", "--tail", "40", &self.container].map(str::to_owned);
        let log = tokio::task::spawn_blocking(move || Command::new("docker").args(arguments).output());
        match log.await.expect("docker is asked") {
            Ok(log) => {
                [log.stdout, log.stderr].map(|part| String::from_utf8_lossy(&part).into_owned()).concat()
            }
            Err(error) => format!("docker cannot be run: {error}"),
        }
    }

    async fn docker(&self, before: &[&str], after: &[&str]) -> String {
        let arguments = [before, &[&self.container], after].concat();
        let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        tokio::task::spawn_blocking(move || docker(&arguments)).await.expect("docker does it")
    }
}

fn docker(arguments: &[String]) -> String {
    let ran = Command::new("docker").args(arguments).output().expect("docker can be run");
    assert!(ran.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).expect("docker writes text")
}

/// The same URL with another port.
fn at_port(url: &str, port: u16) -> String {
    let host = url.rfind('@').expect("the URL names a user") + 1;
    let colon = host + url[host..].find(':').expect("it names a port");
    let end = url[colon..].find(['/', '?']).map_or(url.len(), |end| colon + end);
    format!("{}:{port}{}", &url[..colon], &url[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_started_again_is_found_at_its_new_port() {
        assert_eq!(at_port("mysql://u:p@127.0.0.1:1/mysql?a=b", 42), "mysql://u:p@127.0.0.1:42/mysql?a=b");
        assert_eq!(at_port("postgres://u@127.0.0.1:1", 42), "postgres://u@127.0.0.1:42");
    }
}
