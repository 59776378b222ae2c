//! Shards: the parts that a task table is kept in. A task's shard is a pure function of its id, so that every statement
//! about a task can name it. It knows no database, and not what a backend gains by it.

use crate::id::unique_bits;
use crate::{Error, NewTask, Result, TaskId, TaskType};

/// The most shards of one table.
pub const SHARDS_MAX: u16 = 1024;

/// How many shards a table has, in `1..=1024`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shards(u16);

/// One shard of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(u16);

impl Shards {
    /// The whole table in one.
    pub const ONE: Self = Self(1);

    /// Checks the number.
    ///
    /// # Errors
    /// `InvalidInput` unless it is in `1..=1024`.
    pub fn new(number: u16) -> Result<Self> {
        if (1..=SHARDS_MAX).contains(&number) {
            return Ok(Self(number));
        }
        Err(Error::invalid_input("configure", format!("shards {number} is not in 1..={SHARDS_MAX}")))
    }

    /// The number.
    pub fn get(self) -> u16 {
        self.0
    }

    /// The shard of a task: the low 16 bits of its id, modulo the number of shards.
    pub fn of(self, id: TaskId) -> Shard {
        Shard(id.low_bits() % self.0)
    }

    /// The shard of all tasks of this type with this unique key.
    pub fn of_unique_key(self, task_type: &TaskType, key: &str) -> Shard {
        Shard(unique_bits(task_type, key) % self.0)
    }

    /// Every shard, in order.
    pub fn all(self) -> impl Iterator<Item = Shard> + Send {
        (0..self.0).map(Shard)
    }

    /// Every shard, in order from the one whose turn it is.
    pub fn from_turn(self, turn: usize) -> impl Iterator<Item = Shard> + Send {
        let first = u16::try_from(turn % usize::from(self.0)).expect("it is below a number of 16 bits");
        (first..self.0).chain(0..first).map(Shard)
    }

    /// Checks that a task with a unique key is in the shard that all tasks with this key are in: only there is the key
    /// looked for.
    ///
    /// # Errors
    /// `InvalidInput` when its id was given and puts it elsewhere.
    pub fn check(self, task: &NewTask) -> Result<()> {
        let Some(key) = &task.unique_key else { return Ok(()) };
        if self == Self::ONE || self.of(task.id) == self.of_unique_key(&task.task_type, key) {
            return Ok(());
        }
        let message = format!(
            "task {} was given an id that is not in the shard of its unique key: leave the id out, or make it by \
             TaskId::for_unique_key or TaskId::with_unique_key (task type {})",
            task.id, task.task_type
        );
        Err(Error::invalid_input("enqueue", message).task(task.id))
    }
}

impl Shard {
    /// The only one of a table that has one.
    pub const FIRST: Self = Self(0);

    /// The number by which it is stored.
    pub fn number(self) -> i16 {
        i16::try_from(self.0).expect("there are at most 1024 shards")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorKind, TaskType};

    fn shards(number: u16) -> Shards {
        Shards::new(number).expect("it is in range")
    }

    #[test]
    fn there_are_one_to_a_thousand_and_twenty_four_shards() {
        for number in [1, 2, SHARDS_MAX] {
            assert_eq!(shards(number).get(), number);
        }
        for number in [0, SHARDS_MAX + 1, u16::MAX] {
            let refused = Shards::new(number).expect_err("it is out of range");
            assert_eq!(refused.kind(), ErrorKind::InvalidInput);
            assert!(refused.to_string().contains("1..=1024"), "{refused}");
        }
    }

    #[test]
    fn the_low_bits_of_an_id_say_its_shard_and_nothing_else_of_it_does() {
        for (bits, shard) in [(0, 0), (1, 1), (2, 2), (3, 0), (u16::MAX, 0), (u16::MAX - 1, 2)] {
            let id = TaskId::generate().with_low_bits(bits);
            assert_eq!(shards(3).of(id).number(), shard, "{bits}");
            assert_eq!(Shards::ONE.of(id), Shard::FIRST);
        }
    }

    #[test]
    fn new_ids_spread_over_all_shards() {
        let found: std::collections::HashSet<Shard> =
            (0..1_000).map(|_| shards(16).of(TaskId::generate())).collect();
        assert_eq!(found.len(), 16);
    }

    #[test]
    fn a_round_begins_at_its_turn_and_visits_each_shard_once() {
        let round = |turn| shards(3).from_turn(turn).map(Shard::number).collect::<Vec<_>>();
        assert_eq!([round(0), round(1), round(5)], [[0, 1, 2], [1, 2, 0], [2, 0, 1]]);
        assert_eq!(round(usize::MAX).len(), 3);
    }

    #[test]
    fn tasks_with_one_key_are_in_one_shard_whatever_is_set_first() {
        let task = || NewTask::raw("t", "1").expect("a valid task");
        for key in 0..50 {
            let (one, other) = (task().unique_key(key), task().unique_key(key));
            assert_ne!(one.id, other.id);
            assert_eq!(shards(SHARDS_MAX).of(one.id), shards(SHARDS_MAX).of(other.id));
            let named = shards(SHARDS_MAX).of_unique_key(&one.task_type, &key.to_string());
            assert_eq!(named, shards(SHARDS_MAX).of(one.id), "the key alone names it");
            let made = TaskId::for_unique_key(&task().task_type, &key.to_string());
            for task in [one, task().id(made).unique_key(key), task().unique_key(key).id(made)] {
                shards(SHARDS_MAX).check(&task).expect("it is where its key is");
            }
        }
    }

    #[test]
    fn an_id_beside_its_key_is_refused_with_what_to_do() {
        let task = NewTask::raw("t", "1").expect("a valid task").unique_key("k");
        let id = task.id;
        let elsewhere = id.with_low_bits(id.low_bits() ^ 1);
        let given = task.clone().id(elsewhere);
        let refused = shards(2).check(&given).expect_err("the key is in the other shard");
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
        assert!(refused.to_string().contains("TaskId::for_unique_key"), "{refused}");
        Shards::ONE.check(&given).expect("there is only one");
        let task_type = TaskType::new("t").expect("a valid type");
        shards(2).check(&task.id(elsewhere.with_unique_key(&task_type, "k"))).expect("it was moved");
    }

    #[test]
    fn an_id_for_a_key_keeps_the_order_of_time() {
        let task_type = TaskType::new("t").expect("a valid type");
        let first = TaskId::for_unique_key(&task_type, "k");
        std::thread::yield_now();
        let later = TaskId::generate();
        assert_eq!(first.as_uuid().get_version_num(), 7);
        assert!(first.as_uuid().as_u128() >> 80 <= later.as_uuid().as_u128() >> 80);
    }
}
