//! Development tasks of taskqueue. This file owns the command line; what a task does is its module's.

mod backends;
mod ci;
mod conformance;
mod counts;
mod process;
mod servers;
mod source;
mod suite;
mod tidy;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

#[derive(Parser)]
#[command(bin_name = "cargo xtask", about = "Development tasks of taskqueue")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run every test that can run on this machine, then the conformance table
    Test {
        /// Only what takes seconds: unit tests, and the conformance suite on the embedded backends
        #[arg(long)]
        quick: bool,
    },
    /// Run the conformance suite on backends and print a table
    Conformance {
        /// Only this backend; may be given several times
        #[arg(long = "backend", value_name = "NAME")]
        backends: Vec<String>,
        /// Also write the table to this file, as JSON
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Build database server images from Debian packages, where no registry answers (root, Docker, mmdebstrap)
    Images {
        /// Only these, such as postgres:17
        #[arg(value_name = "IMAGE")]
        images: Vec<String>,
    },
    /// Check the rules of the house: layers, lengths, docs, words
    Tidy,
    /// Everything that must hold before a merge: fmt, clippy, tidy, docs, dependencies, test
    Ci,
}

fn main() -> ExitCode {
    let task = Arguments::parse().task;
    let outcome = Workspace::find().and_then(|workspace| match task {
        Task::Test { quick } => suite::run(&workspace, suite::Extent::of(quick)),
        Task::Conformance { backends, json } => conformance::run(&workspace, &backends, json.as_deref()),
        Task::Images { images } => servers::build_images(&workspace, &images),
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
