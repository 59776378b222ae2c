//! Measures queues of other crates, ours, and the bare limit, on the same server in the same run, in turn.

mod bars;
mod ledger;
mod peer;
mod peers;
mod report;
mod trial;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Parser;
use taskqueue_bench::document;
use taskqueue_bench::engine::{self, Engine, Kind};
use taskqueue_bench::report::{Samples, table};

use crate::report::{BARE, Figure};
use crate::trial::{Lane, Trial, Workload};

/// The engines that peers have.
const ENGINES: [Kind; 3] = [Kind::Postgres, Kind::Mysql, Kind::Sqlite];
/// Tasks of the first drain, which shows how fast a peer is.
const DRAIN_FIRST: usize = 100;
/// From one drain to the next, which is to be long enough to be measured.
const GROWTH_MAX: usize = 16;

/// Measures other queues, ours, and the bare limit on one server after the other. Let nothing else run.
///
/// Servers are those at TASKQUEUE_POSTGRES_URL and TASKQUEUE_MYSQL_URL, else containers with durable settings.
#[derive(Parser)]
struct Cli {
    /// Only this peer, beside the bare limit; may be given several times.
    #[arg(long = "peer", value_name = "NAME")]
    peers: Vec<String>,
    /// Only this engine; may be given several times.
    #[arg(long = "engine", value_name = "ENGINE")]
    engines: Vec<Kind>,
    /// Only this workload; may be given several times.
    #[arg(long = "workload", value_name = "WORKLOAD")]
    workloads: Vec<Workload>,
    /// Fewer tasks; all peers in less than half an hour.
    #[arg(long)]
    quick: bool,
    /// How often each contestant is timed, of which the median counts.
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u8).range(1..))]
    rounds: u8,
    /// Also write the figures to this file, as a JSON list.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also write the tables into this Markdown document, between its lines `<!-- peers: begin -->` and
    /// `<!-- peers: end -->`.
    #[arg(long, value_name = "FILE")]
    document: Option<PathBuf>,
    /// Where SQLite's files go, which should be on the disk that is to be measured.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    directory: PathBuf,
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

    /// A drain is to take at least this long, in seconds, unless it has all tasks that it may have.
    fn drain_seconds_min(&self) -> f64 {
        if self.quick { 1.5 } else { 4.0 }
    }

    fn wants_engine(&self, kind: Kind) -> bool {
        let has_peer = |entry: &peer::Entry| entry.kind == kind && self.wants(entry.name);
        (self.engines.is_empty() || self.engines.contains(&kind)) && peers::all().iter().any(has_peer)
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
    let folder = tempfile::tempdir_in(&cli.directory)?;
    let mut found = Found::default();
    for kind in ENGINES.into_iter().filter(|kind| cli.wants_engine(*kind)) {
        let Some(engine) = engine::find(kind, folder.path())? else {
            eprintln!("{kind}: not measured: there is neither a URL nor an image of it");
            continue;
        };
        measure(kind, &*engine, &cli, &mut found).await?;
    }
    println!("{}\n", table(&bars::bars(&found.figures)));
    for name in peers::NAMES.iter().filter(|name| cli.wants(name) && !peers::is_built(name)) {
        println!("- {name}: not built: its feature is off");
    }
    Ok(())
}

/// What a run found so far.
#[derive(Default)]
struct Found {
    figures: Vec<Figure>,
    /// Of each engine and workload.
    tables: Vec<String>,
    /// The engines with their versions.
    versions: Vec<String>,
}

async fn measure(kind: Kind, engine: &dyn Engine, cli: &Cli, found: &mut Found) -> Result<()> {
    let lax = engine.lax_settings().await?;
    if !lax.is_empty() {
        eprintln!("{kind}: WARNING: {}: commits are not durable, the figures say nothing", lax.join(", "));
    }
    found.versions.push(engine::version(engine).await?);
    let workloads = [Workload::Enqueue, Workload::Drain, Workload::Latency];
    for workload in workloads.into_iter().filter(|it| cli.workloads.is_empty() || cli.workloads.contains(it))
    {
        let mut of_workload = Vec::new();
        for trial in Trial::of(workload) {
            of_workload.extend(compare(kind, engine, cli, trial).await?);
        }
        report::share(&mut of_workload);
        found.tables.push(format!("{kind}:\n\n{}", report::table(&of_workload)));
        println!("{}\n", found.tables.last().map_or("", String::as_str));
        found.figures.extend(of_workload);
        found.publish(cli)?;
    }
    Ok(())
}

impl Found {
    fn publish(&self, cli: &Cli) -> Result<()> {
        if let Some(path) = &cli.json {
            report::write_json(&self.figures, path)?;
        }
        if let Some(path) = &cli.document {
            let bars = table(&bars::bars(&self.figures));
            let tables = self.tables.join("\n\n");
            let text = format!("{}\n\n{tables}\n\nBars:\n\n{bars}", document::machine(&self.versions));
            document::write(path, "peers", &text)?;
        }
        Ok(())
    }
}

/// One contestant while a trial runs.
struct Running {
    name: String,
    lane: Lane,
    tasks: usize,
    samples: Result<Samples>,
}

/// Every contestant in turn, so many rounds. One that fails is told and left out.
async fn compare(kind: Kind, engine: &dyn Engine, cli: &Cli, trial: Trial) -> Result<Vec<Figure>> {
    eprintln!("{kind}: {}", trial.name());
    let bare = trial.has_bare(kind).then_some(None);
    let entries = peers::all().into_iter().filter(|entry| entry.kind == kind && cli.wants(entry.name));
    let mut all = Vec::new();
    for entry in bare.into_iter().chain(entries.map(Some)) {
        let name = entry.as_ref().map_or("bare", |entry| entry.name).replace('-', "_");
        let bed = engine.bed(&format!("peer_{name}")).await?;
        let name = entry.as_ref().map_or_else(|| BARE.to_owned(), peers::title);
        let tasks = cli.tasks(trial);
        let mut running = Running { name, lane: Lane { entry, bed }, tasks, samples: Ok(Samples::default()) };
        if trial.is_drain() {
            running.find_size(trial, cli.drain_seconds_min()).await;
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
        figures.push(Figure::new(kind, &name, trial, tasks, &samples));
        lane.bed.remove().await?;
    }
    Ok(figures)
}

impl Running {
    /// Drains more and more tasks, until that takes long enough to be measured.
    async fn find_size(&mut self, trial: Trial, seconds_min: f64) {
        let most = self.tasks;
        self.tasks = DRAIN_FIRST.min(most);
        loop {
            match self.lane.run(trial, self.tasks).await {
                Ok(rates) => {
                    let seconds = number(self.tasks) / rates[0];
                    eprintln!("  {}: {} tasks in {seconds:.2} s", self.name, self.tasks);
                    if seconds >= seconds_min || self.tasks == most {
                        return;
                    }
                    self.tasks = larger(self.tasks, seconds_min / seconds).min(most);
                }
                Err(error) => return self.fail(error),
            }
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

/// So many times as many tasks, and some more, as a round number: the next drain is to be the last.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is from 2 to 16")]
fn larger(tasks: usize, times: f64) -> usize {
    tasks * ((times * 1.2).ceil() as usize).clamp(2, GROWTH_MAX)
}

#[expect(clippy::cast_precision_loss, reason = "counts of this size are exact")]
fn number(count: usize) -> f64 {
    count as f64
}
