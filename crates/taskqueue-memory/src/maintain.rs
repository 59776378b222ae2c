//! What keeps the queue in order beside the hot path: promote, run now, reclaim, redrive, cleanup.

use taskqueue_core::backend::AfterLeaseEnd;
use taskqueue_core::{FinishedStatuses, Reclaimed, Redrive, State, TaskId, Timestamp};

use crate::index::up_to;
use crate::rising::Slot;
use crate::row::Moment;
use crate::store::Store;

impl Store {
    /// Makes due tasks ready, earliest first.
    pub(crate) fn promote(&mut self, limit: usize, now: Timestamp) -> u64 {
        let due = up_to(&self.indexes.due, now, limit);
        let mut moment = Moment::new(now);
        for slot in &due {
            self.change(*slot, |row| row.promote(&mut moment));
        }
        due.len() as u64
    }

    /// Makes those of the tasks ready that wait for a time, in this order.
    pub(crate) fn run_now(&mut self, ids: &[TaskId], now: Timestamp) -> u64 {
        let mut moment = Moment::new(now);
        let mut made_ready = 0;
        for id in ids {
            if let Some(slot) = self.rows.find(*id).filter(|slot| self.rows[*slot].state.is_waiting()) {
                self.change(slot, |row| row.run_now(&mut moment));
                made_ready += 1;
            }
        }
        made_ready
    }

    /// Takes back tasks whose lease has ended, earliest end first.
    pub(crate) fn reclaim(&mut self, limit: usize, max_reclaims: u32, now: Timestamp) -> Reclaimed {
        let mut moment = Moment::new(now);
        let mut reclaimed = Reclaimed::default();
        for slot in up_to(&self.indexes.leases, now, limit) {
            match self.change(slot, |row| row.reclaim(max_reclaims, &mut moment)) {
                AfterLeaseEnd::Ready => reclaimed.released += 1,
                AfterLeaseEnd::DeadLetter => reclaimed.dead_lettered += 1,
            }
        }
        reclaimed
    }

    /// Makes dead letters ready, in the order given or the order in which they died.
    pub(crate) fn redrive(&mut self, redrive: &Redrive, now: Timestamp) -> u64 {
        let (candidates, limit) = self.dead_letters(redrive);
        let mut moment = Moment::new(now);
        let mut redriven = 0;
        for slot in candidates {
            if redriven == limit {
                break;
            }
            if self.can_redrive(slot) {
                self.change(slot, |row| row.redrive(&mut moment));
                redriven += 1;
            }
        }
        redriven as u64
    }

    /// Forgets tasks of these statuses that finished at `until` or before, oldest first.
    pub(crate) fn cleanup(&mut self, statuses: FinishedStatuses, until: Timestamp, limit: usize) -> u64 {
        let mut old = self.indexes.finished(statuses, until, limit);
        old.sort_by_key(|slot| self.rows[*slot].task.completed_at);
        old.truncate(limit);
        for slot in &old {
            self.indexes.remove(&self.rows[*slot]);
            self.rows.remove(*slot);
        }
        old.len() as u64
    }

    fn dead_letters(&self, redrive: &Redrive) -> (Vec<Slot>, usize) {
        match redrive {
            Redrive::Tasks(ids) => (ids.iter().filter_map(|id| self.rows.find(*id)).collect(), ids.len()),
            Redrive::Any { task_type, limit } => {
                let matches = |slot: &Slot| {
                    task_type.as_ref().is_none_or(|wanted| self.rows[*slot].task.task_type == *wanted)
                };
                (self.indexes.dead_letters.ascending().filter(matches).collect(), *limit)
            }
        }
    }

    fn can_redrive(&self, slot: Slot) -> bool {
        let row = &self.rows[slot];
        let key = row.task.unique_key.as_deref();
        row.state == State::DeadLetter
            && self.capacity.is_none_or(|capacity| self.indexes.unfinished() < capacity)
            && key.is_none_or(|key| self.indexes.holder(row.type_number, key).is_none())
    }
}
