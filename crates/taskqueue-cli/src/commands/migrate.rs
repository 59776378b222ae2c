//! `migrate`: creates or upgrades the tables, or prints the SQL that does.

use taskqueue_core::Queue;
use taskqueue_migrations::Engine;

use crate::connect;
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
    let queue = connect::migrated(target, args.shards).await?;
    let backend = queue.backend().await?;
    queue.close().await;
    let newest = target.engine()?.newest();
    output::line(format!(
        "the tables in {target} are up to date: version {newest} ({} {})",
        backend.name, backend.version
    ))
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
