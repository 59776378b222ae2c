//! The program `taskqueue-bench`: its command line. What is measured, and how, is the library's.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use taskqueue_bench::engine::{self, Kind};
use taskqueue_bench::plan::Plan;
use taskqueue_bench::report::{Figure, table, write_json};
use taskqueue_bench::workload::{Workload, drain_when_told, watch_memory};
use taskqueue_bench::{chart, document};
use tokio::runtime::{Builder, Runtime};

/// Measures taskqueue on this machine against bare programs on the same server in the same run, and says which bars
/// are passed. Build it with --release, and let nothing else run.
///
/// Servers are those at TASKQUEUE_POSTGRES_URL, TASKQUEUE_MYSQL_URL and TASKQUEUE_MARIADB_URL, which must sync their
/// commits for the figures to mean anything; else containers with durable settings.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Every bar at a smaller size, in less than twenty minutes.
    #[arg(long)]
    quick: bool,
    /// As small as shows that everything runs; the figures mean nothing.
    #[arg(long, conflicts_with = "quick")]
    smoke: bool,
    /// Only this engine; may be given several times. Every one that there is unless given.
    #[arg(long = "engine", value_name = "ENGINE")]
    engines: Vec<Kind>,
    /// Only this workload; may be given several times.
    #[arg(long = "workload", value_name = "WORKLOAD")]
    workloads: Vec<Workload>,
    /// How often each contestant is timed, of which the median counts.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    rounds: Option<u8>,
    /// Also write the figures to this file, as a JSON list.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also write a bar chart for each engine to this folder, as SVG.
    #[arg(long, value_name = "FOLDER")]
    charts: Option<PathBuf>,
    /// Also write the table into this Markdown document, between its lines `<!-- measured: begin -->` and
    /// `<!-- measured: end -->`.
    #[arg(long, value_name = "FILE")]
    document: Option<PathBuf>,
    /// Keep SQLite files in a new folder under this one, which should be on the disk that is to be measured.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    directory: PathBuf,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Drains a paused queue and prints the memory that took.
    #[command(hide = true)]
    WatchMemory { engine: Kind, tasks: u64 },
    /// Drains a queue when its input says so, and prints how many tasks that were.
    #[command(hide = true)]
    DrainWhenTold { engine: Kind, concurrency: usize },
}

impl Command {
    fn run(self) -> Result<()> {
        match self {
            Self::WatchMemory { engine, tasks } => runtime(engine)?.block_on(watch_memory(engine, tasks)),
            Self::DrainWhenTold { engine, concurrency } => {
                runtime(engine)?.block_on(drain_when_told(engine, concurrency))
            }
        }
    }
}

/// What a run found.
#[derive(Default)]
struct Found {
    figures: Vec<Figure>,
    /// The engines with their versions.
    versions: Vec<String>,
    failures: usize,
}

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    if let Some(command) = cli.command {
        return command.run().map(|()| ExitCode::SUCCESS);
    }
    let folder = tempfile::tempdir_in(&cli.directory)?;
    let mut found = Found::default();
    for kind in Kind::ALL.into_iter().filter(|kind| cli.engines.is_empty() || cli.engines.contains(kind)) {
        measure(kind, &cli, folder.path(), &mut found)?;
    }
    println!("{}", table(&found.figures));
    let missed = found.figures.iter().filter(|figure| !figure.passed).count();
    println!("\n{} figures, {missed} bars missed, {} failures", found.figures.len(), found.failures);
    Ok(if missed + found.failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Measures an engine. What fails is told and counted, and the rest goes on: a run takes long.
fn measure(kind: Kind, cli: &Cli, folder: &Path, found: &mut Found) -> Result<()> {
    let Some(engine) = engine::find(kind, folder)? else {
        eprintln!("{kind}: not measured: there is neither a URL nor an image of it");
        found.failures += 1;
        return Ok(());
    };
    let (runtime, plan) = (runtime(kind)?, plan(cli, kind));
    found.versions.push(runtime.block_on(engine::version(&*engine))?);
    let lax = runtime.block_on(engine.lax_settings())?;
    if !lax.is_empty() {
        eprintln!("{kind}: WARNING: {}: commits are not durable, the figures say nothing", lax.join(", "));
    }
    let wanted = |workload: &&Workload| cli.workloads.is_empty() || cli.workloads.contains(workload);
    for workload in Workload::of(kind).iter().filter(wanted) {
        eprintln!("{kind}: {workload:?}");
        match runtime.block_on(workload.run(kind, &*engine, &plan, folder)) {
            Ok(figures) => found.figures.extend(figures),
            Err(error) => {
                eprintln!("{kind}: {workload:?} failed: {error:#}");
                found.failures += 1;
            }
        }
        publish(cli, found)?;
    }
    Ok(())
}

fn publish(cli: &Cli, Found { figures, versions, .. }: &Found) -> Result<()> {
    if let Some(path) = &cli.json {
        write_json(figures, path)?;
    }
    let charts = match &cli.charts {
        Some(folder) => chart::write(figures, folder)?,
        None => Vec::new(),
    };
    if let Some(path) = &cli.document {
        let charts = charts.iter().map(|chart| document::image(path, chart)).collect::<Vec<_>>().join("\n\n");
        let text = format!("{}\n\n{}\n\n{charts}", document::machine(versions), table(figures));
        document::write(path, "measured", text.trim_end())?;
    }
    Ok(())
}

fn plan(cli: &Cli, kind: Kind) -> Plan {
    let plan = match cli {
        Cli { smoke: true, .. } => Plan::smoke(),
        Cli { quick: true, .. } => Plan::quick(kind),
        _ => Plan::full(),
    };
    Plan { rounds: cli.rounds.map_or(plan.rounds, usize::from), ..plan }
}

/// One thread for the embedded engines: what memory reaches is to be what one core reaches.
fn runtime(kind: Kind) -> Result<Runtime> {
    Ok(match kind {
        Kind::Memory | Kind::Sqlite => Builder::new_current_thread().enable_all().build()?,
        _ => Builder::new_multi_thread().enable_all().build()?,
    })
}
