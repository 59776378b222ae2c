//! The demo's worker: this same program as a process of its own, so that killing it is a real kill. It owns the
//! child's life; the child ends by itself when this process does, because its standard input ends.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::failure::{Failure, Outcome};
use crate::target::{DATABASE_VARIABLE, Target};

/// How long a worker may take to finish what it runs.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// How much of a worker's log an error shows.
const LOG_LINES_SHOWN: usize = 5;

/// What every worker of a demo is told.
pub(super) struct Instructions {
    pub(super) target: Target,
    /// What it handles, and how: options of `work`.
    pub(super) handlers: Vec<String>,
    /// Variables of its environment: what is no argument, as every user of the host can read those.
    pub(super) variables: Vec<(&'static str, String)>,
    pub(super) concurrency: usize,
    pub(super) visibility_timeout: Duration,
}

/// A running worker.
#[derive(Debug)]
pub(super) struct WorkerProcess {
    child: Child,
    log: PathBuf,
}

impl WorkerProcess {
    /// Starts a worker that writes its log to `log`.
    pub(super) fn start(told: &Instructions, log: &Path) -> Outcome<Self> {
        let cannot = |error| Failure::io("cannot start a worker process", &error);
        let program = std::env::current_exe().map_err(cannot)?;
        let child = Command::new(program)
            // Not as an argument either: it may hold a password.
            .env(DATABASE_VARIABLE, told.target.url())
            .envs(told.variables.iter().map(|(name, value)| (name, value)))
            .args(told.target.table_options())
            .arg("work")
            .args(&told.handlers)
            .args(["--concurrency", &told.concurrency.to_string()])
            .args(["--visibility-timeout", &format!("{}ms", told.visibility_timeout.as_millis())])
            .args(["--reclaim-interval", "500ms", "--until-stdin-closes"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(File::create(log).map_err(cannot)?)
            .kill_on_drop(true)
            .spawn()
            .map_err(cannot)?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// The process's number.
    pub(super) fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// Fails if the worker has ended by itself.
    pub(super) fn check(&mut self) -> Outcome {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.ended(status)),
            Err(error) => Err(Failure::io("cannot watch the worker process", &error)),
        }
    }

    /// Kills the worker on the spot (SIGKILL), and waits until it is gone.
    pub(super) async fn kill(mut self) -> Outcome {
        self.child.kill().await.map_err(|error| Failure::io("cannot kill the worker process", &error))
    }

    /// Lets the worker finish what it runs, and waits until it has ended well.
    pub(super) async fn stop(mut self) -> Outcome {
        drop(self.child.stdin.take());
        let status = tokio::time::timeout(STOP_TIMEOUT, self.child.wait()).await;
        match status {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(self.ended(status)),
            Ok(Err(error)) => Err(Failure::io("cannot watch the worker process", &error)),
            Err(_) => Err(Failure::failed(format!("the worker did not stop within {STOP_TIMEOUT:?}"))),
        }
    }

    fn ended(&self, status: ExitStatus) -> Failure {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join(" | ");
        Failure::failed(format!("a worker process ended with {status}: {last}"))
    }
}
