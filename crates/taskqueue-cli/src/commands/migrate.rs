//! `migrate`: creates or upgrades the tables.

use crate::connect;
use crate::failure::Outcome;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  taskqueue migrate
  taskqueue --database sqlite:/var/lib/app/tasks.db migrate

Running it again changes nothing. `enqueue` and `work` do it by themselves for a SQLite file that they create; \
a file that was there before is not touched until you say so here.";

/// Creates or upgrades the tables of the queue in the database.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {}

/// Creates or upgrades the tables.
pub(crate) async fn run(database: &str, _: Args) -> Outcome {
    let location = connect::Location::parse(database)?;
    let queue = location.migrate().await?;
    let backend = queue.backend().await?;
    queue.close().await;
    output::line(format!("the tables in {location} are up to date ({} {})", backend.name, backend.version))
}
