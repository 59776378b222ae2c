//! One file a command: its options, and what it does. This one owns the choice between them, and what several
//! commands have in common: how a batch is repeated until nothing is left.

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
pub(crate) mod resume;
pub(crate) mod stats;
pub(crate) mod work;

use chrono::SecondsFormat;
use taskqueue_core::Timestamp;

use crate::args::{Cli, Command};
use crate::demo;
use crate::failure::Outcome;

/// The most rows that maintenance commands touch in one transaction: short enough to let workers in between.
const MAINTENANCE_BATCH: usize = 1000;

/// Runs the command that was asked for.
pub(crate) async fn run(cli: Cli) -> Outcome {
    let database = cli.database.as_str();
    match cli.command {
        Command::Demo(args) => demo::run(cli.database_is_given.then_some(database), args).await,
        Command::Migrate(args) => migrate::run(database, args).await,
        Command::Enqueue(args) => enqueue::run(database, args).await,
        Command::Work(args) => work::run(database, args).await,
        Command::Get(args) => get::run(database, args).await,
        Command::List(args) => list::run(database, args).await,
        Command::Stats(args) => stats::run(database, args).await,
        Command::Cancel(args) => cancel::run(database, args).await,
        Command::Redrive(args) => redrive::run(database, args).await,
        Command::Pause(args) => pause::run(database, args).await,
        Command::Resume(args) => resume::run(database, args).await,
        Command::Reclaim(args) => reclaim::run(database, args).await,
        Command::Cleanup(args) => cleanup::run(database, args).await,
        Command::Completions(args) => completions::run(args),
    }
}

/// A time as tables show it.
fn shown(time: Timestamp) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}
