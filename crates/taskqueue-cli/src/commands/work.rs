//! `work`: runs tasks until told to stop. It owns the command's options and a worker's life; which handlers the
//! options ask for is in `handlers`.

mod config;
mod documents;
mod handlers;
mod health;
mod metrics;
mod periodic;
mod program;
mod ready;
mod sinks;
#[cfg(not(feature = "s3"))]
#[path = "work/no_stores.rs"]
mod stores;
#[cfg(feature = "s3")]
mod stores;
mod watched;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use taskqueue_core::metrics::{Metrics, NAMESPACE_DEFAULT};
use taskqueue_core::{CONCURRENCY_DEFAULT, Queue, RetryPolicy, TaskType};
use taskqueue_worker::{MaintenanceConfig, Periodic, Report, RunningWorker, Worker};

use self::handlers::Handlers;
use self::health::Health;
use self::periodic::PeriodicArgs;
use self::watched::Watched;
use super::log::{self, LogFormat};
use crate::connect;
use crate::failure::{Code, Failure, Outcome};
use crate::output::{self, count};
use crate::stop::Stop;
use crate::target::Target;
use crate::values;

/// How long a database that does not answer is waited for when all is done.
const CLOSE_PERIOD: Duration = Duration::from_secs(1);

/// Of tasks that the database did not confirm the outcome of.
const UNKNOWN: &str = "outcomes unknown";

const EXAMPLES: &str = "\
Examples:
  taskqueue work --exec mail=./send-mail.sh --concurrency 4
  taskqueue work --exec note='sh -c \"jq -c . >> notes.jsonl\"'
  taskqueue work --webhook order=https://example.org/hooks/order --webhooks
  taskqueue work --event-webhook https://example.org/s3 --concurrency 32
  taskqueue work --event-file events.jsonl --drain
  taskqueue work --handlers federation_discovery,federation_ingest --config handlers.toml
  taskqueue work --handlers event,audit_log --config handlers.toml --concurrency 256
  taskqueue work --exec mail=./send-mail.sh --cron reminder '0 9 * * MON' mail '{\"to\":\"team\"}'

A worker claims only the types that it handles.

A command of --exec gets the payload, JSON, on its standard input. No shell reads it: it is split into words as a shell \
would do, and they go to the program as they are. Its exit code 0 completes the task, 65 makes it a dead letter, any other \
is a failed attempt, which is repeated until the attempts are used up. Its standard error is logged, and its end is kept \
as the error of a failed attempt; its standard output is logged where RUST_LOG asks for debug, and goes nowhere else. It \
finds in its environment TASKQUEUE_TASK_ID, TASKQUEUE_TASK_TYPE, TASKQUEUE_ATTEMPT (from 1), TASKQUEUE_MAX_RETRIES, and \
TASKQUEUE_LEASE_NUMBER, which rises with each claim of the task: what outlives a worker can refuse a lower one.

Any number of workers may be given the same --cron and --every: each time becomes one task, which is enqueued ahead, \
and is worked by whoever handles its type. Times that pass while no worker runs are left out, but for the one that was ahead.

A program of --exec that is not there or cannot be run is refused at the start, with exit code 2.

On SIGTERM, Ctrl-C or, on Linux, the end of its terminal a worker stops claiming, finishes what it runs and ends; a second signal \
ends it and its commands at once. Where the database does not answer then, it waits ten seconds for it; outcomes that are not settled by then are told \
as unknown, and their tasks may run again when their leases end.

Webhooks are signed (Standard Webhooks, HMAC-SHA256) when TASKQUEUE_WEBHOOK_SECRET or --webhook-secret-file \
gives a secret; those of --handlers when the file of --config does. docs/handlers.md has a whole such file, and says what \
each handler promises. Paths in it are seen from where the worker is started.

RUST_LOG sets what is logged, as info or warn,taskqueue_worker=debug. A SQLite file that does not exist yet is created; a server's tables are made by \
`taskqueue migrate`.";

/// Runs tasks of the types that you name handlers for, until told to stop.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Run COMMAND for each task of TYPE, with the payload (JSON) on its standard input. May be repeated
    #[arg(long, value_name = "TYPE=COMMAND", value_parser = values::pair, help_heading = "Handlers")]
    exec: Vec<(String, String)>,
    /// POST the payload of each task of TYPE to URL. May be repeated
    #[arg(long, value_name = "TYPE=URL", value_parser = values::pair, help_heading = "Handlers")]
    webhook: Vec<(String, String)>,
    /// Deliver tasks of type `webhook`: the payload names URL, headers and body
    #[arg(long, help_heading = "Handlers")]
    webhooks: bool,
    /// POST tasks of type `event` to URL, as S3 notification records
    #[arg(long, value_name = "URL", conflicts_with = "event_file", help_heading = "Handlers")]
    event_webhook: Option<String>,
    /// Append tasks of type `event` to a file, as S3 notification records, one a line
    #[arg(long, value_name = "FILE", help_heading = "Handlers")]
    event_file: Option<PathBuf>,
    /// Handle these types with the ready-made handlers, as the file of --config says: lifecycle, cleanup, restore,
    /// federation_discovery, federation_ingest, replication, event, webhook, audit_log
    #[arg(long, value_name = "TYPES", value_delimiter = ',', requires = "config", help_heading = "Handlers")]
    handlers: Vec<TaskType>,
    /// What the handlers of --handlers need to know, in TOML: stores, buckets, destinations, where secrets are
    #[arg(long, value_name = "FILE", requires = "handlers", help_heading = "Handlers")]
    config: Option<PathBuf>,
    /// Handle only these types of those above
    #[arg(long, value_name = "TYPES", value_delimiter = ',', help_heading = "Handlers")]
    types: Vec<TaskType>,
    /// Let the webhooks of --webhook, --webhooks and --event-webhook reach private addresses too: this host, the local
    /// network
    #[arg(long, help_heading = "Handlers")]
    allow_private: bool,
    /// Sign those webhooks with the secret in this file
    #[arg(long, value_name = "FILE", help_heading = "Handlers")]
    webhook_secret_file: Option<PathBuf>,
    /// How long one attempt of a command or of those webhooks may take [default: 30s for webhooks, for commands no
    /// limit]
    #[arg(long, value_name = "DURATION", value_parser = values::duration, help_heading = "Handlers")]
    timeout: Option<Duration>,

    #[command(flatten)]
    periodic: PeriodicArgs,

    /// The most tasks at once
    #[arg(long, value_name = "TASKS", default_value_t = CONCURRENCY_DEFAULT)]
    concurrency: usize,
    /// The start of the worker's id
    #[arg(long, default_value = "worker")]
    name: String,
    /// The longest wait between two looks at an idle queue. It matters where the database cannot notify the worker of
    /// new tasks: MySQL, MariaDB, CockroachDB, behind a transaction pooler
    #[arg(long, value_name = "DURATION", value_parser = values::duration, default_value = "1s")]
    poll_interval: Duration,
    /// How long a lease lasts without a heartbeat: the tasks of a killed worker run again after this [default: the
    /// queue's, 5m]
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    visibility_timeout: Option<Duration>,
    /// How often to look for tasks of killed workers
    #[arg(long, value_name = "DURATION", value_parser = values::duration, default_value = "5s")]
    reclaim_interval: Duration,
    /// How long running tasks may go on once the worker is told to stop
    #[arg(long, value_name = "DURATION", value_parser = values::duration, default_value = "30s")]
    grace_period: Duration,
    /// Remove completed and cancelled tasks that finished longer ago than this [default: never]
    #[arg(long, value_name = "AGE", value_parser = values::duration, conflicts_with = "drain")]
    retention: Option<Duration>,
    /// Remove dead letters that died longer ago than this, which nobody can redrive then [default: never]
    #[arg(long, value_name = "AGE", value_parser = values::duration, conflicts_with = "drain")]
    dead_letter_retention: Option<Duration>,
    /// Serve Prometheus metrics at /metrics, and whether claims succeed at /healthz (200 or 503), on this address, as
    /// 127.0.0.1:9090
    #[arg(long, value_name = "ADDRESS")]
    metrics_listen: Option<SocketAddr>,
    /// What the names of the metrics begin with
    #[arg(long, value_name = "NAME", value_parser = metrics::namespace, requires = "metrics_listen", default_value = NAMESPACE_DEFAULT)]
    metrics_namespace: String,
    /// How the log on standard error is written: text, or json for one object a line
    #[arg(long, value_name = "FORMAT", value_enum, hide_possible_values = true, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// Work what is due now, then end. The exit code is 0 when that is done, also where tasks have failed or become dead
    /// letters: the line at the end counts them
    #[arg(long)]
    drain: bool,
    /// Stop when standard input ends: for a parent process that may die
    #[arg(long, hide = true)]
    until_stdin_closes: bool,
}

impl Args {
    fn metrics(&self) -> Metrics {
        Metrics::new(&self.metrics_namespace)
    }
}

/// Works until told to stop.
pub(crate) async fn run(target: &Target, args: Args) -> Outcome {
    log::start(args.log_format);
    let periodic = args.periodic.periodic()?;
    let mut stop = Stop::listen(args.until_stdin_closes)?;
    let (queue, handlers) = tokio::select! {
        prepared = prepare(target, &args) => prepared?,
        () = stop.requested() => return Err(before_the_start()),
    };
    let types = handlers.types();
    let worker = build(&queue, handlers, periodic, &args)?;
    let running = if args.drain {
        worker.start_draining()
    } else {
        let at_once = count(args.concurrency as u64, "task", "tasks");
        output::note(format!("taskqueue: {} handles {types}, up to {at_once} at once", worker.id()));
        worker.start()
    };
    let report = serve(running, &mut stop, args.grace_period).await?;
    close(queue.close(), stop.requested()).await;
    output::line(text(&report))
}

/// What has to answer before the first claim: where handlers deliver to, where they find their documents, the database.
async fn prepare(target: &Target, args: &Args) -> Outcome<(Arc<dyn Queue>, Handlers)> {
    let handlers = Handlers::of(args).await?;
    let Some(address) = args.metrics_listen else {
        return Ok((connect::existing_or_new(target).await?, handlers));
    };
    let health = Arc::new(Health::new(args.poll_interval));
    metrics::serve(address, &args.metrics(), Arc::clone(&health)).await?;
    let queue = connect::existing_or_new(target).await?;
    Ok((Arc::new(Watched { queue, health }), handlers))
}

/// Says goodbye to the database, unless that takes long or the worker is told to stop once more: all that matters is
/// settled, or comes back when its lease ends.
async fn close(closed: impl Future, stop: impl Future) {
    tokio::select! {
        _ = tokio::time::timeout(CLOSE_PERIOD, closed) => {}
        _ = stop => {}
    }
}

fn build(
    queue: &Arc<dyn Queue>,
    handlers: Handlers,
    periodic: Vec<Periodic>,
    args: &Args,
) -> Outcome<Worker> {
    let mut maintenance = MaintenanceConfig::default().reclaim_interval(args.reclaim_interval);
    if let Some(age) = args.retention {
        maintenance = maintenance.retention(age);
    }
    if let Some(age) = args.dead_letter_retention {
        maintenance = maintenance.dead_letter_retention(age);
    }
    let mut builder = Worker::builder(Arc::clone(queue))
        .name(&args.name)
        .concurrency(args.concurrency)
        .poll_interval(args.poll_interval)
        .grace_period(args.grace_period)
        .metrics(args.metrics())
        // The queue's own, from here: so the log knows when a failed task is tried again.
        .retry(RetryPolicy::default())
        .maintenance(maintenance);
    if let Some(timeout) = args.visibility_timeout {
        builder = builder.visibility_timeout(timeout);
    }
    Ok(periodic::register(periodic, handlers.register(builder)).build()?)
}

async fn serve(mut worker: RunningWorker, stop: &mut Stop, grace_period: Duration) -> Outcome<Report> {
    tokio::select! {
        ended = worker.ended() => return Ok(ended?),
        () = stop.requested() => {}
    }
    let active = count(worker.active() as u64, "running task", "running tasks");
    let grace = humantime::format_duration(grace_period);
    output::note(format!(
        "taskqueue: stopping: {active} may take up to {grace}; a second signal stops at once"
    ));
    tokio::select! {
        report = worker.stop() => Ok(report),
        () = stop.requested() => Err(at_once()),
    }
}

fn before_the_start() -> Failure {
    Failure::new(Code::Interrupted, "work: interrupted before the worker started")
}

fn at_once() -> Failure {
    Failure::new(Code::Interrupted, "stopped at once: what was running comes back when its leases end")
}

fn text(report: &Report) -> String {
    let counts = [
        (report.failed, "will be tried again"),
        (report.dead_lettered, "became dead letters"),
        (report.snoozed, "put off"),
        (report.released, "handed back"),
        (report.leases_lost, "lost to another worker or cancelled"),
        (report.unconfirmed, UNKNOWN),
    ];
    let mut text = format!("worked: {} completed", output::thousands(report.completed));
    for (tasks, what) in counts.into_iter().filter(|(tasks, _)| *tasks > 0) {
        let what = if what == UNKNOWN && tasks == 1 { "outcome unknown" } else { what };
        text.push_str(&format!(", {} {what}", output::thousands(tasks)));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_database_that_does_not_answer_is_not_waited_for_at_the_end() {
        let started = Instant::now();
        close(pending::<()>(), pending::<()>()).await;
        assert_eq!(started.elapsed(), CLOSE_PERIOD);
        close(pending::<()>(), ready(())).await;
        close(ready(()), pending::<()>()).await;
        assert_eq!(started.elapsed(), CLOSE_PERIOD, "neither took any time");
    }

    #[test]
    fn what_did_not_happen_is_not_told() {
        let mut report = Report::default();
        report.completed = 1200;
        report.dead_lettered = 2;
        assert_eq!(text(&report), "worked: 1,200 completed, 2 became dead letters");
        report.unconfirmed = 1;
        assert_eq!(text(&report), "worked: 1,200 completed, 2 became dead letters, 1 outcome unknown");
        report.unconfirmed = 3;
        assert!(text(&report).ends_with(", 3 outcomes unknown"));
    }
}
