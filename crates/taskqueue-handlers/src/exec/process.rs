//! One process: started in a group of its own, fed, watched, and ended with all that it started. It knows
//! nothing of exit codes' meaning.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::output::{self, Lines, Tail};
use super::{ExecCommand, ExecInput};
use crate::HandlerError;

/// How long a command may take to end after it was asked to.
const TERMINATE_GRACE: Duration = Duration::from_secs(5);
/// How long its output is read on after its end, if a process that left the group still holds it open.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);

pub(super) struct Finished {
    pub(super) status: ExitStatus,
    pub(super) stderr_tail: String,
    pub(super) stopped: bool,
}

pub(super) async fn run(
    command: &ExecCommand,
    input: &ExecInput,
    stop: &CancellationToken,
) -> Result<Finished, HandlerError> {
    let failed = |what: &str, error: std::io::Error| {
        HandlerError::transient(format!("cannot {what} {}: {error}", command.program.display()))
    };
    let mut child = prepare(command, input).spawn().map_err(|error| failed("start", error))?;
    let group = Group::of(&child);
    let stdin = child.stdin.take().expect("standard input is piped");
    let stderr = child.stderr.take().expect("standard error is piped");
    let stdout = child.stdout.take();
    let mut tail = Tail::default();

    let (status, stopped) = {
        let end = end(&mut child, group, stop);
        let read = listen(stdout, stderr, &mut tail);
        tokio::pin!(read);
        let feed = feed(stdin, &input.stdin);
        tokio::pin!(end, feed);
        let (mut read_is_done, mut feed_is_done) = (false, false);
        let ended = loop {
            tokio::select! {
                ended = &mut end => break ended,
                () = &mut read, if !read_is_done => read_is_done = true,
                () = &mut feed, if !feed_is_done => feed_is_done = true,
            }
        };
        if !read_is_done {
            let _cut = timeout(DRAIN_LIMIT, read).await;
        }
        ended
    };
    let status = status.map_err(|error| failed("wait for", error))?;
    Ok(Finished { status, stderr_tail: tail.into_text(), stopped })
}

fn prepare(command: &ExecCommand, input: &ExecInput) -> Command {
    let mut process = Command::new(&command.program);
    process.args(&command.arguments).stdin(Stdio::piped()).stderr(Stdio::piped());
    process.stdout(if tells_stdout() { Stdio::piped() } else { Stdio::null() });
    process.kill_on_drop(true);
    if let Some(folder) = &command.folder {
        process.current_dir(folder);
    }
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TASKQUEUE_") {
            process.env_remove(name);
        }
    }
    process.envs(input.variables.iter().map(|(name, value)| (name, value)));
    #[cfg(unix)]
    process.process_group(0);
    process
}

/// Whether anybody wants to see its standard output; else it costs nothing.
fn tells_stdout() -> bool {
    tracing::enabled!(tracing::Level::DEBUG)
}

/// Logs what the command writes, and keeps the end of its standard error. The lines are written down with their control
/// characters escaped: they must not drive the terminal of who reads the log.
async fn listen(stdout: Option<ChildStdout>, stderr: ChildStderr, tail: &mut Tail) {
    let mut errors = Lines::new(|line| tracing::info!(?line, "standard error"));
    let stderr = output::read(stderr, |bytes| {
        tail.push(bytes);
        errors.push(bytes);
    });
    let mut lines = Lines::new(|line| tracing::debug!(?line, "standard output"));
    match stdout {
        Some(stdout) => {
            tokio::join!(stderr, output::read(stdout, |bytes| lines.push(bytes)));
        }
        None => stderr.await,
    }
    errors.end();
    lines.end();
}

/// A command need not read its input; one that closes it early is no error.
async fn feed(mut stdin: ChildStdin, payload: &[u8]) {
    let _closed_early = stdin.write_all(payload).await;
}

/// Waits for the end, and brings it about when told to stop. Says whether it was. What the command left running
/// ends with it, as the group is dropped; that also closes its output.
async fn end(
    child: &mut Child,
    group: Group,
    stop: &CancellationToken,
) -> (std::io::Result<ExitStatus>, bool) {
    tokio::select! {
        biased;
        status = child.wait() => return (status, false),
        () = stop.cancelled() => {}
    }
    group.terminate();
    if let Ok(status) = timeout(TERMINATE_GRACE, child.wait()).await {
        return (status, true);
    }
    group.kill();
    let _already_gone = child.start_kill();
    (child.wait().await, true)
}

/// The process group of a command, ended as a whole when this is dropped: after the command's end, or with the
/// attempt's future.
struct Group {
    #[cfg(unix)]
    leader: Option<rustix::process::Pid>,
}

#[cfg(unix)]
impl Group {
    /// The child was made the leader of a group of its own, whose id is the child's.
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self { leader: id.and_then(rustix::process::Pid::from_raw) }
    }

    fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    fn kill(&self) {
        self.signal(rustix::process::Signal::KILL);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        if let Some(leader) = self.leader {
            let _nobody_is_left = rustix::process::kill_process_group(leader, signal);
        }
    }
}

#[cfg(unix)]
impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Without process groups only the command itself is ended, by `kill_on_drop` and `start_kill`.
#[cfg(not(unix))]
impl Group {
    fn of(_child: &Child) -> Self {
        Self {}
    }

    fn terminate(&self) {}

    fn kill(&self) {}
}
