//! The command line: the program's own options and the list of commands. Each command's options stand with the command, the
//! forms of their values in `values`.

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

#[cfg(feature = "dashboard")]
use crate::commands::dashboard;
#[cfg(feature = "s3")]
use crate::commands::scan;
use crate::commands::{
    cancel, cleanup, completions, enqueue, get, list, migrate, pause, reclaim, redrive, run_now, stats, work,
};
use crate::demo;
use crate::failure::EXIT_CODES_HELP;
use crate::target::{DATABASE_VARIABLE, Target};

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
    /// Make tasks ready that are scheduled for later or wait for a retry
    RunNow(run_now::Args),
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
        let located = cli.target.locate(std::env::var(DATABASE_VARIABLE));
        located.unwrap_or_else(|wrong| Self::command().error(ErrorKind::InvalidUtf8, wrong).exit());
        cli
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
}
