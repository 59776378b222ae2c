//! The command line: the program's own options, the list of commands, and the forms of their values. Each
//! command's options stand with the command.

use std::time::Duration;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use taskqueue_core::{BATCH_MAX, Priority, Timestamp};

#[cfg(feature = "dashboard")]
use crate::commands::dashboard;
#[cfg(feature = "s3")]
use crate::commands::scan;
use crate::commands::{
    cancel, cleanup, completions, enqueue, get, list, migrate, pause, reclaim, redrive, stats, work,
};
use crate::demo;
use crate::failure::EXIT_CODES_HELP;
use crate::target::Target;

/// A durable task queue for services that already have a database.
///
/// Every task whose enqueue succeeded is handled at least once or becomes a dead letter that you can look at and
/// redrive, whatever dies in between.
#[derive(Debug, Parser)]
#[command(name = "taskqueue", version, after_help = EXIT_CODES_HELP, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// Which queue.
    #[command(flatten)]
    pub(crate) target: Target,

    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Watch real tasks being enqueued, worked and kept safe across a kill
    Demo(demo::Args),
    /// Create or upgrade the tables
    Migrate(migrate::Args),
    /// Put tasks into the queue
    Enqueue(enqueue::Args),
    /// Run tasks until told to stop
    Work(Box<work::Args>),
    /// Apply rules to what is stored, and enqueue the tasks that follow
    #[cfg(feature = "s3")]
    Scan(scan::Args),
    /// Show one task
    Get(get::Args),
    /// List tasks, newest first
    List(list::Args),
    /// Show what the queue holds
    Stats(stats::Args),
    /// Show what the queue holds in a browser, and repair it there
    #[cfg(feature = "dashboard")]
    Dashboard(dashboard::Args),
    /// Cancel tasks that are not finished
    Cancel(cancel::Args),
    /// Make dead letters pending again
    Redrive(redrive::Args),
    /// Stop claims of a task type, for every worker, until it is resumed
    #[command(after_help = pause::PAUSE_HELP)]
    Pause(pause::Args),
    /// Let a paused task type be claimed again
    #[command(after_help = pause::RESUME_HELP)]
    Resume(pause::Args),
    /// Take back tasks whose worker has died (workers do this by themselves)
    Reclaim(reclaim::Args),
    /// Remove completed and cancelled tasks that finished some time ago, or dead letters
    Cleanup(cleanup::Args),
    /// Print a completion script for a shell
    Completions(completions::Args),
}

impl Cli {
    /// Reads the process's arguments; prints help or a usage error and exits where they ask for it.
    pub(crate) fn read() -> Self {
        let matches = Self::command().get_matches();
        let mut cli = Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        cli.target.learn_origin(&matches);
        cli
    }
}

/// A duration in words: `30s`, `5m`, `1h 30m`, `7days`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error} (write 30s, 5m, 1h or 7d)"))
}

/// A time: RFC 3339.
pub(crate) fn time(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|error| format!("{error} (write 2026-12-31T18:00:00Z)"))
}

/// A priority: a name or a number.
pub(crate) fn priority(text: &str) -> Result<Priority, String> {
    match text {
        "low" => Ok(Priority::LOW),
        "normal" => Ok(Priority::NORMAL),
        "high" => Ok(Priority::HIGH),
        "urgent" => Ok(Priority::URGENT),
        _ => {
            text.parse().map(Priority).map_err(|_| "not low, normal, high, urgent or a 32-bit number".into())
        }
    }
}

/// How many rows one call may carry.
pub(crate) fn limit(text: &str) -> Result<usize, String> {
    let limit = text.parse().map_err(|_| "not a number".to_owned())?;
    if (1..=BATCH_MAX).contains(&limit) { Ok(limit) } else { Err(format!("not in 1 to {BATCH_MAX}")) }
}

/// `LEFT=RIGHT`, split at the first `=`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((left, right)) if !left.is_empty() && !right.is_empty() => Ok((left.into(), right.into())),
        _ => Err("not of the form TYPE=VALUE".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_examples_in_its_help() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Examples:"), "{} has no examples", command.get_name());
        }
    }

    #[test]
    fn values_are_read_in_the_forms_that_people_write() {
        assert_eq!(duration("1h 30m"), Ok(Duration::from_secs(5400)));
        assert!(duration("soon").is_err());
        assert_eq!(priority("urgent"), Ok(Priority::URGENT));
        assert_eq!(priority("-3"), Ok(Priority(-3)));
        assert!(priority("very").is_err());
        assert_eq!(limit("10000"), Ok(10_000));
        assert!(limit("0").is_err() && limit("10001").is_err());
        assert_eq!(pair("mail=http://x/?a=b"), Ok(("mail".into(), "http://x/?a=b".into())));
        assert!(pair("mail").is_err() && pair("=x").is_err());
        assert!(time("2026-12-31T18:00:00Z").is_ok() && time("tomorrow").is_err());
    }
}
