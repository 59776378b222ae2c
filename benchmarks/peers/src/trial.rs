//! One measurement of one contestant: an enqueue, a drain, latencies. It compares nothing.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use futures::future::try_join_all;
use taskqueue_bench::bare::{Finish, Signal};
use taskqueue_bench::engine::{Bed, Kind};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::ledger::Ledger;
use crate::peer::{Entry, Peer, Photo, Setting, Working};

/// What a measurement may take, and what filling a queue for it may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
/// A worker that does not stop in this time is left alone.
const STOP_MAX: Duration = Duration::from_secs(10);
/// One task each.
const PAUSE: Duration = Duration::from_millis(20);
/// What one round of latencies may take: a queue that is only polled then has fewer of them.
const LATENCIES_MAX: Duration = Duration::from_secs(8);
/// Tasks of a batch.
const BATCH: usize = 1_000;
/// How often it is asked whether the last tasks are finished.
const POLL: Duration = Duration::from_millis(2);

/// Kinds of trials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    Enqueue,
    Drain,
    Latency,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trial {
    Single { clients: usize },
    Batch,
    Drain(Setting),
    Latency(Setting),
}

impl Trial {
    /// Every trial of a workload.
    pub(crate) fn of(workload: Workload) -> Vec<Self> {
        let come = |concurrency| Setting { concurrency, is_tuned: false };
        let tuned = |concurrency| Setting { concurrency, is_tuned: true };
        match workload {
            Workload::Enqueue => vec![Self::Single { clients: 1 }, Self::Single { clients: 16 }, Self::Batch],
            Workload::Drain => vec![Self::Drain(come(10)), Self::Drain(tuned(10)), Self::Drain(tuned(100))],
            Workload::Latency => vec![Self::Latency(come(10)), Self::Latency(tuned(10))],
        }
    }

    /// What the table calls it.
    pub(crate) fn name(self) -> String {
        let tuned = |setting: Setting| if setting.is_tuned { "tuned" } else { "as it comes" };
        match self {
            Self::Single { clients: 1 } => "enqueue, one by one".to_owned(),
            Self::Single { clients } => format!("enqueue, {clients} clients"),
            Self::Batch => format!("enqueue, batches of {BATCH}"),
            Self::Drain(setting) => format!("drain, c{}, {}", setting.concurrency, tuned(setting)),
            Self::Latency(setting) => format!("latency, {}, p50 / p99 ms", tuned(setting)),
        }
    }

    /// Whether the bare program of this engine can be held against it.
    pub(crate) fn has_bare(self, kind: Kind) -> bool {
        kind == Kind::Postgres || !matches!(self, Self::Latency(_))
    }

    /// Whether fewer tasks are to be drained where that takes long.
    pub(crate) fn is_drain(self) -> bool {
        matches!(self, Self::Drain(_))
    }
}

/// Who is measured, in a database of its own.
pub(crate) struct Lane {
    /// None: the bare program.
    pub(crate) entry: Option<Entry>,
    pub(crate) bed: Box<dyn Bed>,
}

impl Lane {
    /// Runs a trial with so many tasks: tasks a second, or each latency in milliseconds.
    pub(crate) async fn run(&self, trial: Trial, tasks: usize) -> Result<Vec<f64>> {
        let Some(entry) = &self.entry else {
            return timeout(LIMIT, run_bare(&*self.bed, trial, tasks)).await.context("it took too long")?;
        };
        let url = self.bed.url()?.to_owned();
        let open = || (entry.open)(url.clone());
        let peer = open().await.context("open it")?;
        let figures = match trial {
            Trial::Single { clients } => timeout(LIMIT, singles(&*peer, clients, tasks)).await,
            Trial::Batch if !peer.has_batches() => bail!("it has no call for batches"),
            Trial::Batch => timeout(LIMIT, batches(&*peer, tasks)).await,
            Trial::Drain(setting) => {
                timeout(LIMIT, fill(&*peer, tasks)).await.context("filling it took too long")??;
                self.bed.rest().await?;
                Ok(drain(&*peer, setting, tasks).await)
            }
            Trial::Latency(setting) => {
                let producer = open().await?;
                let latencies = latencies(&*peer, &*producer, setting, tasks).await;
                producer.close().await;
                Ok(latencies)
            }
        };
        peer.close().await;
        figures.with_context(|| format!("it took more than {LIMIT:?}"))?
    }
}

async fn run_bare(bed: &dyn Bed, trial: Trial, tasks: usize) -> Result<Vec<f64>> {
    let clients = if let Trial::Single { clients } = trial { clients } else { 2 };
    let bare = bed.bare(clients).await?;
    let mut start = Instant::now();
    match trial {
        Trial::Single { clients } => {
            let bare = &bare;
            try_join_all((0..clients).map(|client| async move {
                for _ in 0..tasks / clients {
                    bare.insert(client).await?;
                }
                anyhow::Ok(())
            }))
            .await?;
        }
        Trial::Batch => {
            for _ in 0..tasks / BATCH {
                bare.insert_many(0, BATCH).await?;
            }
        }
        Trial::Drain(_) => {
            bare.fill(tasks).await?;
            bed.rest().await?;
            start = Instant::now();
            anyhow::ensure!(bare.drain(Finish::Keep).await? == tasks, "not every task was drained");
        }
        Trial::Latency(_) => {
            let latencies = bare.latencies(Signal::FromServer, tasks, PAUSE).await?;
            return Ok(latencies.into_iter().map(millis).collect());
        }
    }
    Ok(vec![rate(tasks, start)])
}

async fn singles(peer: &dyn Peer, clients: usize, tasks: usize) -> Result<Vec<f64>> {
    let start = Instant::now();
    let running = (0..clients).map(|client| async move {
        for number in (client..tasks).step_by(clients) {
            peer.enqueue(Photo::new(number)).await?;
        }
        anyhow::Ok(())
    });
    try_join_all(running).await?;
    Ok(vec![rate(tasks, start)])
}

async fn batches(peer: &dyn Peer, tasks: usize) -> Result<Vec<f64>> {
    let start = Instant::now();
    fill(peer, tasks).await?;
    Ok(vec![rate(tasks, start)])
}

async fn fill(peer: &dyn Peer, tasks: usize) -> Result<()> {
    for start in (0..tasks).step_by(BATCH) {
        peer.enqueue_many((start..tasks.min(start + BATCH)).map(Photo::new).collect()).await?;
    }
    Ok(())
}

/// From starting the worker until every handler has run and nothing is left in the database.
async fn drain(peer: &dyn Peer, setting: Setting, tasks: usize) -> Result<Vec<f64>> {
    let ((ledger, _), start) = (Ledger::open(tasks), Instant::now());
    let working = peer.work(setting).await?;
    let drained = async {
        ledger.wait_for_all(LIMIT).await?;
        timeout(LIMIT, wait_until_finished(peer)).await.context("handled tasks were not finished")??;
        Ok(vec![rate(tasks, start)])
    };
    let drained = drained.await;
    stop(working).await;
    ledger.check()?;
    drained
}

async fn wait_until_finished(peer: &dyn Peer) -> Result<()> {
    while peer.unfinished().await? > 0 {
        sleep(POLL).await;
    }
    Ok(())
}

async fn stop(working: Working) {
    if timeout(STOP_MAX, working).await.is_err() {
        eprintln!("    the worker did not stop in {STOP_MAX:?}");
    }
}

/// From before an enqueue, by another instance than the worker's, until the handler starts.
async fn latencies(peer: &dyn Peer, producer: &dyn Peer, setting: Setting, tasks: usize) -> Result<Vec<f64>> {
    let (ledger, mut started) = Ledger::open(tasks + 1);
    let (working, round) = (peer.work(setting).await?, Instant::now());
    let mut latencies = Vec::with_capacity(tasks);
    let measured = async {
        // The first one finds a worker that is still starting.
        for number in 0..=tasks {
            let start = Instant::now();
            producer.enqueue(Photo::new(number)).await?;
            let at = timeout(LIMIT, started.recv()).await.context("a task was not handled")?;
            if number > 0 {
                latencies.push(millis(at.context("the ledger is open")? - start));
            }
            if round.elapsed() > LATENCIES_MAX && !latencies.is_empty() {
                break;
            }
            sleep_until(start + PAUSE).await;
        }
        anyhow::Ok(())
    };
    let measured = measured.await;
    stop(working).await;
    ledger.check()?;
    measured.map(|()| latencies)
}

#[expect(clippy::cast_precision_loss, reason = "counts of this size are exact")]
fn rate(tasks: usize, start: Instant) -> f64 {
    tasks as f64 / start.elapsed().as_secs_f64()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
