//! Development tasks of taskqueue. This file owns the command line; what a task does is its module's.

mod backends;
mod ci;
mod conformance;
mod counts;
mod handlers_table;
mod images;
mod own;
mod plan;
mod process;
mod programs;
mod requirement;
mod servers;
mod source;
mod sources;
mod suite;
mod table;
mod tidy;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::conformance::Wishes;
use crate::requirement::Requirement;
use crate::workspace::Workspace;

#[derive(Parser)]
#[command(bin_name = "cargo xtask", about = "Development tasks of taskqueue")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run every test that can run on this machine, then print what ran, and what did not and why
    ///
    /// Unit, integration and doc tests, then the conformance suite and the backends' other tests on database servers.
    /// Servers are found as `cargo xtask conformance` finds them; images that are not here are pulled, or, where no
    /// registry answers, built from Debian packages (as root, with a Docker engine, on Debian; a minute an image).
    Test {
        /// Only what takes seconds: unit tests, and the conformance suite on the embedded backends
        #[arg(long)]
        quick: bool,
    },
    /// Run the conformance suite on backends and print a table of what ran and what did not
    ///
    /// A server is, in this order: the one whose URL is in the environment (TASKQUEUE_POSTGRES_URL,
    /// TASKQUEUE_PGBOUNCER_URL, TASKQUEUE_MYSQL_URL, TASKQUEUE_MARIADB_URL, TASKQUEUE_COCKROACH_URL,
    /// TASKQUEUE_VITESS_URL; its user must be allowed to make and drop databases); a container, whose image is here or
    /// pulled; the programs that are installed (postgres, mysqld, mariadbd), on a throw-away data folder. What is
    /// started listens on 127.0.0.1 only, and is removed when the run ends, however it ends.
    ///
    /// PgBouncer is run in front of a PostgreSQL of its own. With TASKQUEUE_PGBOUNCER_URL, set
    /// TASKQUEUE_POSTGRES_ADMIN_URL to the URL of the server behind it.
    Conformance {
        #[arg(
            long = "backend",
            value_name = "NAME",
            help = "Only this backend: memory, sqlite, postgres, pgbouncer, mysql, mariadb, cockroach, vitess. May be \
                    given several times; the run fails when one has no server [default: the backends of --image, else \
                    all that can run here]"
        )]
        backends: Vec<String>,
        /// Run on this image, such as postgres:16, in place of those of its backend, which the name before the colon
        /// tells. May be given several times; comes before a URL in the environment; the run fails when it cannot be had
        #[arg(long = "image", value_name = "IMAGE")]
        images: Vec<String>,
        /// Fail when the suite did not run on this: a backend (mysql) or a version of one (postgres:15)
        #[arg(long = "require", value_name = "NAME")]
        requirements: Vec<Requirement>,
        /// Also write the table to this file, as JSON
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Build server images from Debian packages, for machines that reach no registry
    ///
    /// Needs root, a Docker engine and a Debian-like system; installs mmdebstrap where it is missing. Images that are
    /// here already are left alone.
    Images {
        /// Only these, such as postgres:17 [default: all that there are recipes for]
        #[arg(value_name = "IMAGE")]
        images: Vec<String>,
    },
    /// Measure the backends against bare programs on the same servers; what follows is given to taskqueue-bench
    #[command(disable_help_flag = true)]
    Bench {
        #[arg(value_name = "ARGUMENT", trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Make the table in docs/handlers.md of what the tests of handlers showed, and against which servers
    ///
    /// The tests append a line each to the file that TASKQUEUE_PROOFS names. Run them with it, then this.
    HandlersTable {
        /// The file that the tests wrote
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Change nothing; fail when the page shows something else
        #[arg(long)]
        check: bool,
    },
    /// Check the rules of the house: layers, lengths, docs, words
    Tidy,
    /// Everything that must hold before a merge: fmt, tidy, clippy, docs, dependencies, and all tests
    ///
    /// It fails when the suite did not run on each of PostgreSQL 15, 17 and 18, PgBouncer, MySQL 9.7 and MariaDB 11.8,
    /// in containers, or the handlers' tests on the Ceph S3 gateway, moto, NATS and Valkey. It ends with the line `N passed, N failed`.
    Ci,
}

fn main() -> ExitCode {
    let task = Arguments::parse().task;
    let outcome = Workspace::find().and_then(|workspace| match task {
        Task::Test { quick } => suite::run(&workspace, suite::Extent::of(quick)),
        Task::Conformance { backends, images, requirements, json } => conformance::run(
            &workspace,
            &Wishes {
                backends: &backends,
                images: &images,
                requirements: &requirements,
                json: json.as_deref(),
            },
        ),
        Task::Images { images } => images::build(&workspace, &images),
        Task::Bench { arguments } => process::succeeds(
            process::cargo()
                .args(["run", "--quiet", "--release", "--package", "taskqueue-bench", "--"])
                .args(arguments)
                .current_dir(&workspace.root),
        ),
        Task::HandlersTable { file, check } => {
            handlers_table::run(&workspace, &file, handlers_table::Mode::of(check))
        }
        Task::Tidy => tidy::run(&workspace),
        Task::Ci => ci::run(&workspace),
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
