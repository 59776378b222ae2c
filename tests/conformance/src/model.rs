//! The queue as `docs/lifecycle.md` describes it, in the plainest Rust: a vector of rows and linear scans. It is
//! what every backend is compared with. It knows no locks, no indexes and no clock; `now` is an argument.

mod row;

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use taskqueue_core::backend::{Decision, check_visibility_timeout, decide_batch};
use taskqueue_core::batches::{check_batch, check_limit, validate_batch};
use taskqueue_core::clock::{add, subtract};
use taskqueue_core::new_task::check_unique_key;
use taskqueue_core::{
    Cancelled, Claim, ClaimRequest, Cleanup, Enqueued, Error, Heartbeat, Lease, LeaseToken, NewTask,
    QueueStats, Reclaimed, Redrive, Result, Settled, Settlement, State, Status, Task, TaskFilter, TaskId,
    TaskPage, TaskType, Timestamp,
};

use crate::Options;
use row::Row;
pub(crate) use row::{LEASE_ENDED, Place};

/// A queue.
#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    pub(crate) options: Options,
    rows: Vec<Row>,
    paused: BTreeSet<TaskType>,
}

impl Model {
    pub(crate) fn new(options: Options) -> Self {
        Self { options, ..Self::default() }
    }

    pub(crate) fn enqueue_many(&mut self, now: Timestamp, tasks: Vec<NewTask>) -> Result<Vec<Enqueued>> {
        validate_batch(&tasks, self.options.payload_bytes_max)?;
        let before = self.clone();
        let answers =
            tasks.into_iter().enumerate().map(|(place, task)| self.enqueue(now, place, task)).collect();
        self.keep_within_capacity("enqueue", before)?;
        Ok(answers)
    }

    fn enqueue(&mut self, now: Timestamp, place: usize, task: NewTask) -> Enqueued {
        if self.rows.iter().any(|row| row.task.id == task.id) {
            return Enqueued::Repeated(task.id);
        }
        if let Some(key) = &task.unique_key
            && let Some(holder) = self.holder_of(&task.task_type, key)
        {
            return Enqueued::Duplicate(holder.id);
        }
        let id = task.id;
        self.rows.push(Row::new(task, now, place));
        Enqueued::Created(id)
    }

    fn holder_of(&self, task_type: &TaskType, key: &str) -> Option<&Task> {
        self.rows.iter().find(|row| row.holds(task_type, key)).map(|row| &row.task)
    }

    /// A call that leaves more unfinished tasks than before and than the capacity allows never happened.
    fn keep_within_capacity(&mut self, operation: &'static str, before: Self) -> Result<()> {
        let unfinished = |model: &Self| model.rows.iter().filter(|row| row.is_unfinished()).count();
        match self.options.capacity {
            Some(capacity) if unfinished(self) > capacity && unfinished(self) > unfinished(&before) => {
                *self = before;
                Err(Error::full(operation, capacity))
            }
            _ => Ok(()),
        }
    }

    /// The ready tasks that a claim may take, in the order in which it must.
    pub(crate) fn candidates(&self, request: &ClaimRequest) -> Vec<(Place, TaskId)> {
        let wanted = |row: &&Row| {
            let task_type = &row.task.task_type;
            row.state == State::Ready && request.types.contains(task_type) && !self.paused.contains(task_type)
        };
        let mut ready: Vec<_> =
            self.rows.iter().filter(wanted).map(|row| (row.place(), row.task.id)).collect();
        ready.sort_by_key(|(place, _)| *place);
        ready
    }

    /// Claims one of the candidates under this token.
    pub(crate) fn claim(
        &mut self,
        now: Timestamp,
        request: &ClaimRequest,
        id: TaskId,
        token: LeaseToken,
    ) -> Claim {
        let until = add(now, request.visibility_timeout.unwrap_or(self.options.visibility_timeout));
        self.row(id).expect("a candidate exists").claim(now, until, request, token)
    }

    pub(crate) fn settle_many(
        &mut self,
        now: Timestamp,
        settlements: Vec<Settlement>,
    ) -> Result<Vec<Settled>> {
        let decisions = decide_batch(settlements, &self.options.retry, self.options.payload_bytes_max)?;
        let before = self.clone();
        let mut place = 0;
        let answers = decisions.into_iter().map(|decision| self.settle(now, &mut place, decision)).collect();
        self.keep_within_capacity("settle", before)?;
        Ok(answers)
    }

    fn settle(&mut self, now: Timestamp, place: &mut usize, decision: Decision) -> Settled {
        let Decision { lease, transition, follow_ups } = decision;
        match self.row(lease.task_id) {
            Some(row) if row.is_live(&lease) => row.settle(now, place, transition),
            Some(row) if row.token == Some(lease.token) && transition.is_repeat(row.state) => {
                return Settled::Repeated;
            }
            _ => return Settled::LeaseLost,
        }
        for task in follow_ups {
            self.enqueue(now, *place, task);
            *place += 1;
        }
        Settled::Applied
    }

    pub(crate) fn heartbeat_many(
        &mut self,
        now: Timestamp,
        leases: &[Lease],
        timeout: Option<Duration>,
    ) -> Result<Vec<Heartbeat>> {
        check_batch("heartbeat", leases.len())?;
        let timeout = timeout.unwrap_or(self.options.visibility_timeout);
        check_visibility_timeout("heartbeat", timeout)?;
        let mut extend = |lease: &Lease| match self.row(lease.task_id) {
            Some(row) if row.is_live(lease) => {
                row.lease_until = add(now, timeout);
                Heartbeat::Extended
            }
            _ => Heartbeat::Lost,
        };
        Ok(leases.iter().map(&mut extend).collect())
    }

    pub(crate) fn cancel(&mut self, now: Timestamp, id: TaskId) -> Result<Cancelled> {
        let row = self.row(id).ok_or_else(|| Error::task_not_found("cancel", id))?;
        let status = row.task.status;
        if status.is_finished() {
            return Ok(Cancelled::AlreadyFinished(status));
        }
        row.enter(State::Cancelled, now);
        row.token = None;
        Ok(Cancelled::From(status))
    }

    pub(crate) fn get(&self, id: TaskId) -> Result<Task> {
        let row = self.rows.iter().find(|row| row.task.id == id);
        row.map(|row| row.task.clone()).ok_or_else(|| Error::task_not_found("get", id))
    }

    pub(crate) fn holder(&self, task_type: &TaskType, key: &str) -> Result<Option<Task>> {
        check_unique_key("holder", task_type, key)?;
        Ok(self.holder_of(task_type, key).cloned())
    }

    pub(crate) fn list(&self, filter: &TaskFilter) -> Result<TaskPage> {
        filter.validate()?;
        let passes = |task: &Task| {
            filter.task_type.as_ref().is_none_or(|task_type| task.task_type == *task_type)
                && filter.status.is_none_or(|status| task.status == status)
                && filter.region.as_ref().is_none_or(|region| task.region.as_ref() == Some(region))
                && filter.after.is_none_or(|after| task.id < after)
        };
        let mut tasks: Vec<Task> = self.tasks().filter(|task| passes(task)).cloned().collect();
        tasks.sort_by_key(|task| std::cmp::Reverse(task.id));
        let page = tasks.into_iter().skip(filter.offset).take(filter.limit).collect();
        Ok(TaskPage::new(page, filter.limit))
    }

    pub(crate) fn stats(&self) -> QueueStats {
        let mut stats = QueueStats::default();
        let mut processing_ms = 0.0;
        for task in self.tasks() {
            let count = match task.status {
                Status::Pending => &mut stats.pending,
                Status::Running => &mut stats.running,
                Status::Completed => &mut stats.completed,
                Status::Failed => &mut stats.failed,
                Status::DeadLetter => &mut stats.dead_letter,
                Status::Cancelled => &mut stats.cancelled,
            };
            *count += 1;
            if task.status == Status::DeadLetter {
                *stats.dead_letter_by_type.entry(task.task_type.clone()).or_default() += 1;
            }
            if !task.status.is_finished() {
                *stats.by_type.entry(task.task_type.clone()).or_default() += 1;
            }
            if let (Status::Completed, Some(start), Some(end)) =
                (task.status, task.started_at, task.completed_at)
            {
                processing_ms += (end - start).as_seconds_f64() * 1000.0;
            }
        }
        stats.avg_processing_time_ms = processing_ms / stats.completed.max(1) as f64;
        let ready = self.rows.iter().filter(|row| row.state == State::Ready);
        stats.oldest_pending = ready.map(|row| row.ready_at).min();
        stats.scheduled = self.rows.iter().filter(|row| row.state == State::Delayed).count() as u64;
        stats
    }

    pub(crate) fn cleanup(&mut self, now: Timestamp, cleanup: Cleanup) -> Result<u64> {
        check_limit("cleanup", cleanup.limit)?;
        let gone: HashSet<TaskId> = self.old(now, cleanup).into_iter().take(cleanup.limit).collect();
        self.remove(&gone);
        Ok(gone.len() as u64)
    }

    /// The tasks that a cleanup may remove.
    pub(crate) fn old(&self, now: Timestamp, cleanup: Cleanup) -> Vec<TaskId> {
        let Cleanup { older_than, statuses, .. } = cleanup;
        let finished = |row: &Row| row.task.completed_at.filter(|_| statuses.contains(row.task.status));
        self.earliest(finished, subtract(now, older_than), usize::MAX).into_iter().map(|(_, id)| id).collect()
    }

    pub(crate) fn remove(&mut self, ids: &HashSet<TaskId>) {
        self.rows.retain(|row| !ids.contains(&row.task.id));
    }

    pub(crate) fn reclaim_stale(&mut self, now: Timestamp, limit: usize) -> Result<Reclaimed> {
        check_limit("reclaim", limit)?;
        let max_reclaims = self.options.max_reclaims;
        let stale = self.earliest(Row::lease_end, now, limit);
        let mut reclaimed = Reclaimed::default();
        for (place, (_, id)) in in_places(stale) {
            let row = self.row(id).expect("a stale row exists");
            row.reclaim(now, max_reclaims);
            row.queue_at = now + place;
            *(if row.is_unfinished() { &mut reclaimed.released } else { &mut reclaimed.dead_lettered }) += 1;
        }
        Ok(reclaimed)
    }

    pub(crate) fn promote_due(&mut self, now: Timestamp, limit: usize) -> Result<u64> {
        check_limit("promote", limit)?;
        let due = self.earliest(Row::due, now, limit);
        let promoted = due.len() as u64;
        for (place, (_, id)) in in_places(due) {
            let row = self.row(id).expect("a due row exists");
            row.enter(State::Ready, now);
            row.queue_at = now + place;
        }
        Ok(promoted)
    }

    pub(crate) fn run_now(&mut self, now: Timestamp, ids: &[TaskId]) -> Result<u64> {
        check_batch("run_now", ids.len())?;
        let mut made_ready = 0;
        for id in ids {
            if let Some(row) = self.row(*id).filter(|row| row.due().is_some()) {
                row.run_now(now, made_ready);
                made_ready += 1;
            }
        }
        Ok(made_ready)
    }

    pub(crate) fn redrive(&mut self, now: Timestamp, redrive: &Redrive) -> Result<u64> {
        redrive.validate()?;
        let (ids, limit) = match redrive {
            Redrive::Tasks(ids) => (ids.clone(), ids.len()),
            Redrive::Any { task_type, limit } => (self.dead_letters(task_type.as_ref()), *limit),
        };
        let mut redriven = 0;
        for id in ids {
            if redriven < limit as u64 && self.redrive_one(now, id) {
                redriven += 1;
            }
        }
        Ok(redriven)
    }

    fn redrive_one(&mut self, now: Timestamp, id: TaskId) -> bool {
        let Some(Task { status: Status::DeadLetter, task_type, unique_key, .. }) = self.get(id).ok() else {
            return false;
        };
        if unique_key.is_some_and(|key| self.holder_of(&task_type, &key).is_some()) {
            return false;
        }
        let row = self.row(id).expect("the dead letter exists");
        row.enter(State::Ready, now);
        row.task.attempts = 0;
        row.task.reclaims = 0;
        row.token = None;
        true
    }

    /// The ids of the dead letters, of a type or of all.
    pub(crate) fn dead_letters(&self, task_type: Option<&TaskType>) -> Vec<TaskId> {
        let dead = self.tasks().filter(|task| task.status == Status::DeadLetter);
        dead.filter(|task| task_type.is_none_or(|wanted| task.task_type == *wanted))
            .map(|task| task.id)
            .collect()
    }

    pub(crate) fn pause(&mut self, task_type: &TaskType) {
        self.paused.insert(task_type.clone());
    }

    pub(crate) fn resume(&mut self, task_type: &TaskType) {
        self.paused.remove(task_type);
    }

    pub(crate) fn paused(&self) -> Vec<TaskType> {
        self.paused.iter().cloned().collect()
    }

    pub(crate) fn tasks(&self) -> impl Iterator<Item = &Task> {
        self.rows.iter().map(|row| &row.task)
    }

    /// The earliest time after `now` at which a task becomes due or a lease ends, and which of the two.
    pub(crate) fn next_event(&self, now: Timestamp) -> Option<(Timestamp, Times)> {
        let due = self.rows.iter().filter_map(Row::due).map(|time| (time, Times::Due));
        let ends = self.rows.iter().filter_map(Row::lease_end).map(|time| (time, Times::LeaseEnd));
        due.chain(ends).filter(|(time, _)| *time > now).min_by_key(|(time, _)| *time)
    }

    /// Whether a task is due by `now` and waits to be promoted.
    pub(crate) fn has_due(&self, now: Timestamp) -> bool {
        self.rows.iter().filter_map(Row::due).any(|time| time <= now)
    }

    /// How many of the rows whose time has come by `latest`, earliest first, a limit takes. Where it would part
    /// rows of one time, which the lifecycle leaves in either order, it takes all.
    pub(crate) fn fair_limit(&self, of: Times, latest: Timestamp, limit: usize) -> usize {
        let time = match of {
            Times::Due => Row::due,
            Times::LeaseEnd => Row::lease_end,
        };
        let all = self.earliest(time, latest, usize::MAX);
        let parted = all.get(limit).is_some_and(|(next, _)| all[limit - 1].0 == *next);
        if parted { all.len() } else { limit }
    }

    fn row(&mut self, id: TaskId) -> Option<&mut Row> {
        self.rows.iter_mut().find(|row| row.task.id == id)
    }

    /// Up to `limit` rows whose time is set and not after `latest`, earliest first.
    fn earliest(
        &self,
        time: impl Fn(&Row) -> Option<Timestamp>,
        latest: Timestamp,
        limit: usize,
    ) -> Vec<(Timestamp, TaskId)> {
        let timed = self.rows.iter().filter_map(|row| Some((time(row)?, row.task.id)));
        let mut come: Vec<_> = timed.filter(|(time, _)| *time <= latest).collect();
        come.sort_by_key(|(time, _)| *time);
        come.truncate(limit);
        come
    }
}

/// The times by which a call with a limit chooses its rows.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Times {
    Due,
    LeaseEnd,
}

/// Gives each row its place in the call, in microseconds; rows of one time share the first one's.
fn in_places(rows: Vec<(Timestamp, TaskId)>) -> Vec<(Duration, (Timestamp, TaskId))> {
    let first_of = |time: Timestamp| rows.iter().position(|(other, _)| *other == time).unwrap_or(0);
    rows.iter().map(|row| (Duration::from_micros(first_of(row.0) as u64), *row)).collect()
}
