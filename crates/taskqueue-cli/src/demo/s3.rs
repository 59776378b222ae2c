//! `demo s3`: the objects of one bucket are brought into another by discovery and ingest, with a worker killed in the
//! middle, and then compared one by one. It owns the order of the acts; the buckets are made, filled and compared in
//! `buckets`, and what is printed at the end stands in `summary`.

mod buckets;
mod summary;

use std::time::Duration;

use taskqueue_core::payloads::FederationDiscoveryPayload;
use taskqueue_core::{Clock, NewTask, Queue, QueueStats, Status, SystemClock, TaskFilter};
use taskqueue_handlers::store::{S3Config, S3Credentials};
use tokio::time::Instant;

use self::buckets::Buckets;
use self::summary::Summary;
use super::place::Place;
use super::worker_process::{Instructions, WorkerProcess};
use super::{KILL_AT_PERCENT, LOOK_INTERVAL, STALL_MAX, VISIBILITY_TIMEOUT, interrupted, refuse_leftovers};
use crate::failure::{Failure, Outcome};
use crate::output::{self, count};
use crate::progress::Progress;
use crate::stop::Stop;
use crate::target::Target;

const CONCURRENCY: usize = 16;
/// Small, so that there are several pages.
const PAGE: u32 = 100;
/// Where the workers find the access key.
const KEY_VARIABLE: &str = "TASKQUEUE_DEMO_ACCESS_KEY_ID";
const SECRET_VARIABLE: &str = "TASKQUEUE_DEMO_SECRET_ACCESS_KEY";
/// Where they find the token that a temporary access key has besides.
const TOKEN_VARIABLE: &str = "TASKQUEUE_DEMO_SESSION_TOKEN";

const EXAMPLES: &str = "\
Examples:
  taskqueue demo s3 --endpoint http://127.0.0.1:7480
  TASKQUEUE_S3_URL=http://key:secret@127.0.0.1:7480 taskqueue demo s3

It makes two buckets of its own on that server, fills one, and has a worker bring every object into the other: a task \
lists a page, and enqueues a task for each object together with the one for the next page. In the middle it kills the \
worker (SIGKILL) and starts another. At the end it compares the buckets, object by object, and removes both. The exit \
code is 1 if anything is missing, differs or is there twice.

The access key comes from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (of temporary ones AWS_SESSION_TOKEN, too), or is \
part of TASKQUEUE_S3_URL.";

/// Watch the objects of one S3 bucket being brought into another, across a kill.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The S3 server [default: that of TASKQUEUE_S3_URL]
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// The region that requests are signed for [default: that of TASKQUEUE_S3_URL, else us-east-1]
    #[arg(long)]
    region: Option<String>,
    /// How many objects to move
    #[arg(long, value_name = "OBJECTS", default_value_t = 1000)]
    objects: usize,
    /// Keep the buckets, the database and the workers' logs
    #[arg(long)]
    keep: bool,
}

/// What the acts gave, for the summary.
struct Moved {
    took: Duration,
    held: usize,
    dead_letters: u64,
}

/// Runs the demo until it ends or is to stop. What it made is removed in either case.
pub(super) async fn play(target: &Target, args: Args, stop: &mut Stop) -> Outcome {
    let config = server(&args, std::env::var("TASKQUEUE_S3_URL").ok())?;
    let place = Place::choose(target, args.keep)?;
    let buckets = Buckets::create(&config).await?;
    let played = tokio::select! {
        played = act(&place, &config, &buckets, args.objects) => played,
        () = stop.requested() => Err(interrupted()),
    };
    if args.keep {
        output::line(format!("   kept: buckets {} and {}", buckets.external, buckets.local))?;
        return played;
    }
    match (played, buckets.remove().await) {
        (Err(played), Err(removed)) => Err(played.note(removed.message().unwrap_or_default())),
        (played, removed) => played.and(removed),
    }
}

fn server(args: &Args, url: Option<String>) -> Outcome<S3Config> {
    let mut config = match (&args.endpoint, url) {
        (Some(endpoint), _) => S3Config::new(Some(endpoint.clone()), S3Credentials::from_environment()?),
        (None, Some(url)) => S3Config::from_url(&url)?,
        (None, None) => {
            return Err(Failure::usage("demo s3: name a server: --endpoint URL, or TASKQUEUE_S3_URL"));
        }
    };
    if let Some(region) = &args.region {
        config.region.clone_from(region);
    }
    config.validate()?;
    Ok(config)
}

async fn act(place: &Place, config: &S3Config, buckets: &Buckets, objects: usize) -> Outcome {
    output::line(format!("1  Filling the bucket {} with {objects} objects", buckets.external))?;
    let bytes = buckets.fill(objects).await?;
    output::line(format!("   {} of data", indicatif::HumanBytes(bytes)))?;
    let queue = place.open().await?;
    let dead_before = refuse_leftovers(&queue).await?;
    output::line(format!("2  Enqueueing one task into {}: list the bucket", place.shown()))?;
    let discovery = FederationDiscoveryPayload {
        bucket: buckets.local.clone(),
        batch_size: PAGE,
        started_at: SystemClock.now().timestamp_nanos_opt().unwrap_or_default(),
        ..FederationDiscoveryPayload::default()
    };
    queue.enqueue_many(vec![NewTask::new(&discovery)?.max_retries(10)]).await?;
    let mut moved = work(&queue, place, config, buckets, objects as u64).await?;
    moved.dead_letters -= dead_before;
    queue.close().await;
    output::line("5  Comparing the buckets, object by object")?;
    let compared = buckets.compare().await?;
    let summary = Summary { compared: &compared, bytes, moved: &moved };
    output::write(&summary.text())?;
    summary.judge()
}

async fn work(
    queue: &impl Queue,
    place: &Place,
    config: &S3Config,
    buckets: &Buckets,
    objects: u64,
) -> Outcome<Moved> {
    let told = instructions(place, config, buckets)?;
    let expected = Expected { objects, completed_before: queue.stats().await?.completed };
    let started = Instant::now();
    let first = WorkerProcess::start(&told, &place.log(1))?;
    output::line(format!("3  Bringing them into {} with worker 1 (process {})", buckets.local, first.pid()))?;
    let kill_at = (objects * KILL_AT_PERCENT).div_ceil(100);
    let first = watch(queue, first, &expected, |stats| expected.completed(stats) >= kill_at).await?;
    let pid = first.pid();
    first.kill().await?;
    let running = TaskFilter { status: Some(Status::Running), limit: 1000, ..TaskFilter::default() };
    let held = queue.list(&running).await?.tasks.len();
    let tasks = count(held as u64, "task", "tasks");
    output::line(format!("4  Killed worker 1 (SIGKILL to process {pid}) while it held {tasks}"))?;
    let second = WorkerProcess::start(&told, &place.log(2))?;
    output::line(format!("   Bringing the rest with worker 2 (process {})", second.pid()))?;
    let is_done = |stats: &QueueStats| stats.pending + stats.running + stats.failed == 0;
    watch(queue, second, &expected, is_done).await?.stop().await?;
    Ok(Moved { took: started.elapsed(), held, dead_letters: queue.stats().await?.dead_letter })
}

/// The worker's options, and the file that they name.
fn instructions(place: &Place, config: &S3Config, buckets: &Buckets) -> Outcome<Instructions> {
    let endpoint = toml::Value::from(config.endpoint.clone().unwrap_or_default());
    let region = toml::Value::from(config.region.clone());
    let (external, local) = (&buckets.external, &buckets.local);
    let text = format!(
        "[credentials.demo]\n{}\
         [store]\nendpoint = {endpoint}\nregion = {region}\ncredentials = \"demo\"\n\
         [transfer]\nmultipart_above_mib = 8\npart_mib = 5\n\
         [[federation.buckets]]\nbucket = \"{local}\"\n\
         external = {{ endpoint = {endpoint}, region = {region}, bucket = \"{external}\", credentials = \"demo\" }}\n",
        credentials_section(&config.credentials)
    );
    let path = place.file("handlers.toml");
    std::fs::write(&path, text)
        .map_err(|error| Failure::io(format!("cannot write {}", path.display()), &error))?;
    let handlers = ["--handlers", "federation_discovery,federation_ingest", "--config"];
    let handlers = handlers.map(str::to_owned).into_iter().chain([path.display().to_string()]);
    Ok(Instructions {
        target: place.target.clone(),
        handlers: handlers.collect(),
        variables: variables(&config.credentials),
        concurrency: CONCURRENCY,
        visibility_timeout: VISIBILITY_TIMEOUT,
    })
}

/// What of an access key the worker looks for, and where.
fn credentials_section(credentials: &S3Credentials) -> String {
    let field = |(name, variable): &(&str, &str)| format!("{name} = {{ env = \"{variable}\" }}\n");
    let of_all = [("access_key_id", KEY_VARIABLE), ("secret_access_key", SECRET_VARIABLE)];
    let of_temporary = credentials.session_token.is_some().then_some(("session_token", TOKEN_VARIABLE));
    of_all.iter().chain(&of_temporary).map(field).collect()
}

fn variables(credentials: &S3Credentials) -> Vec<(&'static str, String)> {
    let S3Credentials { access_key_id, secret_access_key, session_token } = credentials.clone();
    let of_temporary = session_token.map(|token| (TOKEN_VARIABLE, token));
    let of_all = [(KEY_VARIABLE, access_key_id), (SECRET_VARIABLE, secret_access_key)];
    of_all.into_iter().chain(of_temporary).collect()
}

/// What the demo's own tasks are to come to.
struct Expected {
    objects: u64,
    /// On a queue that was used before.
    completed_before: u64,
}

impl Expected {
    /// The demo's own tasks that are completed.
    fn completed(&self, stats: &QueueStats) -> u64 {
        stats.completed.saturating_sub(self.completed_before)
    }
}

/// Waits until `done` says so of what the queue holds, and shows how far it is.
async fn watch(
    queue: &impl Queue,
    mut worker: WorkerProcess,
    expected: &Expected,
    done: impl Fn(&QueueStats) -> bool,
) -> Outcome<WorkerProcess> {
    let mut progress = Progress::lines("completed", "tasks", expected.objects);
    let mut tick = tokio::time::interval(LOOK_INTERVAL);
    let mut seen = (0, Instant::now());
    loop {
        tick.tick().await;
        worker.check()?;
        let stats = queue.stats().await?;
        let completed = expected.completed(&stats);
        progress.set(completed.min(expected.objects), "")?;
        if completed != seen.0 {
            seen = (completed, Instant::now());
        }
        if done(&stats) || seen.1.elapsed() > STALL_MAX {
            return Ok(worker);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_is_the_arguments_then_the_urls() {
        let region = |region: Option<&str>, url: &str| {
            let region = region.map(str::to_owned);
            let args = Args { endpoint: None, region, objects: 1, keep: false };
            server(&args, Some(url.to_owned())).expect("it is a server").region
        };
        assert_eq!(region(None, "http://key:secret@host"), "us-east-1");
        assert_eq!(region(None, "http://key:secret@host?region=eu"), "eu");
        assert_eq!(region(Some("ap"), "http://key:secret@host?region=eu"), "ap");
    }

    #[test]
    fn a_worker_is_told_the_token_of_a_temporary_access_key() {
        let lasting = S3Credentials::new("key", "secret");
        let temporary = S3Credentials { session_token: Some("token".to_owned()), ..lasting.clone() };
        let token = format!("session_token = {{ env = \"{TOKEN_VARIABLE}\" }}\n");
        assert!(credentials_section(&temporary).ends_with(&token));
        assert_eq!(variables(&temporary).last(), Some(&(TOKEN_VARIABLE, "token".to_owned())));
        assert!(!credentials_section(&lasting).contains("session_token"));
        assert_eq!(variables(&lasting).len(), 2);
    }

    #[test]
    fn what_was_completed_before_the_demo_is_not_its_own() {
        let expected = Expected { objects: 9, completed_before: 100 };
        let stats = QueueStats { completed: 104, ..QueueStats::default() };
        assert_eq!(expected.completed(&stats), 4);
    }
}
