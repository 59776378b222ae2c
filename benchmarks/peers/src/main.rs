//! Measures queues of other crates, ours, and the bare limit, on the same server in the same run, in turn.

mod ledger;
mod peer;
mod peers;
mod report;
mod trial;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Parser;
use taskqueue_bench::engine::{self, Engine, Kind};
use taskqueue_bench::report::Samples;
use tokio::time::Instant;

use crate::report::{BARE, Figure};
use crate::trial::{Lane, Trial, Workload};

/// A drain is to take at least this long, unless it has all tasks that it may have.
const DRAIN_MIN_SECONDS: f64 = 4.0;
/// Tasks of the first drain, which shows how fast a peer is.
const DRAIN_FIRST: usize = 500;

/// Measures other queues, ours, and the bare limit on one PostgreSQL. Let nothing else run.
///
/// The server is that at TASKQUEUE_POSTGRES_URL, else a container with durable settings.
#[derive(Parser)]
struct Cli {
    /// Only this peer, beside the bare limit; may be given several times.
    #[arg(long = "peer", value_name = "NAME")]
    peers: Vec<String>,
    /// Only this workload; may be given several times.
    #[arg(long = "workload", value_name = "WORKLOAD")]
    workloads: Vec<Workload>,
    /// Fewer tasks.
    #[arg(long)]
    quick: bool,
    /// How often each contestant is timed, of which the median counts.
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u8).range(1..))]
    rounds: u8,
    /// Also write the figures to this file, as a JSON list.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Cli {
    /// The most tasks of one run of a trial.
    fn tasks(&self, trial: Trial) -> usize {
        let full = match trial {
            Trial::Single { clients: 1 } => 2_000,
            Trial::Single { .. } => 8_000,
            Trial::Batch | Trial::Drain(_) => 100_000,
            Trial::Latency(_) => 300,
        };
        match trial {
            _ if !self.quick => full,
            Trial::Batch => 20_000,
            Trial::Drain(_) => 40_000,
            _ => full / 3,
        }
    }

    fn wants(&self, name: &str) -> bool {
        self.peers.is_empty() || self.peers.iter().any(|wanted| wanted == name)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    if let Some(unknown) = cli.peers.iter().find(|name| !peers::NAMES.contains(&name.as_str())) {
        bail!("there is no peer {unknown}; there are {}", peers::NAMES.join(", "));
    }
    let folder = std::env::temp_dir();
    let engine = engine::find(Kind::Postgres, &folder)?;
    let engine = engine.context("there is neither a URL nor an image of PostgreSQL")?;
    let lax = engine.lax_settings().await?;
    if !lax.is_empty() {
        eprintln!("WARNING: {}: commits are not durable, the figures say nothing", lax.join(", "));
    }
    let mut figures = Vec::new();
    let workloads = [Workload::Enqueue, Workload::Drain, Workload::Latency];
    for workload in workloads.into_iter().filter(|it| cli.workloads.is_empty() || cli.workloads.contains(it))
    {
        let mut of_workload = Vec::new();
        for trial in Trial::of(workload) {
            of_workload.extend(compare(&*engine, &cli, trial).await?);
        }
        report::share(&mut of_workload);
        println!("{}\n", report::table(&of_workload));
        figures.extend(of_workload);
        if let Some(path) = &cli.json {
            report::write_json(&figures, path)?;
        }
    }
    for name in peers::NAMES.iter().filter(|name| cli.wants(name) && !peers::is_built(name)) {
        println!("- {name}: not built: its feature is off");
    }
    Ok(())
}

/// One contestant while a trial runs.
struct Running {
    name: String,
    lane: Lane,
    tasks: usize,
    samples: Result<Samples>,
}

/// Every contestant in turn, so many rounds. One that fails is told and left out.
async fn compare(engine: &dyn Engine, cli: &Cli, trial: Trial) -> Result<Vec<Figure>> {
    eprintln!("{}", trial.name());
    let mut all = Vec::new();
    for entry in std::iter::once(None).chain(peers::all().into_iter().map(Some)) {
        if entry.as_ref().is_some_and(|entry| !cli.wants(entry.name)) {
            continue;
        }
        let bed = engine.bed(&format!("peer_{}", entry.as_ref().map_or("bare", |entry| entry.name))).await?;
        let name = entry.as_ref().map_or_else(|| BARE.to_owned(), peers::title);
        let tasks = cli.tasks(trial);
        let mut running = Running { name, lane: Lane { entry, bed }, tasks, samples: Ok(Samples::default()) };
        if trial.is_drain() {
            running.find_size(trial).await;
        }
        all.push(running);
    }
    for _ in 0..cli.rounds {
        for running in &mut all {
            running.round(trial).await;
        }
    }
    let mut figures = Vec::with_capacity(all.len());
    for Running { name, lane, tasks, samples } in all {
        figures.push(Figure::new(&name, trial, tasks, &samples));
        lane.bed.remove().await?;
    }
    Ok(figures)
}

impl Running {
    /// Drains more and more tasks, until that takes long enough to be measured.
    async fn find_size(&mut self, trial: Trial) {
        let most = self.tasks;
        self.tasks = DRAIN_FIRST.min(most);
        loop {
            let start = Instant::now();
            match self.lane.run(trial, self.tasks).await {
                #[expect(clippy::cast_precision_loss, reason = "counts of this size are exact")]
                Ok(rates) if self.tasks as f64 / rates[0] < DRAIN_MIN_SECONDS && self.tasks < most => {
                    self.tasks = most.min(self.tasks * 4);
                }
                Ok(_) => return,
                Err(error) => return self.fail(error),
            }
            eprintln!("  {}: {} tasks next, after {:.1?}", self.name, self.tasks, start.elapsed());
        }
    }

    async fn round(&mut self, trial: Trial) {
        let Ok(samples) = &mut self.samples else { return };
        match self.lane.run(trial, self.tasks).await {
            Ok(found) => {
                let found: Vec<f64> = found;
                for sample in &found {
                    samples.push(*sample);
                }
                let found: Samples = found.into_iter().collect();
                eprintln!("  {}: {:.1}", self.name, found.median());
            }
            Err(error) => self.fail(error),
        }
    }

    fn fail(&mut self, error: anyhow::Error) {
        eprintln!("  {}: {error:#}", self.name);
        self.samples = Err(error);
    }
}
