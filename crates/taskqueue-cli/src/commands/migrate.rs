//! `migrate`: creates or upgrades the tables, or prints the SQL that does.

use std::fmt::Display;

use taskqueue_core::Queue;
use taskqueue_migrations::Engine;

use crate::connect::{self, Opened};
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::target::Target;

const EXAMPLES: &str = "\
Examples:
  taskqueue migrate
  taskqueue --database sqlite:/var/lib/app/tasks.db migrate
  taskqueue migrate --print --engine postgres > 0007_taskqueue.sql
  taskqueue migrate --print --engine postgres --after 1 > 0012_taskqueue.sql
  taskqueue migrate --print --engine cockroach --shards 16 > 0007_taskqueue.sql

Running it again changes nothing. `enqueue` and `work` do it by themselves for a SQLite file that they create; \
a file that was there before, and a server's database, are not touched until you say so here.

--print connects to nothing and changes nothing. What it prints also records the versions that it applies, so that \
`migrate` finds nothing left to do. Apply it in one transaction on SQLite and each version in one on PostgreSQL; on CockroachDB send each \
statement on its own.";

/// Creates or upgrades the tables of the queue in the database.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Print the SQL instead of running it, for a migration tool of your own
    #[arg(long)]
    print: bool,
    /// Whose SQL to print: sqlite, postgres, cockroach or mysql [default: that of --database]
    #[arg(long, requires = "print")]
    engine: Option<Engine>,
    /// Print only what comes after this version, which is applied already
    #[arg(long, value_name = "VERSION", requires = "print", default_value_t = 0)]
    after: i64,
    /// Over how many shards the tasks of a new table are spread, 1 to 1024, for good: for CockroachDB, mostly
    /// [default: 1]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=1024))]
    shards: Option<u16>,
}

/// Creates or upgrades the tables, or prints how.
pub(crate) async fn run(target: &Target, args: Args) -> Outcome {
    if args.print {
        return print(target, &args);
    }
    let Opened { queue, version_before } = connect::migrated(target, args.shards).await?;
    let backend = queue.backend().await?;
    queue.close().await;
    let done = became(target, version_before.unwrap_or_default(), target.engine()?.newest());
    output::line(format!("{done} ({} {})", backend.name, backend.version))
}

/// What was done to the tables: they were at the one version, 0 where there were none, and are at the other.
fn became(place: impl Display, from: i64, to: i64) -> String {
    match from {
        0 => format!("made the tables in {place}: version {to}"),
        from if from == to => format!("the tables in {place} are up to date already: version {to}"),
        from => format!("upgraded the tables in {place} from version {from} to {to}"),
    }
}

fn print(target: &Target, args: &Args) -> Outcome {
    let engine = args.engine.map_or_else(|| target.engine(), Ok)?;
    if !(0..=engine.newest()).contains(&args.after) {
        let newest = engine.newest();
        return Err(Failure::usage(format!("--after {}: versions are 0 to {newest}", args.after)));
    }
    if args.shards.is_some() && !(engine.has_shards() && args.after == 0) {
        return Err(Failure::usage("--shards is for the new tables of a server"));
    }
    let table = target.table(engine)?;
    output::write(&engine.script(table.as_str(), args.after, args.shards.unwrap_or(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upgrade_says_from_which_version_to_which() {
        assert_eq!(became("tasks.db", 3, 5), "upgraded the tables in tasks.db from version 3 to 5");
    }
}
