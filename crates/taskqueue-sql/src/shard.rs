//! Shards on the way to a dialect: how many there are, and which part of a batch goes to which. It is the one place that
//! parts a call's tasks; it knows no SQL.

use std::borrow::Cow;
use std::collections::{BTreeMap, btree_map};
use std::sync::OnceLock;

use taskqueue_core::{ErrorKind, Shard, Shards, TaskId};

use crate::{Access, Attempt, Dialect, Failure, TableName};

/// How many shards a task table has: what the settings ask for, and what the database says, which holds for good. Rows
/// are found by the shard that their id and this number give; a queue with another number would not find them.
#[derive(Debug)]
pub struct Sharding {
    wanted: Option<Shards>,
    recorded: OnceLock<Shards>,
}

impl Sharding {
    /// Not yet known. `wanted`: what the database must say; none where it is to be found out.
    pub fn new(wanted: Option<Shards>) -> Self {
        Self { wanted, recorded: OnceLock::new() }
    }

    /// What a new table gets.
    pub fn of_new_table(&self) -> Shards {
        self.wanted.unwrap_or(Shards::ONE)
    }

    /// The number, once the database has been asked.
    pub fn known(&self) -> Option<Shards> {
        self.recorded.get().copied()
    }

    /// What the database says of this table.
    ///
    /// # Errors
    /// `InvalidInput` when the settings ask for another number; `NotMigrated` when it says nothing.
    pub fn learn(&self, table: &TableName, recorded: Option<i64>) -> Attempt<Shards> {
        let Some(recorded) = recorded else {
            let message = format!("the number of shards of {table} is not recorded: migrate first");
            return Err(refusal(ErrorKind::NotMigrated, message));
        };
        let shards = u16::try_from(recorded).ok().and_then(|number| Shards::new(number).ok());
        let shards = shards
            .ok_or_else(|| Failure::malformed(format!("{table} says that it has {recorded} shards")))?;
        match self.wanted {
            Some(wanted) if wanted != shards => {
                let (has, wanted) = (shards.get(), wanted.get());
                let message = format!(
                    "the task table {table} was made with {has} shards and this queue is set to {wanted}: set \
                     shards to {has}, or leave it out; for another number make another table, and let workers \
                     empty this one"
                );
                Err(refusal(ErrorKind::InvalidInput, message))
            }
            _ => Ok(*self.recorded.get_or_init(|| shards)),
        }
    }
}

fn refusal(kind: ErrorKind, message: String) -> Failure {
    Failure::Database { kind, message: message.into(), source: None }
}

/// The number, if it is known without a question to the database.
pub(crate) fn known<D: Dialect>(dialect: &D) -> Option<Shards> {
    dialect.sharding().map_or(Some(Shards::ONE), Sharding::known)
}

/// The number, asked of the database the first time.
pub(crate) async fn learn<D: Dialect>(dialect: &D, connection: &mut D::Connection) -> Attempt<Shards> {
    let Some(sharding) = dialect.sharding() else { return Ok(Shards::ONE) };
    if let Some(shards) = sharding.known() {
        return Ok(shards);
    }
    let mut rows = dialect.fetch(connection, dialect.statements(Shard::FIRST).shards()).await?;
    let recorded = rows.pop().map(|mut row| row.integer(0)).transpose()?;
    sharding.learn(&dialect.options().table, recorded)
}

/// A transaction for changes to these tasks: by one statement only where they are in one shard.
pub(crate) fn access_to(shards: Shards, mut ids: impl Iterator<Item = TaskId>) -> Access {
    let first = ids.next().map(|id| shards.of(id));
    let is_one = shards == Shards::ONE || ids.all(|id| Some(shards.of(id)) == first);
    if is_one { Access::Single } else { Access::Write }
}

/// Parts a batch, each part in the order of the batch, in the order of the shards: two transactions that touch the same
/// ones wait for each other instead of deadlocking. What is all in one shard is not copied.
pub(crate) fn by_shard<T: Clone>(shards: Shards, items: &[T], id_of: impl Fn(&T) -> TaskId) -> Parts<'_, T> {
    let Some(first) = items.first().map(|item| shards.of(id_of(item))) else { return Parts::One(None) };
    if shards == Shards::ONE || items.iter().all(|item| shards.of(id_of(item)) == first) {
        return Parts::One(Some((first, items)));
    }
    let mut parts: BTreeMap<Shard, Vec<T>> = BTreeMap::new();
    for item in items {
        parts.entry(shards.of(id_of(item))).or_default().push(item.clone());
    }
    Parts::Many(parts.into_iter())
}

/// The parts of a batch.
pub(crate) enum Parts<'i, T: Clone> {
    One(Option<(Shard, &'i [T])>),
    Many(btree_map::IntoIter<Shard, Vec<T>>),
}

impl<'i, T: Clone> Iterator for Parts<'i, T> {
    type Item = (Shard, Cow<'i, [T]>);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::One(part) => part.take().map(|(shard, items)| (shard, Cow::Borrowed(items))),
            Self::Many(parts) => parts.next().map(|(shard, items)| (shard, Cow::Owned(items))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn ids(numbers: &[u128]) -> Vec<TaskId> {
        numbers.iter().map(|number| TaskId::from(Uuid::from_u128(*number))).collect()
    }

    fn parts(shards: u16, numbers: &[u128]) -> Vec<(i16, Vec<u128>)> {
        let shards = Shards::new(shards).expect("it is in range");
        let ids = ids(numbers);
        by_shard(shards, &ids, |id| *id)
            .map(|(shard, part)| (shard.number(), part.iter().map(|id| id.as_uuid().as_u128()).collect()))
            .collect()
    }

    #[test]
    fn a_batch_is_parted_in_the_order_of_the_shards_and_each_part_keeps_its_order() {
        assert_eq!(parts(3, &[8, 2, 4, 5, 3, 1]), [(0, vec![3]), (1, vec![4, 1]), (2, vec![8, 2, 5])]);
        assert_eq!(parts(1, &[8, 2, 4]), [(0, vec![8, 2, 4])]);
        assert_eq!(parts(3, &[]), []);
    }

    #[test]
    fn what_is_in_one_shard_is_not_copied() {
        for (shards, numbers) in [(1, [8, 2, 4]), (2, [8, 2, 4])] {
            let ids = ids(&numbers);
            let shards = Shards::new(shards).expect("it is in range");
            let parts: Vec<_> = by_shard(shards, &ids, |id| *id).collect();
            assert!(matches!(parts.as_slice(), [(Shard::FIRST, Cow::Borrowed(_))]), "{parts:?}");
        }
    }

    #[test]
    fn tasks_of_several_shards_need_a_transaction() {
        let three = Shards::new(3).expect("it is in range");
        assert_eq!(access_to(three, ids(&[1, 4, 7]).into_iter()), Access::Single);
        assert_eq!(access_to(three, ids(&[1, 4, 8]).into_iter()), Access::Write);
        assert_eq!(access_to(Shards::ONE, ids(&[1, 4, 8]).into_iter()), Access::Single);
    }

    #[test]
    fn a_queue_set_to_another_number_than_the_tables_is_refused_with_what_to_do() {
        let wanted = |number| Sharding::new(Some(Shards::new(number).expect("it is in range")));
        let table = TableName::default();
        let refused = wanted(5).learn(&table, Some(3)).expect_err("5 is not 3").into_error("enqueue");
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
        assert!(
            refused.to_string().contains("3 shards") && refused.to_string().contains("set to 5"),
            "{refused}"
        );
        for sharding in [wanted(3), Sharding::new(None)] {
            assert_eq!(sharding.known(), None);
            assert_eq!(sharding.learn(&table, Some(3)).expect("it is 3").get(), 3);
            assert_eq!(sharding.known().map(Shards::get), Some(3));
        }
        let unknown = Sharding::new(None).learn(&table, None).expect_err("nothing is recorded");
        assert_eq!(unknown.into_error("enqueue").kind(), ErrorKind::NotMigrated);
        assert!(Sharding::new(None).learn(&table, Some(0)).is_err());
    }
}
