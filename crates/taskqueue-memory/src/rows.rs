//! Where rows are kept: slots that are used again, and the order by id. It knows nothing of states.

use std::collections::hash_map::{Entry, VacantEntry};
use std::ops::{Index, IndexMut};

use foldhash::HashMap;
use taskqueue_core::TaskId;

use crate::rising::Rising;
use crate::rising::Slot;
use crate::row::Row;

/// Every row. Slots, not ids, are what the other structures keep: a slot is an array access.
#[derive(Default)]
pub(crate) struct Rows {
    slots: Vec<Option<Row>>,
    free: Vec<Slot>,
    by_id: HashMap<u128, Slot>,
    /// Ids that were made here rise.
    in_order: Rising<u128>,
}

/// Where a row with a new id goes.
pub(crate) struct Vacancy<'a> {
    entry: VacantEntry<'a, u128, Slot>,
    slots: &'a mut Vec<Option<Row>>,
    free: &'a mut Vec<Slot>,
    in_order: &'a mut Rising<u128>,
}

impl Rows {
    /// The row with this id.
    pub(crate) fn find(&self, id: TaskId) -> Option<Slot> {
        self.by_id.get(&id_key(id)).copied()
    }

    /// Where a row with this id would go, if there is none yet. One search by id then serves both the look and
    /// the insertion.
    pub(crate) fn vacancy(&mut self, id: TaskId) -> Option<Vacancy<'_>> {
        let Entry::Vacant(entry) = self.by_id.entry(id_key(id)) else { return None };
        let Self { slots, free, in_order, .. } = self;
        Some(Vacancy { entry, slots, free, in_order })
    }

    /// Forgets a row.
    pub(crate) fn remove(&mut self, slot: Slot) {
        let row = self.slots[slot].take().expect(OCCUPIED);
        let key = id_key(row.task.id);
        self.by_id.remove(&key);
        self.in_order.remove(key);
        self.free.push(slot);
    }

    /// The rows by id from the highest down, those below `after` if it is given.
    pub(crate) fn descending(&self, after: Option<TaskId>) -> impl Iterator<Item = &Row> {
        self.in_order.descending(after.map(id_key)).map(|slot| &self[slot])
    }
}

impl Vacancy<'_> {
    /// Keeps the row, whose id is the one that was asked for.
    pub(crate) fn fill(self, row: Row) -> Slot {
        debug_assert_eq!(*self.entry.key(), id_key(row.task.id), "the vacancy is this row's");
        let slot = if let Some(slot) = self.free.pop() {
            self.slots[slot] = Some(row);
            slot
        } else {
            self.slots.push(Some(row));
            self.slots.len() - 1
        };
        self.in_order.insert(*self.entry.key(), slot);
        *self.entry.insert(slot)
    }
}

/// The key of an id: the same order, compared in a few instructions instead of a call for each.
fn id_key(id: TaskId) -> u128 {
    id.as_uuid().as_u128()
}

const OCCUPIED: &str = "indexes hold slots of kept rows only";

impl Index<Slot> for Rows {
    type Output = Row;

    fn index(&self, slot: Slot) -> &Row {
        self.slots[slot].as_ref().expect(OCCUPIED)
    }
}

impl IndexMut<Slot> for Rows {
    fn index_mut(&mut self, slot: Slot) -> &mut Row {
        self.slots[slot].as_mut().expect(OCCUPIED)
    }
}
