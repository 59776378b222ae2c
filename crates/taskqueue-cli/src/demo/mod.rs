//! `demo`: real events through a real queue, a worker killed in the middle, and a proof at the end that nothing
//! was lost. It owns the order of the acts; what each does stands in its own file.

mod events;
mod place;
mod receiver;
#[cfg(feature = "s3")]
mod s3;
mod summary;
mod verify;
mod worker_process;

use std::path::PathBuf;
use std::time::Duration;

use taskqueue_core::{Clock, NewTask, Queue, Status, SystemClock, TaskFilter, TaskId, Timestamp};
use tokio::time::Instant;

use self::events::{Event, Gathered, Source};
use self::place::Place;
use self::receiver::Receiver;
use self::summary::Summary;
use self::verify::{Kill, Verdict};
use self::worker_process::{Instructions, WorkerProcess};
use crate::failure::{Code, Failure, Outcome};
use crate::output::{self, count};
use crate::progress::Progress;
use crate::stop::Stop;
use crate::target::Target;

const BATCH: usize = 1000;
const CONCURRENCY: usize = 32;
/// Short, so that the tasks of the killed worker come back while you watch.
const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(3);
/// The worker is killed when this part of the events, in percent, has arrived.
const KILL_AT_PERCENT: u64 = 40;
/// How often the demo looks at what has arrived.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// How long the last look at what was taken back may take.
const LOOK_MAX: Duration = Duration::from_secs(5);
/// With nothing new for this long, the demo ends and says what is missing.
const STALL_MAX: Duration = Duration::from_secs(60);

const EXAMPLES: &str = "\
Examples:
  taskqueue demo
  taskqueue demo --input ~/Pictures
  taskqueue demo --input events.jsonl --keep
  taskqueue --database sqlite:demo.db demo --limit 1000
  taskqueue --database \"$TASKQUEUE_DATABASE_URL\" demo

It makes an S3 ObjectCreated:Put event of every file in a folder (real key, size, MD5 and time), enqueues them \
into a SQLite file, and has a worker process deliver them to a local HTTP server. In the middle it kills the worker \
(SIGKILL) and starts another. At the end it compares what arrived with what was sent, event by event. The exit code \
is 1 if anything was lost or altered.

Nothing leaves this machine, unless --database names a server: there the demo makes tables of its own, \
taskqueue_demo and others named after it, unless --table names others, and leaves them there.";

/// Watch real tasks being enqueued, worked and kept safe across a kill.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    /// Another demo.
    #[cfg(feature = "s3")]
    #[command(subcommand)]
    other: Option<Other>,
    /// A folder, or a file with one event (JSON) a line [default: the sources that cargo has downloaded]
    #[arg(long, value_name = "PATH")]
    input: Option<PathBuf>,
    /// The most events to take from it
    #[arg(long, value_name = "EVENTS", default_value_t = 20_000)]
    limit: usize,
    /// Keep the database and the workers' logs, and say where they are
    #[arg(long)]
    keep: bool,
}

/// What else there is to watch.
#[cfg(feature = "s3")]
#[derive(Debug, clap::Subcommand)]
enum Other {
    /// Watch the objects of one S3 bucket being brought into another, across a kill
    S3(s3::Args),
}

/// What is known after the last act.
struct Run {
    due: Vec<Timestamp>,
    enqueueing: Duration,
    kill: Kill,
    dead_letters: u64,
}

/// Runs the demo, or stops it cleanly when interrupted. It runs nowhere by accident: not in the default file, and not
/// in what the environment names for other commands, only where the command line itself says so.
pub(crate) async fn run(target: &Target, args: Args) -> Outcome {
    let mut stop = Stop::listen(false)?;
    let args = match args {
        #[cfg(feature = "s3")]
        Args { other: Some(Other::S3(args)), .. } => return s3::play(target, args, &mut stop).await,
        args => args,
    };
    tokio::select! {
        outcome = play(target, args) => outcome,
        () = stop.requested() => Err(interrupted()),
    }
}

fn interrupted() -> Failure {
    Failure::new(Code::Interrupted, "demo: interrupted")
}

async fn play(target: &Target, args: Args) -> Outcome {
    let source = Source::choose(args.input)?;
    let place = Place::choose(target, args.keep)?;
    let gathered = read(source, args.limit).await?;
    let receiver =
        Receiver::start().await.map_err(|error| Failure::io("cannot start the receiver", &error))?;
    let queue = place.open().await?;
    let dead_before = refuse_leftovers(&queue).await?;
    let mut run = act(&queue, &receiver, &place, &gathered.events).await?;
    run.dead_letters -= dead_before;
    queue.close().await;
    let verdict = Verdict::of(&gathered.events, &run.due, &receiver.deliveries(), Some(&run.kill));
    let summary = Summary {
        verdict: &verdict,
        kill: &run.kill,
        dead_letters: run.dead_letters,
        enqueueing: run.enqueueing,
        kept: place.is_kept().then(|| place.options()),
    };
    output::write(&summary.text())?;
    summary.judge()
}

async fn read(source: Source, limit: usize) -> Outcome<Gathered> {
    output::line(match &source {
        Source::Folder(path) => format!("1  Making an event of every file in {}", path.display()),
        Source::JsonLines(path) => format!("1  Reading events from {}", path.display()),
    })?;
    // On a thread of its own, so that an interrupt need not wait for it.
    let gathering = tokio::task::spawn_blocking(move || source.gather(limit)).await;
    let gathered =
        gathering.map_err(|error| Failure::failed(format!("demo: reading stopped: {error}")))??;
    let events = gathered.events.len() as u64;
    let size = indicatif::HumanBytes(gathered.bytes);
    output::line(format!("   {} of objects with {size}", count(events, "event", "events")))?;
    if let Some(text) = gathered.left_out(limit) {
        output::line(format!("   {text}"))?;
    }
    if events == 0 {
        return Err(Failure::usage("demo: there is no event to deliver: name another --input"));
    }
    Ok(gathered)
}

/// The demo's proof needs a queue in which nobody else's events wait. Answers the dead letters that are there.
async fn refuse_leftovers(queue: &impl Queue) -> Outcome<u64> {
    let stats = queue.stats().await?;
    let unfinished: u64 = stats.by_type.values().sum();
    if unfinished > 0 {
        let tasks = count(unfinished, "unfinished task", "unfinished tasks");
        return Err(Failure::new(
            Code::Conflict,
            format!("demo: the queue holds {tasks}: name a new file, or another --table"),
        ));
    }
    Ok(stats.dead_letter)
}

async fn act(queue: &impl Queue, receiver: &Receiver, place: &Place, events: &[Event]) -> Outcome<Run> {
    output::line(format!("2  Enqueueing them into {}", place.shown()))?;
    let started = Instant::now();
    let due = enqueue(queue, events).await?;
    let enqueueing = started.elapsed();
    output::line(format!("   done in {:.2} s, each batch committed to disk", enqueueing.as_secs_f64()))?;
    let kill = deliver(queue, receiver, place, events.len() as u64).await?;
    let dead_letters = queue.stats().await?.dead_letter;
    Ok(Run { due, enqueueing, kill, dead_letters })
}

/// Enqueues the events, due at once. Answers when each was due.
async fn enqueue(queue: &impl Queue, events: &[Event]) -> Outcome<Vec<Timestamp>> {
    let mut due = Vec::with_capacity(events.len());
    let mut progress = Progress::lines("enqueueing", "events", events.len() as u64);
    for batch in events.chunks(BATCH) {
        let now = SystemClock.now();
        let tasks: Outcome<Vec<NewTask>> =
            batch.iter().map(|event| Ok(event.task()?.scheduled_at(now))).collect();
        queue.enqueue_many(tasks?).await?;
        due.resize(due.len() + batch.len(), now);
        progress.set(due.len() as u64, "")?;
    }
    Ok(due)
}

/// Has the events delivered, with a kill in the middle.
async fn deliver(queue: &impl Queue, receiver: &Receiver, place: &Place, total: u64) -> Outcome<Kill> {
    let told = Instructions {
        target: place.target.clone(),
        handlers: vec!["--event-webhook".into(), receiver.url(), "--allow-private".into()],
        variables: Vec::new(),
        concurrency: CONCURRENCY,
        visibility_timeout: VISIBILITY_TIMEOUT,
    };
    let first = WorkerProcess::start(&told, &place.log(1))?;
    output::line(format!(
        "3  Delivering them to {} with worker 1 (process {})",
        receiver.url(),
        first.pid()
    ))?;
    let mut watch = Watch::new(receiver, total);
    let kill_at = (total * KILL_AT_PERCENT).div_ceil(100);
    let first = watch.until(first, |arrived| async move { Ok(arrived >= kill_at) }).await?;
    watch.hide();
    let (mut kill, second) = kill_and_restart(queue, first, &told, place).await?;
    watch.show();
    let last = {
        let all = watch.until(second, |arrived| async move { Ok(arrived >= total && is_done(queue).await?) });
        let mut all = std::pin::pin!(all);
        let mut taken_back = std::pin::pin!(taken_back(queue, kill.held.clone()));
        let last = loop {
            tokio::select! {
                last = &mut all => break last?,
                time = &mut taken_back, if kill.taken_back_at.is_none() => kill.taken_back_at = Some(time?),
            }
        };
        if kill.taken_back_at.is_none() {
            // The last of them was delivered between two looks; they are all done by now.
            kill.taken_back_at = tokio::time::timeout(LOOK_MAX, taken_back).await.ok().transpose()?;
        }
        last
    };
    watch.hide();
    last.stop().await?;
    Ok(kill)
}

/// Waits until tasks that a dead worker held have been taken back, and gives the time at which it saw that.
async fn taken_back(queue: &impl Queue, held: Vec<TaskId>) -> Outcome<Timestamp> {
    let mut tick = tokio::time::interval(LOOK_INTERVAL);
    for id in held {
        while queue.get(id).await?.reclaims == 0 {
            tick.tick().await;
        }
    }
    Ok(SystemClock.now())
}

async fn kill_and_restart(
    queue: &impl Queue,
    first: WorkerProcess,
    told: &Instructions,
    place: &Place,
) -> Outcome<(Kill, WorkerProcess)> {
    let pid = first.pid();
    first.kill().await?;
    let at = SystemClock.now();
    let filter = TaskFilter {
        status: Some(Status::Running),
        limit: taskqueue_core::BATCH_MAX,
        ..TaskFilter::default()
    };
    let held: Vec<_> = queue.list(&filter).await?.tasks.into_iter().map(|task| task.id).collect();
    let tasks = count(held.len() as u64, "task", "tasks");
    let timeout = VISIBILITY_TIMEOUT.as_secs();
    output::line(format!("4  Killed worker 1 (SIGKILL to process {pid}) while it held {tasks}"))?;
    output::line(format!("   their leases end within {timeout} s; whoever looks then takes them back"))?;
    let restarted_at = SystemClock.now();
    let second = WorkerProcess::start(told, &place.log(2))?;
    output::line(format!("5  Delivering the rest with worker 2 (process {})", second.pid()))?;
    Ok((Kill { at, restarted_at, held, taken_back_at: None }, second))
}

/// Whether no task waits or runs.
async fn is_done(queue: &impl Queue) -> Outcome<bool> {
    let stats = queue.stats().await?;
    Ok(stats.pending + stats.running + stats.failed == 0)
}

/// Watches the receiver, and shows what it sees.
struct Watch<'a> {
    receiver: &'a Receiver,
    total: u64,
    progress: Progress,
}

impl<'a> Watch<'a> {
    fn new(receiver: &'a Receiver, total: u64) -> Self {
        Self { receiver, total, progress: Progress::lines("delivered", "events", total) }
    }

    fn hide(&self) {
        self.progress.finish();
    }

    fn show(&mut self) {
        self.progress = Progress::lines("delivered", "events", self.total);
    }

    /// Waits until `done` says so of the number of events that have arrived, or nothing has for too long.
    async fn until<D, F>(&mut self, mut worker: WorkerProcess, done: D) -> Outcome<WorkerProcess>
    where
        D: Fn(u64) -> F,
        F: Future<Output = Outcome<bool>>,
    {
        let mut tick = tokio::time::interval(LOOK_INTERVAL);
        let (mut seen, mut rate) =
            ((self.receiver.requests(), Instant::now()), Rate::new(self.receiver.requests()));
        loop {
            // At once, so that the kill comes where it was meant to; the tick is for when nothing arrives.
            tokio::select! {
                () = self.receiver.arrival() => {}
                _ = tick.tick() => {}
            }
            worker.check()?;
            let (arrived, requests) = (self.receiver.tasks(), self.receiver.requests());
            self.progress.set(arrived, &rate.text(requests))?;
            if requests != seen.0 {
                seen = (requests, Instant::now());
            }
            if done(arrived).await? || seen.1.elapsed() > STALL_MAX {
                return Ok(worker);
            }
        }
    }
}

/// Requests a second, over the last second.
struct Rate {
    since: Instant,
    requests: u64,
    text: String,
}

impl Rate {
    fn new(requests: u64) -> Self {
        Self { since: Instant::now(), requests, text: String::new() }
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate to look at")]
    fn text(&mut self, requests: u64) -> String {
        let elapsed = self.since.elapsed();
        if elapsed >= Duration::from_secs(1) {
            let rate = requests.saturating_sub(self.requests) as f64 / elapsed.as_secs_f64();
            let idle = requests == self.requests;
            let text = if idle { "waiting for leases to end".to_owned() } else { format!("{rate:.0}/s") };
            *self = Self { since: Instant::now(), requests, text };
        }
        self.text.clone()
    }
}
