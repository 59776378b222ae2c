//! Where and how commands that run for long log: to standard error, what `RUST_LOG` asks for, as text or as JSON. It logs nothing itself.

mod line;

use std::env::VarError;
use std::ffi::OsStr;
use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

use self::line::Line;

use crate::output;

const VARIABLE: &str = "RUST_LOG";
/// Not empty, it refuses colours.
const COLOUR_VARIABLE: &str = "NO_COLOR";
/// What is logged unless the variable says otherwise. The start and the end of the worker are told in words.
const DEFAULT: &str = "info,taskqueue_worker::shutdown=warn";

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// For people.
    Text,
    /// For programs: one object a line.
    Json,
}

/// Logs from now on.
pub(super) fn start(format: LogFormat) {
    let (filter, warning) = filter(std::env::var(VARIABLE));
    if let Some(warning) = warning {
        output::note(format!("taskqueue: {warning}"));
    }
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => {
            let refused = std::env::var_os(COLOUR_VARIABLE);
            let coloured = is_coloured(std::io::stderr().is_terminal(), refused.as_deref());
            log.with_ansi(coloured).event_format(Line).init();
        }
        LogFormat::Json => log.json().init(),
    }
}

/// Colours are for terminals, and for people who have not said by `NO_COLOR` that they want none.
fn is_coloured(is_terminal: bool, refused: Option<&OsStr>) -> bool {
    is_terminal && refused.is_none_or(OsStr::is_empty)
}

/// What was asked for, or else the default, and what to say if that cannot be read.
fn filter(given: Result<String, VarError>) -> (EnvFilter, Option<String>) {
    let why = match given {
        Ok(text) => match EnvFilter::try_new(&text) {
            Ok(filter) => return (filter, None),
            Err(error) => {
                Some(format!("{text:?} is not a filter, as info or taskqueue_worker=debug ({error})"))
            }
        },
        Err(VarError::NotPresent) => None,
        Err(VarError::NotUnicode(_)) => Some("its value is not UTF-8".to_owned()),
    };
    let warning = why.map(|why| format!("{VARIABLE} is not used: {why}; what is logged is {DEFAULT}"));
    (EnvFilter::new(DEFAULT), warning)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_unless_they_are_refused() {
        assert!(is_coloured(true, None) && is_coloured(true, Some(OsStr::new(""))));
        assert!(!is_coloured(true, Some(OsStr::new("1"))) && !is_coloured(false, None));
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_named_and_another_is_taken() {
        let of = |given: Result<&str, VarError>| {
            let (filter, warning) = filter(given.map(str::to_owned));
            (filter.to_string(), warning.unwrap_or_default())
        };
        assert_eq!(of(Ok("debug")), ("debug".to_owned(), String::new()));
        assert_eq!(of(Err(VarError::NotPresent)).1, "");
        let (filter, warning) = of(Ok("info,sqlx=loud"));
        assert!(warning.starts_with("RUST_LOG is not used: \"info,sqlx=loud\" is not a filter"), "{warning}");
        assert_eq!(filter, of(Err(VarError::NotPresent)).0);
    }
}
