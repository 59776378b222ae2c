//! Commands: a program run for each task, with the payload on its standard input. It owns the allow-list and
//! what an exit code means; how a process is run and ended is in `process`.
//!
//! | exit code | what becomes of the task |
//! |---|---|
//! | 0 | completed |
//! | 65 (`EX_DATAERR`) | dead letter: the payload is at fault, no other attempt can help |
//! | 75 (`EX_TEMPFAIL`) | failed, retried by the policy: a temporary failure that the command foresaw |
//! | any other, or ended by a signal | failed, retried by the policy |
//!
//! The end of what the command wrote to its standard error is in the task's `last_error`, if the attempt failed. Its lines
//! are logged as they come, those of standard error at the level info, those of standard output at debug: of each at most
//! the first 100 lines of a run, and of a line the first 1,024 bytes.
//!
//! **A second run** of the same task runs the command again with the same payload and `TASKQUEUE_TASK_ID`: a
//! command must bear that, as tasks are handled at least once.

mod output;
mod process;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitStatus;

use async_trait::async_trait;
use taskqueue_core::{Error, Outcome, Result, TaskType};
use taskqueue_worker::{Handler, TaskContext, TaskError};
use tokio_util::sync::CancellationToken;

pub use self::output::STDERR_BYTES_MAX;
use crate::HandlerError;

const EX_DATAERR: i32 = 65;
const EX_TEMPFAIL: i32 = 75;

/// A program and its arguments. No shell reads it, so nothing in it is expanded, and no payload is part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecCommand {
    program: OsString,
    arguments: Vec<OsString>,
    folder: Option<PathBuf>,
}

impl ExecCommand {
    /// The program (a path, or a name that is looked up in `PATH`), then its arguments.
    ///
    /// # Errors
    /// `InvalidInput` when there is no program.
    pub fn new<A: Into<OsString>>(argv: impl IntoIterator<Item = A>) -> Result<Self> {
        let mut argv = argv.into_iter().map(Into::into);
        let program = argv
            .next()
            .filter(|program| !program.is_empty())
            .ok_or_else(|| Error::invalid_input("exec", "a command needs a program to run"))?;
        Ok(Self { program, arguments: argv.collect(), folder: None })
    }

    /// Sets the folder in which it runs; the worker's own by default.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Runs the command and waits for its end. When `stop` is cancelled it is asked to end (SIGTERM), and ended
    /// (SIGKILL) when it has not after five seconds; `Ended::Stopped` then says so.
    ///
    /// # Errors
    /// As the table of exit codes says, and when the program cannot be started.
    ///
    /// # Cancel safety
    /// When the future is dropped the command is ended at once, with everything in its process group.
    pub async fn run(&self, input: &ExecInput, stop: &CancellationToken) -> Result<Ended, HandlerError> {
        let finished = process::run(self, input, stop).await?;
        if finished.stopped {
            return Ok(Ended::Stopped);
        }
        judge(finished.status, &finished.stderr_tail).map(|()| Ended::Succeeded)
    }
}

/// How a command ended when it did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with exit code 0.
    Succeeded,
    /// Because it was told to stop.
    Stopped,
}

/// What a command is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecInput {
    /// Written to its standard input, which is then closed.
    pub stdin: Vec<u8>,
    /// Environment variables beside the worker's own. Of those, none whose name begins with `TASKQUEUE_` is
    /// handed on, since the database URL with its password may be among them.
    pub variables: Vec<(&'static str, String)>,
}

impl ExecInput {
    /// The payload, and `TASKQUEUE_TASK_ID`, `TASKQUEUE_TASK_TYPE`, `TASKQUEUE_ATTEMPT` (from 1),
    /// `TASKQUEUE_MAX_RETRIES` and `TASKQUEUE_LEASE_NUMBER` (the fence for outside systems).
    pub fn of(cx: &TaskContext) -> Self {
        Self {
            stdin: cx.payload().as_str().into(),
            variables: vec![
                ("TASKQUEUE_TASK_ID", cx.id().to_string()),
                ("TASKQUEUE_TASK_TYPE", cx.task_type().to_string()),
                ("TASKQUEUE_ATTEMPT", cx.attempt().to_string()),
                ("TASKQUEUE_MAX_RETRIES", cx.max_retries().to_string()),
                ("TASKQUEUE_LEASE_NUMBER", cx.lease_number().to_string()),
            ],
        }
    }
}

/// Runs a command for each task: the one that the allow-list has for the task's type, and no other.
#[derive(Debug, Clone, Default)]
pub struct ExecHandler {
    allowed: BTreeMap<TaskType, ExecCommand>,
}

impl ExecHandler {
    /// A handler that may run nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Allows `command` for tasks of this type.
    #[must_use]
    pub fn allow(mut self, task_type: TaskType, command: ExecCommand) -> Self {
        self.allowed.insert(task_type, command);
        self
    }

    /// The types that have a command: what to register this handler for.
    pub fn types(&self) -> impl Iterator<Item = &TaskType> {
        self.allowed.keys()
    }
}

#[async_trait]
impl Handler for ExecHandler {
    async fn handle(&self, cx: TaskContext) -> Result<Outcome, TaskError> {
        let command = self.allowed.get(cx.task_type()).ok_or_else(|| {
            HandlerError::permanent(format!("no command is allowed for tasks of type {}", cx.task_type()))
        })?;
        match command.run(&ExecInput::of(&cx), cx.cancelled()).await? {
            Ended::Succeeded => Ok(Outcome::done()),
            // The worker stops, or has lost the task: it was not the task's fault, so the attempt is given back.
            Ended::Stopped => Ok(Outcome::Release),
        }
    }
}

fn judge(status: ExitStatus, stderr_tail: &str) -> Result<(), HandlerError> {
    let message = |what: String| {
        if stderr_tail.is_empty() { what } else { format!("{what}: {stderr_tail}") }
    };
    match status.code() {
        Some(0) => Ok(()),
        Some(EX_DATAERR) => {
            Err(HandlerError::permanent(message("exit code 65 (invalid payload)".to_owned())))
        }
        Some(EX_TEMPFAIL) => {
            Err(HandlerError::transient(message("exit code 75 (temporary failure)".to_owned())))
        }
        Some(code) => Err(HandlerError::transient(message(format!("exit code {code}")))),
        None => Err(HandlerError::transient(message(format!("ended by a {status}")))),
    }
}
