//! Where rows are kept: slots that are used again, and the order by id. It knows nothing of states.

use std::collections::BTreeMap;
use std::ops::{Index, IndexMut};

use taskqueue_core::TaskId;

use crate::index::Slot;
use crate::row::Row;

/// Every row. Slots, not ids, are what the other structures keep: a slot is an array access, and settling a row
/// in the middle of an id-ordered tree moved its neighbours about.
#[derive(Default)]
pub(crate) struct Rows {
    slots: Vec<Option<Row>>,
    free: Vec<Slot>,
    by_id: BTreeMap<TaskId, Slot>,
}

impl Rows {
    /// The row with this id.
    pub(crate) fn find(&self, id: TaskId) -> Option<Slot> {
        self.by_id.get(&id).copied()
    }

    /// Keeps a row whose id is new.
    pub(crate) fn insert(&mut self, row: Row) -> Slot {
        let id = row.task.id;
        let slot = if let Some(slot) = self.free.pop() {
            self.slots[slot] = Some(row);
            slot
        } else {
            self.slots.push(Some(row));
            self.slots.len() - 1
        };
        let before = self.by_id.insert(id, slot);
        debug_assert!(before.is_none(), "the caller has looked for the id");
        slot
    }

    /// Forgets a row.
    pub(crate) fn remove(&mut self, slot: Slot) {
        let row = self.slots[slot].take().expect(OCCUPIED);
        self.by_id.remove(&row.task.id);
        self.free.push(slot);
    }

    /// The rows by id from the highest down, those below `after` if it is given.
    pub(crate) fn descending(&self, after: Option<TaskId>) -> impl Iterator<Item = &Row> {
        let range = match after {
            Some(after) => self.by_id.range(..after),
            None => self.by_id.range(..),
        };
        range.rev().map(|(_, slot)| &self[*slot])
    }
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
