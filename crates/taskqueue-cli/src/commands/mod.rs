//! One file a command: its options, and what it does. This one owns the choice between them, and what several
//! commands have in common: the size of a batch, how times look, and what becomes of the other tasks when one fails.

pub(crate) mod cancel;
pub(crate) mod cleanup;
pub(crate) mod completions;
#[cfg(feature = "dashboard")]
pub(crate) mod dashboard;
pub(crate) mod enqueue;
pub(crate) mod get;
mod keyed;
pub(crate) mod list;
mod log;
pub(crate) mod migrate;
mod pages;
pub(crate) mod pause;
pub(crate) mod reclaim;
pub(crate) mod redrive;
pub(crate) mod run_now;
#[cfg(feature = "s3")]
pub(crate) mod scan;
pub(crate) mod stats;
pub(crate) mod work;

use std::future::Future;

use chrono::SecondsFormat;
use clap::CommandFactory;
use taskqueue_core::{TaskId, Timestamp};

use crate::args::{Cli, Command};
use crate::demo;
use crate::failure::{Code, Failure, Outcome};
use crate::output;

/// The most rows that maintenance commands touch in one transaction: short enough to let workers in between.
const MAINTENANCE_BATCH: usize = 1000;

/// Runs the command that was asked for.
pub(crate) async fn run(cli: Cli) -> Outcome {
    let target = &cli.target;
    match cli.command {
        Command::Demo(args) => demo::run(target, args).await,
        Command::Migrate(args) => migrate::run(target, args).await,
        Command::Enqueue(args) => enqueue::run(target, args).await,
        Command::Work(args) => work::run(target, *args).await,
        #[cfg(feature = "s3")]
        Command::Scan(args) => scan::run(target, args).await,
        Command::Get(args) => get::run(target, args).await,
        Command::List(args) => list::run(target, args).await,
        Command::Stats(args) => stats::run(target, args).await,
        #[cfg(feature = "dashboard")]
        Command::Dashboard(args) => dashboard::run(target, args).await,
        Command::Cancel(args) => cancel::run(target, args).await,
        Command::RunNow(args) => run_now::run(target, args).await,
        Command::Redrive(args) => redrive::run(target, args).await,
        Command::Pause(args) => pause::pause(target, args).await,
        Command::Resume(args) => pause::resume(target, args).await,
        Command::Reclaim(args) => reclaim::run(target, args).await,
        Command::Cleanup(args) => cleanup::run(target, args).await,
        Command::Completions(args) => completions::run(args, Cli::command()),
    }
}

/// A time as tables show it.
fn shown(time: Timestamp) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Calls for one task after the other; what fails. A task that cannot be had does not stop the others. A database that has
/// gone does: each of them would be waited for.
async fn each<T, Answer>(
    ids: Vec<TaskId>,
    call: impl Fn(TaskId) -> Answer,
    mut done: impl FnMut(T),
) -> Vec<Failure>
where
    Answer: Future<Output = Outcome<T>>,
{
    let mut failures = Vec::new();
    let mut ids = ids.into_iter();
    while let Some(id) = ids.next() {
        match call(id).await {
            Ok(found) => done(found),
            Err(failure) if failure.code() == Code::Temporary && ids.len() > 0 => {
                let left = output::count(ids.len() as u64, "task was not tried", "tasks were not tried");
                failures.push(failure.note(left));
                break;
            }
            Err(failure) => failures.push(failure),
        }
    }
    failures
}

/// Does something to each of these tasks; to how many. One that refuses does not stop the others, and the first such is what the exit
/// code tells, with what became of the others, said of one and of several. A database that has gone does.
async fn count_of<Answer>(
    ids: Vec<TaskId>,
    call: impl Fn(TaskId) -> Answer,
    [one_other, others]: [&str; 2],
) -> Outcome<u64>
where
    Answer: Future<Output = Outcome>,
{
    let mut done = 0;
    match first_of(each(ids, call, |()| done += 1).await) {
        None => Ok(done),
        Some(failure) if done == 0 => Err(failure),
        Some(failure) => Err(failure.note(output::count(done, one_other, others))),
    }
}

/// The failure that the exit code tells, of those that did not stop the command. The others are told here.
fn first_of(failures: Vec<Failure>) -> Option<Failure> {
    let mut failures = failures.into_iter();
    let first = failures.next();
    for failure in failures {
        output::note(format!("taskqueue: {}", failure.message().unwrap_or_default()));
    }
    first
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[tokio::test]
    async fn a_database_that_has_gone_is_not_asked_for_every_other_task() {
        let ids: Vec<_> = std::iter::repeat_with(TaskId::generate).take(5).collect();
        let answers = RefCell::new(vec![Some(Code::Temporary), None, Some(Code::Conflict)]);
        let call = async |_| match answers.borrow_mut().pop().expect("three answers are enough") {
            None => Ok(()),
            Some(code) => Err(Failure::new(code, format!("{code:?}"))),
        };
        let mut done = 0;
        let failures = each(ids, call, |()| done += 1).await;
        let said: Vec<_> = failures.iter().filter_map(Failure::message).collect();
        assert_eq!(
            (said.as_slice(), done),
            (["Conflict", "Temporary; 2 tasks were not tried"].as_slice(), 1)
        );
    }
}
