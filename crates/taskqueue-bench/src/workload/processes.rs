//! The drain by several processes at once, each with a worker of its own, as a service runs that has been scaled out;
//! against the same bare loop. Each process is this program: it opens the queue, drains a little so that it is connected as
//! a process is that has been up for a while, waits to be told, and drains.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::cost::VARIABLE;
use super::drain::{Setting, by_bare, worker};
use super::rate;
use crate::bare::Finish;
use crate::contest::Contest;
use crate::engine::{Bed, Connections, Engine, Kind, connect};
use crate::plan::Plan;
use crate::report::Figure;
use crate::tasks::Workload;

const PROCESSES: usize = 4;
/// How many tasks a process drains before it says that it is ready: as many as use every connection.
const WARM_UP: usize = 5_000;

pub(super) async fn run(kind: Kind, engine: &dyn Engine, plan: &Plan) -> Result<Vec<Figure>> {
    let bed = engine.bed("processes").await?;
    let (bed_of_all, bare) = (&*bed, &bed.bare(2).await?);
    let mut contest = Contest::default();
    contest.enter("bare", move || async move { Ok(by_bare(bare, Finish::Keep, plan.drain).await?.rate) });
    for concurrency in [10, 100] {
        contest.enter(format!("{PROCESSES} processes, c{concurrency}"), move || {
            by_processes(kind, bed_of_all, concurrency, plan.drain)
        });
    }
    let [limit, c10, c100] = contest.run(plan.rounds).await?;
    bed.remove().await?;
    let figure = |concurrency, ours| {
        let name = format!("drain, tasks/s, {PROCESSES} processes, c{concurrency} each");
        Figure::of(name, &kind.to_string(), ours, &limit, Setting::Tuned(concurrency).better(kind))
    };
    Ok(vec![figure(10, &c10), figure(100, &c100)])
}

/// Only draining is timed, until the last process says that nothing is left.
async fn by_processes(kind: Kind, bed: &dyn Bed, concurrency: usize, tasks: usize) -> Result<f64> {
    let queue = bed.open(Connections::Default).await?;
    let url = bed.url()?.to_owned();
    let crew = spawn_blocking(move || crew(kind, concurrency, &url)).await??;
    Workload::new("filler")?.fill(&*queue, tasks).await?;
    queue.close().await;
    spawn_blocking(move || drained_by(crew, tasks)).await?
}

/// The processes, ready to drain.
fn crew(kind: Kind, concurrency: usize, url: &str) -> Result<Vec<Member>> {
    let mut crew =
        (0..PROCESSES).map(|_| Member::start(kind, concurrency, url)).collect::<Result<Vec<_>>>()?;
    for member in &mut crew {
        ensure!(member.line()? == READY, "a process that drains says when it is ready");
    }
    Ok(crew)
}

fn drained_by(mut crew: Vec<Member>, tasks: usize) -> Result<f64> {
    let start = Instant::now();
    for member in &mut crew {
        member.process.stdin.take().context("stdin is piped")?.write_all(b"drain\n")?;
    }
    let mut completed = 0;
    for member in &mut crew {
        completed += member.line()?.parse::<usize>().context("a process says how many tasks it drained")?;
    }
    let elapsed = start.elapsed();
    ensure!(completed == tasks, "{completed} of {tasks} tasks were completed");
    Ok(rate(tasks, elapsed))
}

const READY: &str = "ready";

/// A process that drains. It is ended when this is dropped.
struct Member {
    process: Child,
    output: BufReader<ChildStdout>,
}

impl Member {
    fn start(kind: Kind, concurrency: usize, url: &str) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["drain-when-told", &kind.to_string(), &concurrency.to_string()]).env(VARIABLE, url);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = BufReader::new(process.stdout.take().context("stdout is piped")?);
        Ok(Self { process, output })
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        ensure!(!line.is_empty(), "a process that drains failed");
        Ok(line.trim().to_owned())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// One of the processes: says that it is ready, drains once its input says so, and prints how many tasks it completed.
///
/// # Errors
/// As the queue's.
pub async fn drain_when_told(kind: Kind, concurrency: usize) -> Result<()> {
    let url = std::env::var(VARIABLE).with_context(|| format!("{VARIABLE} is not set"))?;
    let queue = connect(kind, &url).await?;
    let setting = Setting::Tuned(concurrency);
    Workload::new("filler")?.fill(&*queue, WARM_UP).await?;
    worker(Arc::clone(&queue), setting)?.drain().await;
    println!("{READY}");
    spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await??;
    println!("{}", worker(queue, setting)?.drain().await.completed);
    Ok(())
}
