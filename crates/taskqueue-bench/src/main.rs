//! The program `taskqueue-bench`: its command line. What is measured, and how, is the library's.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use taskqueue_bench::engine::Engine;
use taskqueue_bench::report::{Figure, publish};
use taskqueue_bench::{cycle, history};

/// Measures taskqueue on this machine. Build it with --release, and let nothing else run.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
struct Output {
    /// Also write the figures to this file, as a JSON list.
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Keep database files in a new folder under this one, which should be on the disk that is to be measured.
    #[arg(long, global = true, value_name = "FOLDER", default_value = ".")]
    directory: PathBuf,
    /// Only this engine; every one unless given.
    #[arg(long, global = true)]
    engine: Option<Engine>,
}

#[derive(Subcommand)]
enum Command {
    /// Enqueue, claim and complete: memory against 1,000,000 a second, SQLite against a bare loop.
    Cycle {
        /// Tasks a batch.
        #[arg(long, default_value_t = 100)]
        batch: usize,
        /// Samples, of which the median counts.
        #[arg(long, default_value_t = 11)]
        samples: usize,
    },
    /// Claim and settle beside a short and a long history.
    History {
        /// Finished tasks of the short history.
        #[arg(long, default_value_t = 1_000)]
        short: usize,
        /// Finished tasks of the long history.
        #[arg(long, default_value_t = 1_000_000)]
        long: usize,
        /// Tasks a batch.
        #[arg(long, default_value_t = 100)]
        batch: usize,
        /// Samples, of which the median counts.
        #[arg(long, default_value_t = 201)]
        samples: usize,
    },
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    // One thread: what memory reaches is to be what one core reaches.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let figures = runtime.block_on(measure(&cli))?;
    publish(&figures, cli.output.json.as_deref())
}

async fn measure(cli: &Cli) -> Result<Vec<Figure>> {
    let folder = tempfile::tempdir_in(&cli.output.directory)?;
    let mut figures = Vec::new();
    let engines =
        Engine::ALL.into_iter().filter(|engine| cli.output.engine.is_none_or(|only| only == *engine));
    for engine in engines {
        match &cli.command {
            Command::Cycle { batch, samples } => {
                let plan = cycle::Plan { batch: *batch, samples: *samples };
                figures.push(cycle::run(engine, plan, folder.path()).await?);
            }
            Command::History { short, long, batch, samples } => {
                let plan = history::Plan { short: *short, long: *long, batch: *batch, samples: *samples };
                figures.extend(history::run(engine, plan, folder.path()).await?);
            }
        }
    }
    Ok(figures)
}
