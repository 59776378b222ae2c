//! What the queue holds, and the hot path over it: enqueue, claim, settle, heartbeat, cancel. Each call decides
//! everything before it changes anything, so that a refused call leaves no trace. It knows no lock, no clock
//! and no async.

use std::collections::{BTreeSet, HashSet};

use taskqueue_core::backend::Decision;
use taskqueue_core::{
    Cancelled, Claim, Completed, Enqueued, Error, Heartbeat, Lease, NewTask, Result, Settled, State, TaskId,
    TaskType, Timestamp,
};

use crate::index::Indexes;
use crate::rising::Slot;
use crate::row::{ClaimTerms, Moment, Row};
use crate::rows::Rows;

/// The tasks and everything that finds them.
#[derive(Default)]
pub(crate) struct Store {
    pub(crate) rows: Rows,
    pub(crate) indexes: Indexes,
    pub(crate) paused: BTreeSet<TaskType>,
    pub(crate) capacity: Option<usize>,
    completed: Completed,
    next_sequence: u64,
}

impl Store {
    /// An empty store that takes at most `capacity` unfinished tasks.
    pub(crate) fn new(capacity: Option<usize>, completed: Completed) -> Self {
        Self { capacity, completed, ..Self::default() }
    }

    /// Adds all tasks or none. They are valid.
    pub(crate) fn enqueue(&mut self, tasks: Vec<NewTask>, now: Timestamp) -> Result<Vec<Enqueued>> {
        self.check_room("enqueue", tasks.len(), || tasks.iter(), &[])?;
        let mut moment = Moment::new(now);
        Ok(tasks.into_iter().map(|task| self.add(task, &mut moment)).collect())
    }

    /// Claims up to `limit` ready tasks of the types, in the order of claims over all of them.
    pub(crate) fn claim(&mut self, types: &[TaskType], limit: usize, terms: &ClaimTerms) -> Vec<Claim> {
        let types: BTreeSet<&TaskType> = types.iter().filter(|name| !self.paused.contains(*name)).collect();
        let numbers: Vec<usize> =
            types.into_iter().filter_map(|name| self.indexes.known_number_of(name)).collect();
        let ready: usize = numbers.iter().map(|number| self.indexes.ready_count(*number)).sum();
        let mut claims = Vec::with_capacity(ready.min(limit));
        while claims.len() < limit
            && let Some(slot) = self.first_ready(&numbers)
        {
            self.change(slot, |row| row.claim(terms));
            let row = &self.rows[slot];
            let (task, lease) = (row.task.clone(), row.lease(terms));
            claims.push(Claim { task, lease, ready_at: row.ready_at });
        }
        claims
    }

    /// Settles what is leased by these decisions; the follow-ups of what was applied arrive after all of it.
    pub(crate) fn settle(&mut self, decisions: Vec<Decision>, now: Timestamp) -> Result<Vec<Settled>> {
        let found: Vec<Found> = decisions.iter().map(|decision| self.find(decision)).collect();
        self.check_room_for_follow_ups(&decisions, &found)?;
        let mut moment = Moment::new(now);
        let mut follow_ups = Vec::new();
        for (decision, found) in decisions.into_iter().zip(&found) {
            if let Found::Leased(slot) = found {
                self.change(*slot, |row| row.settle(decision.transition, &mut moment));
                self.forget_if_deleted(*slot);
                follow_ups.extend(decision.follow_ups);
            }
        }
        for task in follow_ups {
            self.add(task, &mut moment);
        }
        Ok(found.iter().map(Found::answer).collect())
    }

    /// Extends the leases that are live.
    pub(crate) fn heartbeat(&mut self, leases: &[Lease], until: Timestamp) -> Vec<Heartbeat> {
        leases.iter().map(|lease| self.extend(lease, until)).collect()
    }

    /// Cancels a task that is not finished.
    pub(crate) fn cancel(&mut self, id: TaskId, now: Timestamp) -> Result<Cancelled> {
        let slot = self.rows.find(id).ok_or_else(|| Error::task_not_found("cancel", id))?;
        let status = self.rows[slot].task.status;
        if status.is_finished() {
            return Ok(Cancelled::AlreadyFinished(status));
        }
        self.change(slot, |row| row.cancel(now));
        Ok(Cancelled::From(status))
    }

    /// Applies one change to one row. The only way in which a row changes state: whatever it was in before, the
    /// indexes agree with it afterwards.
    pub(crate) fn change<T>(&mut self, slot: Slot, apply: impl FnOnce(&mut Row) -> T) -> T {
        let row = &mut self.rows[slot];
        let was_unfinished = row.is_unfinished();
        self.indexes.remove(row);
        let answer = apply(row);
        self.indexes.add(row, slot);
        match (was_unfinished, row.is_unfinished()) {
            (true, false) => self.indexes.let_go(row),
            (false, true) => self.indexes.hold(row, slot),
            _ => {}
        }
        answer
    }

    /// Forgets a row that was completed, where the queue is set so. It stays counted.
    fn forget_if_deleted(&mut self, slot: Slot) {
        if self.completed == Completed::Delete && self.rows[slot].state == State::Completed {
            self.indexes.forget_completed(&self.rows[slot]);
            self.rows.remove(slot);
        }
    }

    fn add(&mut self, task: NewTask, moment: &mut Moment) -> Enqueued {
        let id = task.id;
        let place = moment.take_place();
        let type_number = self.indexes.number_of(&task.task_type);
        let holder = task.unique_key.as_deref().and_then(|key| self.indexes.holder(type_number, key));
        let Some(vacancy) = self.rows.vacancy(id) else { return Enqueued::Repeated(id) };
        if let Some(holder) = holder {
            return Enqueued::Duplicate(self.rows[holder].task.id);
        }
        let slot = vacancy.fill(Row::new(task, type_number, self.next_sequence, moment.now, place));
        self.next_sequence += 1;
        let row = &self.rows[slot];
        self.indexes.add(row, slot);
        self.indexes.hold(row, slot);
        Enqueued::Created(id)
    }

    fn first_ready(&self, numbers: &[usize]) -> Option<Slot> {
        let heads = numbers.iter().filter_map(|number| self.indexes.of_type(*number).ready.first_key_value());
        heads.min_by_key(|(key, _)| **key).map(|(_, slot)| *slot)
    }

    fn find(&self, decision: &Decision) -> Found {
        let Decision { lease, transition, .. } = decision;
        let Some(slot) = self.rows.find(lease.task_id) else { return Found::Lost };
        let row = &self.rows[slot];
        if row.is_leased_by(lease.token) {
            Found::Leased(slot)
        } else if row.carries(lease.token) && transition.is_repeat(row.state) {
            Found::SettledBefore
        } else {
            Found::Lost
        }
    }

    fn extend(&mut self, lease: &Lease, until: Timestamp) -> Heartbeat {
        let live = self.rows.find(lease.task_id).filter(|slot| self.rows[*slot].is_leased_by(lease.token));
        let Some(slot) = live else { return Heartbeat::Lost };
        self.change(slot, |row| row.lease_until = until);
        Heartbeat::Extended
    }

    fn check_room_for_follow_ups(&self, decisions: &[Decision], found: &[Found]) -> Result<()> {
        if self.capacity.is_none() {
            return Ok(());
        }
        let applied =
            || decisions.iter().zip(found).filter_map(|(decision, found)| Some((decision, found.slot()?)));
        let leaving: Vec<Leaving> = applied()
            .map(|(decision, slot)| Leaving { slot, state: decision.transition.state() })
            .filter(|leaving| leaving.state.status().is_finished())
            .collect();
        let follow_ups = || applied().flat_map(|(decision, _)| &decision.follow_ups);
        self.check_room("settle", follow_ups().count(), follow_ups, &leaving)
    }

    /// Refuses tasks that would take the queue past its capacity once the tasks in `leaving` have finished.
    fn check_room<'a, I: Iterator<Item = &'a NewTask>>(
        &self,
        operation: &'static str,
        tasks_count: usize,
        tasks: impl Fn() -> I,
        leaving: &[Leaving],
    ) -> Result<()> {
        let Some(capacity) = self.capacity else { return Ok(()) };
        let staying = self.indexes.unfinished() - leaving.len();
        // Most calls are far from the capacity: only near it is it worth finding out which tasks are new.
        if staying + tasks_count <= capacity || staying + self.count_new(tasks(), leaving) <= capacity {
            return Ok(());
        }
        Err(Error::full(operation, capacity))
    }

    /// How many of the tasks would be created, were they added in turn after those in `leaving` have finished.
    fn count_new<'a>(&self, tasks: impl Iterator<Item = &'a NewTask>, leaving: &[Leaving]) -> usize {
        let mut ids = HashSet::new();
        let mut keys = HashSet::new();
        tasks
            .filter(|task| {
                let key = task.unique_key.as_deref().map(|key| (&task.task_type, key));
                let held = key.is_some_and(|(task_type, key)| self.is_held(task_type, key, leaving));
                let is_new = !self.is_kept(task.id, leaving) && !ids.contains(&task.id);
                let is_created = is_new && !held && key.is_none_or(|key| keys.insert(key));
                is_created && ids.insert(task.id)
            })
            .count()
    }

    /// Whether a task with this id is there and is not deleted when it completes.
    fn is_kept(&self, id: TaskId, leaving: &[Leaving]) -> bool {
        self.rows.find(id).is_some_and(|slot| {
            let deleted = Leaving { slot, state: State::Completed };
            self.completed != Completed::Delete || !leaving.contains(&deleted)
        })
    }

    fn is_held(&self, task_type: &TaskType, key: &str, leaving: &[Leaving]) -> bool {
        self.slot_of_holder(task_type, key)
            .is_some_and(|holder| !leaving.iter().any(|Leaving { slot, .. }| *slot == holder))
    }

    /// The row that holds this key.
    pub(crate) fn slot_of_holder(&self, task_type: &TaskType, key: &str) -> Option<Slot> {
        self.indexes.holder(self.indexes.known_number_of(task_type)?, key)
    }
}

/// A row that a settlement will have finished, and how.
#[derive(PartialEq, Eq)]
struct Leaving {
    slot: Slot,
    state: State,
}

/// What the row that a settlement names shows, before anything is changed.
enum Found {
    /// The lease is live.
    Leased(Slot),
    /// This very settle had been applied.
    SettledBefore,
    /// Neither.
    Lost,
}

impl Found {
    fn slot(&self) -> Option<Slot> {
        match self {
            Self::Leased(slot) => Some(*slot),
            Self::SettledBefore | Self::Lost => None,
        }
    }

    fn answer(&self) -> Settled {
        match self {
            Self::Leased(_) => Settled::Applied,
            Self::SettledBefore => Settled::Repeated,
            Self::Lost => Settled::LeaseLost,
        }
    }
}
