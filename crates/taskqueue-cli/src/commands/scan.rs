//! `scan lifecycle`: applies lifecycle rules to a bucket and enqueues what is to be done. Which rule applies to what is
//! decided elsewhere; nothing is done to the bucket here.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use taskqueue_core::{Clock, Enqueued, NewTask, Queue, SystemClock, Timestamp};
use taskqueue_handlers::lifecycle::LifecycleScan;
use taskqueue_handlers::lifecycle::rules::Rules;
use taskqueue_handlers::store::{S3Config, S3Store, StoreError};

use super::MAINTENANCE_BATCH;
use crate::connect;
use crate::failure::{Code, Failure, Outcome};
use crate::output::{self, count};
use crate::progress::{Progress, Unit};
use crate::target::Target;
use crate::values;

const EXAMPLES: &str = "\
Examples:
  TASKQUEUE_S3_URL=https://key:secret@s3.example.org taskqueue scan lifecycle --bucket photos --rules rules.json
  taskqueue scan lifecycle --bucket photos --rules rules.json --s3-url 'https://s3.example.org?region=eu' --dry-run

The access key comes from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (of temporary ones AWS_SESSION_TOKEN, too), or is \
part of TASKQUEUE_S3_URL. Whoever may list the host's processes can read an argument: keep it out of --s3-url.

The rules are the JSON of S3's GetBucketLifecycleConfiguration. A task's unique key follows from the object's state and the \
action: a second scan of the same state enqueues nothing twice that is not finished. What has become a dead letter and is \
still due is enqueued again.";

/// Applies rules to what is stored and enqueues the tasks that follow.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Apply S3 lifecycle rules to a bucket
    #[command(after_help = EXAMPLES)]
    Lifecycle(Lifecycle),
}

#[derive(Debug, clap::Args)]
struct Lifecycle {
    /// The bucket
    #[arg(long)]
    bucket: String,
    /// The file that holds the rules
    #[arg(long, value_name = "FILE")]
    rules: PathBuf,
    /// The store, as https://s3.example.org?region=eu; its access key belongs into the environment (see below)
    #[arg(long, value_name = "URL", env = "TASKQUEUE_S3_URL", hide_env_values = true)]
    s3_url: String,
    /// Apply the rules as of this time, as 2026-12-31T18:00:00Z [default: now]
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    as_of: Option<Timestamp>,
    /// Enqueue nothing: print what would be, one payload a line
    #[arg(long)]
    dry_run: bool,
    /// Print the result as JSON
    #[arg(long, conflicts_with = "dry_run")]
    json: bool,
}

#[derive(Debug, Default, Serialize)]
struct Tally {
    seen: u64,
    enqueued: u64,
    repeated: u64,
}

/// Scans what was asked for.
pub(crate) async fn run(target: &Target, args: Args) -> Outcome {
    let What::Lifecycle(args) = args.what;
    if shows_a_secret(&args.s3_url, std::env::var("TASKQUEUE_S3_URL").ok().as_deref()) {
        output::note(
            "taskqueue: whoever may list this host's processes can read the secret in --s3-url: use TASKQUEUE_S3_URL",
        );
    }
    let scan = args.scan()?;
    if args.dry_run { print(scan).await } else { enqueue(target, scan, args.json).await }
}

/// Whether a URL has a password in it and was an argument.
fn shows_a_secret(url: &str, of_environment: Option<&str>) -> bool {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
    authority.contains('@') && of_environment != Some(url)
}

impl Lifecycle {
    fn scan(&self) -> Outcome<LifecycleScan> {
        let text = std::fs::read_to_string(&self.rules)
            .map_err(|error| Failure::io(format!("cannot read {}", self.rules.display()), &error))?;
        let rules =
            Rules::parse(&text).map_err(|error| Failure::from(error).context(self.rules.display()))?;
        if rules.is_empty() {
            return Err(Failure::usage(format!("{}: no rule is enabled", self.rules.display())));
        }
        let store = S3Config::from_url(&self.s3_url).and_then(S3Store::new);
        let store = store.map_err(|error| Failure::from(error).context("--s3-url"))?;
        let now = self.as_of.unwrap_or_else(|| SystemClock.now());
        Ok(LifecycleScan::new(Arc::new(store), rules, &self.bucket, now))
    }
}

async fn print(mut scan: LifecycleScan) -> Outcome {
    while let Some(found) = scan.step().await.map_err(failure)? {
        for payload in &found.payloads {
            let line = serde_json::to_string(payload);
            output::line(line.map_err(|error| Failure::failed(format!("no JSON form: {error}")))?)?;
        }
    }
    Ok(())
}

async fn enqueue(target: &Target, mut scan: LifecycleScan, json: bool) -> Outcome {
    let queue = connect::existing_or_new(target).await?;
    let mut progress = Progress::quiet("scanning", Unit::Things("versions"), 0);
    let mut tally = Tally::default();
    while let Some(found) = scan.step().await.map_err(failure)? {
        let tasks = found.payloads.iter().map(LifecycleScan::task).collect::<Result<Vec<_>, _>>()?;
        tally.seen += found.seen;
        tally.take(&*queue, tasks).await?;
        progress.set(tally.seen, &count(tally.enqueued, "task", "tasks"))?;
    }
    progress.finish();
    queue.close().await;
    if json {
        return output::json(&tally);
    }
    let Tally { seen, enqueued, repeated } = tally;
    let enqueued = count(enqueued, "task", "tasks");
    output::line(format!(
        "looked at {}: enqueued {enqueued}, {repeated} were under way before",
        count(seen, "version", "versions")
    ))
}

impl Tally {
    /// In short transactions: a page is one, unless a key has thousands of versions.
    async fn take(&mut self, queue: &dyn Queue, mut tasks: Vec<NewTask>) -> Outcome {
        while !tasks.is_empty() {
            let rest = tasks.split_off(tasks.len().min(MAINTENANCE_BATCH));
            for answer in queue.enqueue_many(std::mem::replace(&mut tasks, rest)).await? {
                match answer {
                    Enqueued::Repeated(_) | Enqueued::Duplicate(_) => self.repeated += 1,
                    _ => self.enqueued += 1,
                }
            }
        }
        Ok(())
    }
}

fn failure(error: StoreError) -> Failure {
    let code = match error.kind() {
        kind if kind.is_transient() => Code::Temporary,
        _ if error.is_not_found() => Code::NotFound,
        _ => Code::Failure,
    };
    Failure::new(code, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_in_an_argument_is_warned_of() {
        let with_key = "https://key:secret@s3.example.org/?region=eu";
        assert!(shows_a_secret(with_key, None) && shows_a_secret(with_key, Some("https://other")));
        assert!(!shows_a_secret(with_key, Some(with_key)), "it is the environment's");
        assert!(!shows_a_secret("https://s3.example.org?region=a@b", None));
    }
}
