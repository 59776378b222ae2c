//! One file a command: its options, and what it does. This one owns the choice between them, and what several
//! commands have in common: the size of a batch, how times look, and which of several failures is the command's.

pub(crate) mod cancel;
pub(crate) mod cleanup;
pub(crate) mod completions;
pub(crate) mod enqueue;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod migrate;
pub(crate) mod pause;
pub(crate) mod reclaim;
pub(crate) mod redrive;
#[cfg(feature = "s3")]
pub(crate) mod scan;
pub(crate) mod stats;
pub(crate) mod work;

use chrono::SecondsFormat;
use taskqueue_core::Timestamp;

use crate::args::{Cli, Command};
use crate::demo;
use crate::failure::{Failure, Outcome};
use crate::output;

/// The most rows that maintenance commands touch in one transaction: short enough to let workers in between.
const MAINTENANCE_BATCH: usize = 1000;

/// Runs the command that was asked for.
pub(crate) async fn run(cli: Cli) -> Outcome {
    let target = &cli.target;
    match cli.command {
        Command::Demo(args) => demo::run(target, args).await,
        Command::Migrate(args) => migrate::run(target, args).await,
        Command::Enqueue(args) => enqueue::run(target, args).await,
        Command::Work(args) => work::run(target, args).await,
        #[cfg(feature = "s3")]
        Command::Scan(args) => scan::run(target, args).await,
        Command::Get(args) => get::run(target, args).await,
        Command::List(args) => list::run(target, args).await,
        Command::Stats(args) => stats::run(target, args).await,
        Command::Cancel(args) => cancel::run(target, args).await,
        Command::Redrive(args) => redrive::run(target, args).await,
        Command::Pause(args) => pause::pause(target, args).await,
        Command::Resume(args) => pause::resume(target, args).await,
        Command::Reclaim(args) => reclaim::run(target, args).await,
        Command::Cleanup(args) => cleanup::run(target, args).await,
        Command::Completions(args) => completions::run(args),
    }
}

/// A time as tables show it.
fn shown(time: Timestamp) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The failure that the exit code tells, of those that did not stop the command. The others are told here.
fn first_of(failures: Vec<Failure>) -> Option<Failure> {
    let mut failures = failures.into_iter();
    let first = failures.next();
    for failure in failures {
        output::note(format!("taskqueue: {}", failure.message().unwrap_or_default()));
    }
    first
}
