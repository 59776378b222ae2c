//! The periodic tasks of `work`. It owns how their options are read; when they fire is the worker's.

use taskqueue_core::NewTask;
use taskqueue_worker::{Periodic, WorkerBuilder};

use crate::failure::{Failure, Outcome};
use crate::values;

/// What one of `--cron` or `--every` is given.
const VALUES: usize = 4;

const HEADING: &str = "Periodic tasks";

/// Tasks that are enqueued again and again while the worker runs.
#[derive(Debug, Default, clap::Args)]
pub(super) struct PeriodicArgs {
    /// Enqueue a task of TYPE at the times of a cron expression, five fields in quotes. May be repeated, each with a
    /// NAME of its own
    #[arg(long, num_args = VALUES, value_names = ["NAME", "EXPRESSION", "TYPE", "PAYLOAD"], conflicts_with = "drain", help_heading = HEADING)]
    cron: Vec<String>,
    /// Enqueue a task of TYPE each time that INTERVAL has passed, counted from 1970, as 60s or 1h. May be repeated
    #[arg(long, num_args = VALUES, value_names = ["NAME", "INTERVAL", "TYPE", "PAYLOAD"], conflicts_with = "drain", help_heading = HEADING)]
    every: Vec<String>,
    /// Read the expressions of --cron in this time zone, as Europe/Berlin [default: UTC]
    #[arg(long, value_name = "ZONE", requires = "cron", help_heading = HEADING)]
    time_zone: Option<String>,
}

impl PeriodicArgs {
    /// What was asked for.
    pub(super) fn periodic(&self) -> Outcome<Vec<Periodic>> {
        let cron = fours(&self.cron).map(|[name, expression, task_type, payload]| {
            let periodic = Periodic::cron(name, expression, NewTask::raw(task_type, payload.as_str())?)?;
            Ok(match &self.time_zone {
                Some(zone) => periodic.in_time_zone(zone)?,
                None => periodic,
            })
        });
        let every = fours(&self.every).map(|[name, interval, task_type, payload]| {
            let duration = values::duration(interval)
                .map_err(|error| Failure::usage(format!("work: --every {name} {interval:?}: {error}")))?;
            Ok(Periodic::every(name, duration, NewTask::raw(task_type, payload.as_str())?)?)
        });
        cron.chain(every).collect()
    }
}

/// Gives them to a worker.
pub(super) fn register(periodic: Vec<Periodic>, builder: WorkerBuilder) -> WorkerBuilder {
    periodic.into_iter().fold(builder, WorkerBuilder::periodic)
}

/// The values of an option, occurrence by occurrence.
fn fours(values: &[String]) -> impl Iterator<Item = &[String; VALUES]> {
    values.as_chunks().0.iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(cron: [&str; 4], every: [&str; 4]) -> String {
        let owned = |values: [&str; 4]| values.map(str::to_owned).to_vec();
        let args =
            PeriodicArgs { cron: owned(cron), every: owned(every), time_zone: Some("Europe/Berlin".into()) };
        args.periodic().expect_err("it must be refused").message().expect("it says why").to_owned()
    }

    #[test]
    fn what_is_wrong_with_a_periodic_task_is_said_with_its_name() {
        let (cron, every) = (["nightly", "0 3 * * *", "mail", "{}"], ["poll", "60s", "mail", "{}"]);
        let said = refusal(["nightly", "0 25 * * *", "mail", "{}"], every);
        assert!(said.contains("\"nightly\"") && said.contains("\"0 25 * * *\" is not valid"), "{said}");
        let said = refusal(cron, ["poll", "a minute", "mail", "{}"]);
        assert!(said.contains("--every poll \"a minute\"") && said.contains("write 30s"), "{said}");
        assert!(refusal(cron, ["poll", "10ms", "mail", "{}"]).contains("expected 1s at least"));
        assert!(refusal(cron, ["poll", "60s", "Mail", "{}"]).contains("Mail"));
        assert!(refusal(["nightly", "0 3 * * *", "mail", "{"], every).contains("not JSON"));
    }
}
