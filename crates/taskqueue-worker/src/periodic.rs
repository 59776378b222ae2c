//! Tasks that come again and again: what a periodic task is, and which task each of its fires becomes. When it fires is in
//! `times`, and what enqueues it in `ahead`.

pub(crate) mod ahead;
mod times;

use std::time::Duration;

use taskqueue_core::{Error, IntoTask, NewTask, Result, Schedule, TaskId, Timestamp};

use self::times::Times;

/// The longest name, in characters.
const NAME_CHARS_MAX: usize = 100;
/// The metadata of a fire's task: the name of what fired.
const NAME_KEY: &str = "periodic";
/// The metadata of a fire's task: the time of the fire, as in `2026-01-02T03:00:00Z`.
const FIRE_KEY: &str = "fire_at";

/// A task that is enqueued again and again, at fixed times: give it to
/// [`WorkerBuilder::periodic`](crate::WorkerBuilder::periodic) of as many workers as you like.
///
/// Guarantees: each fire becomes one task, however many workers have it, and without a leader among them: its id is derived
/// from the name, the type and the time of the fire. A worker enqueues the next fire ahead, delayed until its time, so that
/// it is stored before it is due. Times are the queue's, whatever the hosts' clocks say. What lies in the past is never
/// enqueued. So of the fires that pass while no worker runs only the one runs that was enqueued ahead, when a worker
/// is back; where a fire must not be left out, let its handler look at what was done so far.
///
/// At least once: as any task, a fire may be handled more often. Where finished tasks are removed, it may also be enqueued a
/// second time: by a worker that stands still between asking for the time and enqueuing for as long as the fire was ahead.
///
/// A fire is an ordinary task: it has the priority, the attempts, the region and the metadata of the task that was given; the metadata
/// `periodic` is the name, and `fire_at` the time of the fire, as in `2026-01-02T03:00:00Z`. It starts as late as other
/// delayed tasks do (a [promotion](crate::MaintenanceConfig) and a free slot). While its type is paused its
/// fires wait, all of them. With a [unique key](NewTask::unique_key) fires do not overlap: none is
/// enqueued before the one before is finished, and one is left out whose time comes first.
///
/// ```
/// use std::time::Duration;
/// use taskqueue_worker::{NewTask, Periodic};
///
/// # fn main() -> taskqueue_worker::Result<()> {
/// let poll = Periodic::every("poll-inbox", Duration::from_secs(60), NewTask::raw("poll", "{}")?)?;
/// let report = Periodic::cron("nightly-report", "0 3 * * *", NewTask::raw("report", "{}")?.max_retries(10))?;
/// assert!(Periodic::cron("typo", "0 25 * * *", NewTask::raw("report", "{}")?).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Periodic {
    name: String,
    times: Times,
    task: NewTask,
}

impl Periodic {
    /// Fires each time that a multiple of `interval` has passed since 1970 began in UTC, so that all workers agree: with an hour on
    /// the hour. Parts below a microsecond are cut off.
    ///
    /// `name` says which periodic task it is: 1 to 100 characters without control characters. Workers that have the same
    /// name, type and times enqueue the same fires. `task` is a payload or a [`NewTask`]; its id is replaced.
    ///
    /// # Errors
    /// `InvalidInput`, naming it, for an interval of less than a second or more than a thousand years, a malformed name, a task with
    /// a time of its own or outside a limit; and as [`IntoTask::into_task`].
    pub fn every(name: impl Into<String>, interval: Duration, task: impl IntoTask) -> Result<Self> {
        let name = name.into();
        let times = Times::every(interval).map_err(|wrong| refused(&name, &wrong))?;
        Self::of(name, times, task)
    }

    /// Fires at the times of a cron expression: minute, hour, day of the month, month and day of the week (0 and 7 are
    /// Sunday; names as `MON` and `JAN` are taken), as in `0 3 * * *`; with six fields the first is the second. Lists (`1,15`), ranges
    /// (`1-5`) and steps (`*/10`) are taken, `L`, `W` and `#` for days, and `@hourly`, `@daily`, `@weekly`, `@monthly` and `@yearly`. Where both days are
    /// restricted, either will do. In UTC, unless a time zone is set.
    ///
    /// When the expression or the time zone is changed, the fire that was enqueued by the old one still runs; cancel it by
    /// its id ([`task_at`](Self::task_at)). While workers of both versions run, so do the fires of both.
    ///
    /// # Errors
    /// As [`every`](Self::every), and `InvalidInput` with the expression and what was expected when it is none or never fires.
    pub fn cron(name: impl Into<String>, expression: &str, task: impl IntoTask) -> Result<Self> {
        let name = name.into();
        let times = Times::cron(expression).map_err(|wrong| refused(&name, &wrong))?;
        Self::of(name, times, task)
    }

    /// Reads the cron expression in this time zone, as in `Europe/Berlin`. One with one value each for the hour, the minute and the
    /// second is a fixed time: where clocks are put forward, one that is left out fires right after the gap, and where they are
    /// put back, it fires once, the first time. Any other, with a list, a range, a step or a `*` among these three, does not fire in the
    /// gap, and fires in both hours: so does `30 2,14 * * *`.
    ///
    /// # Errors
    /// `InvalidInput` when the IANA database has no zone of this name, or for one that is no cron expression's.
    #[cfg(feature = "time-zones")]
    pub fn in_time_zone(mut self, zone: &str) -> Result<Self> {
        self.times = self.times.in_time_zone(zone).map_err(|wrong| refused(&self.name, &wrong))?;
        Ok(self)
    }

    fn of(name: String, times: Times, task: impl IntoTask) -> Result<Self> {
        let chars = name.chars().count();
        if chars == 0 || chars > NAME_CHARS_MAX || name.chars().any(char::is_control) {
            let wrong = format!("the name is not 1 to {NAME_CHARS_MAX} printable characters; it has {chars}");
            return Err(refused(&name, &wrong));
        }
        let task = task.into_task()?.metadata(NAME_KEY, name.as_str());
        if task.schedule != Schedule::Now {
            return Err(refused(
                &name,
                "its task has a delay or a time of its own; a fire's time is its own",
            ));
        }
        let periodic = Self { name, times, task };
        // The queue's own limit of payloads is checked at each enqueue.
        periodic.task_at(Timestamp::UNIX_EPOCH).validate(usize::MAX)?;
        Ok(periodic)
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first fire after `time`; `None`: there is none that a clock could tell.
    pub fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        self.times.next_after(time)
    }

    /// The task that the fire at this time becomes: with the id by which it is found.
    pub fn task_at(&self, fire: Timestamp) -> NewTask {
        let task = self.task.clone();
        let mut id = TaskId::derived(fire, &["periodic", &self.name, task.task_type.as_str()]);
        if let Some(key) = &task.unique_key {
            id = id.with_unique_key(&task.task_type, key);
        }
        task.id(id).scheduled_at(fire).metadata(FIRE_KEY, text(fire))
    }
}

/// Checks that no two have one name.
///
/// # Errors
/// `InvalidInput`, naming it.
pub(crate) fn check_names(all: &[Periodic]) -> Result<()> {
    for (index, periodic) in all.iter().enumerate() {
        if all[..index].iter().any(|other| other.name == periodic.name) {
            let message = format!("two periodic tasks of the name {:?}: give each its own", periodic.name);
            return Err(Error::invalid_input("worker", message));
        }
    }
    Ok(())
}

fn refused(name: &str, wrong: &str) -> Error {
    let shown: String = name.chars().take(NAME_CHARS_MAX + 1).collect();
    Error::invalid_input("worker", format!("periodic task {shown:?}: {wrong}"))
}

/// A time as people read it.
fn text(time: Timestamp) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
}

#[cfg(test)]
mod tests;
