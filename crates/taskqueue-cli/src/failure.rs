//! Why a command failed: one line for a person, one exit code for a script. It owns the table of exit codes and
//! knows no command.

use std::fmt;
use std::io;
use std::process::ExitCode;

use taskqueue_core::{Error, ErrorKind};

/// What the program's exit status says. The numbers are part of the program's interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// Done. Also when the reader of the output has gone: what it wanted, it has.
    Ok = 0,
    /// Failed, and trying the same again will not help.
    Failure = 1,
    /// The command line or its input is wrong; nothing was changed.
    Usage = 2,
    /// No such task, file or database.
    NotFound = 3,
    /// The task is not in a state in which this can be done, or its unique key is taken.
    Conflict = 4,
    /// Failed for now: trying the same again later can help (`EX_TEMPFAIL`).
    Temporary = 75,
    /// Interrupted by a signal, as shells report it (128 + SIGINT).
    Interrupted = 130,
}

/// The table as `--help` shows it.
pub(crate) const EXIT_CODES_HELP: &str = "\
Exit codes:
  0    done
  1    failed; trying the same again will not help
  2    the command line or its input is wrong; nothing was changed
  3    no such task, file or database
  4    conflict: the unique key is taken, or the task is not in a state that allows this
  75   failed for now; trying the same again later can help
  130  interrupted";

/// A failed command.
#[derive(Debug)]
pub(crate) struct Failure {
    code: Code,
    message: String,
}

/// What commands return.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// A failure with this exit code, said in one line.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The command line or its input is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Code::Usage, message)
    }

    /// Failed for good.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Code::Failure, message)
    }

    /// A call on the operating system failed; `what` says on what, as "cannot read FILE".
    pub(crate) fn io(what: impl fmt::Display, error: &io::Error) -> Self {
        let code = if error.kind() == io::ErrorKind::NotFound { Code::NotFound } else { Code::Failure };
        Self::new(code, format!("{what}: {error}"))
    }

    /// The queue could not be opened or has no tables. What was asked of it to find that out is nobody's affair.
    pub(crate) fn opening(error: Error) -> Self {
        let operation = format!("{}: ", error.operation());
        let mut failure = Self::from(error);
        if let Some(message) = failure.message.strip_prefix(&operation) {
            failure.message = message.to_owned();
        }
        failure
    }

    /// The output's reader has gone: stop, and say nothing.
    pub(crate) fn reader_gone() -> Self {
        Self::new(Code::Ok, "")
    }

    /// With another exit code.
    #[cfg(feature = "sql")]
    pub(crate) fn with_code(mut self, code: Code) -> Self {
        self.code = code;
        self
    }

    /// Puts what was going on before the message.
    pub(crate) fn context(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// Adds what the user needs to know besides.
    pub(crate) fn note(mut self, note: impl fmt::Display) -> Self {
        self.message = format!("{}; {note}", self.message);
        self
    }

    /// Says that part of the work was done before this: then "nothing was changed" is no longer true.
    pub(crate) fn partly(mut self) -> Self {
        if self.code == Code::Usage {
            self.code = Code::Failure;
        }
        self
    }

    /// The exit code.
    pub(crate) fn code(&self) -> Code {
        self.code
    }

    /// What to say, if anything.
    pub(crate) fn message(&self) -> Option<&str> {
        (!self.message.is_empty()).then_some(self.message.as_str())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let failure = Self::new(code_of(&error), describe(&error));
        match error.kind() {
            ErrorKind::NotMigrated => failure.note("run `taskqueue migrate`, or name another --table"),
            ErrorKind::DatabaseNotFound => failure.note("create it, or name another one"),
            _ => failure,
        }
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

fn code_of(error: &Error) -> Code {
    match error.kind() {
        ErrorKind::InvalidInput | ErrorKind::InvalidPayload => Code::Usage,
        ErrorKind::TaskNotFound | ErrorKind::DatabaseNotFound => Code::NotFound,
        ErrorKind::DuplicateUnique | ErrorKind::LeaseLost => Code::Conflict,
        _ if error.is_transient() => Code::Temporary,
        _ => Code::Failure,
    }
}

/// The error and its sources in one line, each only if it says something new: drivers repeat theirs.
fn describe(error: &Error) -> String {
    let mut line = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let text = cause.to_string();
        if !line.contains(&text) && !text.contains(last_said(&line)) {
            line = format!("{line}: {text}");
        }
        source = cause.source();
    }
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The end of the line: a driver's error puts numbers and words of its own around what a backend has said there.
fn last_said(line: &str) -> &str {
    line.rsplit([':', '(']).next().unwrap_or(line).trim_matches([' ', ')'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use taskqueue_core::TaskId;

    #[test]
    fn each_kind_of_error_has_the_exit_code_that_the_help_lists() {
        let id = TaskId::generate();
        let cases = [
            (Error::task_not_found("get", id), Code::NotFound),
            (Error::duplicate_unique("enqueue", id), Code::Conflict),
            (Error::invalid_payload("enqueue", "not JSON"), Code::Usage),
            (Error::full("enqueue", 10), Code::Temporary),
            (Error::new(ErrorKind::DatabaseNotFound, "connect", "no database x"), Code::NotFound),
            (Error::new(ErrorKind::NotMigrated, "stats", "no table tasks"), Code::Failure),
            (Error::new(ErrorKind::Unavailable, "stats", "database is locked"), Code::Temporary),
            (Error::new(ErrorKind::Backend, "stats", "disk image is malformed"), Code::Failure),
        ];
        for (error, code) in cases {
            assert_eq!(Failure::from(error).code(), code);
        }
    }

    #[test]
    fn an_error_is_one_line_with_each_source_said_once() {
        let source = io::Error::other("disk\n  full");
        let error = Error::new(ErrorKind::Backend, "enqueue", "write failed").with_source(source);
        assert_eq!(Failure::from(error).message(), Some("enqueue: write failed: disk full"));
        let error =
            Error::new(ErrorKind::Backend, "enqueue", "disk full").with_source(io::Error::other("disk full"));
        assert_eq!(Failure::from(error).message(), Some("enqueue: disk full"));
        let driver = io::Error::other("error returned from database: no user \"ada\" at line 329");
        let error =
            Error::new(ErrorKind::Backend, "connect", "refused (28P01): no user \"ada\"").with_source(driver);
        assert_eq!(Failure::from(error).message(), Some("connect: refused (28P01): no user \"ada\""));
    }
}
