//! How fast workers drain a filled queue together: by engine, workers and batch size, in tasks a second. Criterion
//! measures the time; what it has no place for (the time of a claim, empty claims, repeated transactions) is printed,
//! and written to `contention.json` beside criterion's own figures.
//!
//! The whole grid takes about ten minutes on two cores, half of it on MySQL and MariaDB: drains are small and samples
//! few, enough to show how the engines bend, not their last per cent. `TASKQUEUE_BENCH_QUICK=1` runs a third of it. A
//! filter is criterion's: `-- postgres` measures, and starts, that engine only; `-- mysql/batch_1/` a part of it.
//! `TASKQUEUE_BENCH_DOCUMENT=docs/performance/contention.md` writes the tables into that page of the project, each
//! between its engine's marks; a filter for a part of an engine is not for that.
//!
//! Servers are found as the load generator finds them, and have durable settings.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use serde::Serialize;
use taskqueue_bench::document;
use taskqueue_bench::engine::{self, Bed, Connections, Engine, Kind};
use taskqueue_bench::report::Samples;
use taskqueue_bench::tasks::Workload;
use taskqueue_bench::workload::contention::{Contended, drain_together};
use taskqueue_core::Queue;
use tokio::runtime::Runtime;

/// One place of the grid.
#[derive(Clone, Copy)]
struct Cell {
    kind: Kind,
    workers: u32,
    batch: usize,
    /// Tasks of one drain.
    tasks: usize,
}

/// What criterion has no place for.
#[derive(Serialize)]
struct Beside {
    engine: String,
    workers: u32,
    batch: usize,
    tasks_per_second: f64,
    claim_p50_ms: f64,
    claim_p99_ms: f64,
    claims: usize,
    empty_claims: usize,
    deadlock_retries: u64,
}

/// All drains of one place.
#[derive(Default)]
struct Sum {
    tasks: usize,
    elapsed: Duration,
    claims: Vec<f64>,
    empty_claims: usize,
    retries: u64,
}

impl Sum {
    fn add(&mut self, tasks: usize, drained: Contended) {
        self.tasks += tasks;
        self.elapsed += drained.elapsed;
        self.claims.extend(drained.claims);
        self.empty_claims += drained.empty_claims;
        self.retries += drained.retries;
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 52 bits")]
    fn beside(self, cell: Cell) -> Beside {
        let (claims, samples) = (self.claims.len(), self.claims.into_iter().collect::<Samples>());
        Beside {
            engine: cell.kind.to_string(),
            workers: cell.workers,
            batch: cell.batch,
            tasks_per_second: self.tasks as f64 / self.elapsed.as_secs_f64(),
            claim_p50_ms: samples.quantile(0.5),
            claim_p99_ms: samples.quantile(0.99),
            claims,
            empty_claims: self.empty_claims,
            deadlock_retries: self.retries,
        }
    }
}

fn dequeue_contention(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime can be started");
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder can be made");
    let mut all = Vec::new();
    for kind in Kind::ALL.into_iter().filter(|kind| is_wanted(*kind)) {
        let Some(engine) = engine::find(kind, folder.path()).expect("the server starts") else {
            eprintln!("{kind}: not measured: there is neither a URL nor an image of it");
            continue;
        };
        let version = runtime.block_on(engine::version(&*engine)).expect("the engine tells its version");
        let besides = measure(criterion, &runtime, kind, &*engine);
        document(kind, &version, &besides);
        all.extend(besides);
    }
    write(&all);
}

/// Criterion's filter may name an engine: then the others need not be started.
fn is_wanted(kind: Kind) -> bool {
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let names = |kind: Kind| filter.contains(&kind.to_string());
    names(kind) || !Kind::ALL.into_iter().any(names)
}

fn measure(criterion: &mut Criterion, runtime: &Runtime, kind: Kind, engine: &dyn Engine) -> Vec<Beside> {
    let mut besides = Vec::new();
    let mut group = criterion.benchmark_group(format!("dequeue_contention/{kind}"));
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    group.warm_up_time(Duration::from_millis(50)).measurement_time(Duration::from_millis(500));
    for cell in grid(kind) {
        group.throughput(Throughput::Elements(cell.tasks as u64));
        let (bed, queue) = runtime.block_on(open(engine, cell)).expect("the queue opens");
        let id = BenchmarkId::new(format!("batch_{}", cell.batch), format!("workers_{}", cell.workers));
        let mut sum = Sum::default();
        group.bench_function(id, |bencher| {
            bencher.iter_custom(|drains| runtime.block_on(time(&queue, drains, cell, &mut sum)));
        });
        runtime.block_on(queue.close());
        runtime.block_on(bed.remove()).expect("the bed is removed");
        // Criterion skips what its filter leaves out.
        if sum.tasks > 0 {
            besides.push(sum.beside(cell));
            println!("{}", serde_json::to_string(besides.last().expect("one was added")).expect("JSON"));
        }
    }
    group.finish();
    besides
}

/// The workers and batches that are measured.
fn grid(kind: Kind) -> Vec<Cell> {
    let is_quick = std::env::var_os("TASKQUEUE_BENCH_QUICK").is_some_and(|value| value != "0");
    let workers: &[u32] = if is_quick { &[1, 4, 16, 64] } else { &[1, 2, 4, 8, 16, 64] };
    let batches: &[usize] = if is_quick { &[1, 100] } else { &[1, 10, 100, 500] };
    let cell =
        |batch: usize, workers: u32| Cell { kind, workers, batch, tasks: tasks_of_a_drain(kind, batch) };
    batches.iter().flat_map(|batch| workers.iter().map(move |workers| cell(*batch, *workers))).collect()
}

async fn open(engine: &dyn Engine, cell: Cell) -> anyhow::Result<(Box<dyn Bed>, Arc<dyn Queue>)> {
    let bed = engine.bed("contention").await?;
    let queue = bed.open(Connections::Most(cell.workers + 2)).await?;
    Ok((bed, queue))
}

/// The time of so many drains, filling left out.
async fn time(queue: &Arc<dyn Queue>, drains: u64, cell: Cell, sum: &mut Sum) -> Duration {
    let workload = Workload::new("filler").expect("the name is a worker id");
    let mut total = Duration::ZERO;
    for _ in 0..drains {
        workload.fill(&**queue, cell.tasks).await.expect("the queue takes the tasks");
        let drained = drain_together(queue, cell.tasks, cell.workers as usize, cell.batch).await;
        let drained = drained.expect("the queue gives the tasks");
        total += drained.elapsed;
        sum.add(cell.tasks, drained);
    }
    total
}

/// A durable commit costs milliseconds on a plain disk: small batches get few tasks.
fn tasks_of_a_drain(kind: Kind, batch: usize) -> usize {
    match kind {
        Kind::Memory => 10_000,
        Kind::Sqlite => (batch * 20).clamp(50, 2_000),
        Kind::Postgres => (batch * 40).clamp(200, 10_000),
        Kind::Mysql | Kind::Mariadb => (batch * 20).clamp(200, 5_000),
    }
}

/// Writes an engine's table into the page that the environment names, if it does.
fn document(kind: Kind, version: &str, besides: &[Beside]) {
    let Some(page) = std::env::var_os("TASKQUEUE_BENCH_DOCUMENT") else { return };
    if besides.is_empty() {
        return;
    }
    // Cargo runs benches in their package's folder.
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(page);
    let text = format!("{}\n\n{}", document::machine(&[version.to_owned()]), table(besides));
    document::write(&path, &format!("contention {kind}"), &text).expect("the page has the engine's marks");
    println!("written: {}", path.display());
}

fn table(besides: &[Beside]) -> String {
    let mut table = "| batch | workers | tasks/s | claim p50, ms | p99, ms | claims | empty | repeated |\n\
        |--:|--:|--:|--:|--:|--:|--:|--:|"
        .to_owned();
    for beside in besides {
        let Beside { workers, batch, tasks_per_second, claims, empty_claims, deadlock_retries, .. } = beside;
        let (p50, p99) = (beside.claim_p50_ms, beside.claim_p99_ms);
        // Writing to a string cannot fail.
        let _ = write!(
            table,
            "\n| {batch} | {workers} | {tasks_per_second:.0} | {p50:.2} | {p99:.2} | {claims} | {empty_claims} | \
             {deadlock_retries} |"
        );
    }
    table
}

/// Beside criterion's own figures, in the target folder: this program is in `<target>/release/deps`.
fn write(besides: &[Beside]) {
    let program = std::env::current_exe().expect("the program has a path");
    let target = program.ancestors().nth(3).map(PathBuf::from).unwrap_or_default();
    let path = target.join("criterion/contention.json");
    let text = serde_json::to_string_pretty(besides).expect("figures have a JSON form");
    if !besides.is_empty() && std::fs::write(&path, text).is_ok() {
        println!("written: {}", path.display());
    }
}

criterion_group!(benches, dequeue_contention);
criterion_main!(benches);
