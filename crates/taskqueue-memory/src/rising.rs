//! An ordered map whose keys mostly rise as they come in, as times and ids do: then an entry costs no search when it comes,
//! and little when it goes. The others go into a tree, so that no order of keys makes it slow. It knows nothing of rows.

use std::collections::{BTreeMap, VecDeque};

/// Where a row is kept.
pub(crate) type Slot = usize;

/// Below this many gaps it is not worth closing them.
const GAPS_MIN: usize = 1_024;

/// Slots by key. A key is in it once at most.
pub(crate) struct Rising<K> {
    /// Ascending. What was removed leaves a gap, until those are as many as the rest.
    run: VecDeque<(K, Option<Slot>)>,
    gaps: usize,
    /// What came after a higher key, or was that higher key.
    strays: BTreeMap<K, Slot>,
}

impl<K> Default for Rising<K> {
    fn default() -> Self {
        Self { run: VecDeque::new(), gaps: 0, strays: BTreeMap::new() }
    }
}

impl<K: Ord + Copy> Rising<K> {
    /// Adds a key, which is not in it. One that comes late moves one that is higher out of its way: keys from the future then hold
    /// up no more late ones than they are.
    pub(crate) fn insert(&mut self, key: K, slot: Slot) {
        if !self.is_last(&key) {
            self.give_way();
        }
        if self.is_last(&key) {
            self.run.push_back((key, Some(slot)));
        } else {
            self.strays.insert(key, slot);
        }
    }

    /// Removes a key, which is in it.
    pub(crate) fn remove(&mut self, key: K) {
        if !self.strays.is_empty() && self.strays.remove(&key).is_some() {
            return;
        }
        let place = match self.run.front() {
            Some((first, _)) if *first == key => Ok(0),
            _ => self.run.binary_search_by_key(&key, |(key, _)| *key),
        };
        if let Ok(place) = place
            && self.run[place].1.take().is_some()
        {
            self.gaps += 1;
            self.close_gaps();
        }
    }

    /// The entries with keys up to this one, ascending.
    pub(crate) fn up_to(&self, last: K) -> impl Iterator<Item = Slot> {
        let run = self.run.iter().take_while(move |(key, _)| *key <= last);
        merged(run.filter_map(kept), self.strays.range(..=last).map(entry), |run, stray| run < stray)
    }

    /// All entries, ascending.
    pub(crate) fn ascending(&self) -> impl Iterator<Item = Slot> {
        merged(self.run.iter().filter_map(kept), self.strays.iter().map(entry), |run, stray| run < stray)
    }

    /// The entries below this key, or all, descending.
    pub(crate) fn descending(&self, below: Option<K>) -> impl Iterator<Item = Slot> {
        let end = below.map_or(self.run.len(), |below| self.run.partition_point(|(key, _)| *key < below));
        let strays = match below {
            Some(below) => self.strays.range(..below),
            None => self.strays.range(..),
        };
        let run = self.run.range(..end).rev();
        merged(run.filter_map(kept), strays.rev().map(entry), |run, stray| run > stray)
    }

    fn is_last(&self, key: &K) -> bool {
        self.run.back().is_none_or(|(last, _)| last < key)
    }

    fn give_way(&mut self) {
        match self.run.pop_back() {
            Some((key, Some(slot))) => drop(self.strays.insert(key, slot)),
            Some((_, None)) => self.gaps -= 1,
            None => {}
        }
    }

    /// At the front they go at once; elsewhere together, which costs each of them a step.
    fn close_gaps(&mut self) {
        while let Some((_, None)) = self.run.front() {
            self.run.pop_front();
            self.gaps -= 1;
        }
        if self.gaps >= GAPS_MIN && self.gaps > self.run.len() / 2 {
            self.run.retain(|(_, slot)| slot.is_some());
            self.gaps = 0;
        }
    }
}

fn kept<K: Copy>((key, slot): &(K, Option<Slot>)) -> Option<(K, Slot)> {
    slot.map(|slot| (*key, slot))
}

fn entry<K: Copy>((key, slot): (&K, &Slot)) -> (K, Slot) {
    (*key, *slot)
}

/// The slots of two ordered lists, in the order of both: `is_before` says whether an entry of the first one is next.
fn merged<K>(
    first: impl Iterator<Item = (K, Slot)>,
    second: impl Iterator<Item = (K, Slot)>,
    is_before: impl Fn(&K, &K) -> bool,
) -> impl Iterator<Item = Slot> {
    let (mut first, mut second) = (first.peekable(), second.peekable());
    std::iter::from_fn(move || {
        let takes_first = match (first.peek(), second.peek()) {
            (Some((one, _)), Some((other, _))) => is_before(one, other),
            (one, _) => one.is_some(),
        };
        let next = if takes_first { first.next() } else { second.next() };
        next.map(|(_, slot)| slot)
    })
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;

    #[test]
    fn it_holds_what_a_tree_holds_whatever_the_order_of_keys() {
        for seed in 0..20 {
            let mut random = StdRng::seed_from_u64(seed);
            let (mut rising, mut tree) = (Rising::default(), BTreeMap::new());
            for step in 0..4_000_u32 {
                let ahead = if random.random_bool(0.1) { random.random_range(0..500) } else { 0 };
                let key =
                    if random.random_bool(0.8) { step + ahead } else { random.random_range(0..step + 1) };
                match tree.remove(&key) {
                    Some(_) => rising.remove(key),
                    None => {
                        tree.insert(key, key as Slot);
                        rising.insert(key, key as Slot);
                    }
                }
                if random.random_bool(0.6)
                    && let Some((&key, _)) = tree.range(random.random_range(0..step + 1)..).next()
                {
                    tree.remove(&key);
                    rising.remove(key);
                }
            }
            let limit = random.random_range(0..4_000);
            let expected: Vec<Slot> = tree.range(..=limit).map(|(_, slot)| *slot).collect();
            assert_eq!(rising.up_to(limit).collect::<Vec<_>>(), expected, "seed {seed}");
            let expected: Vec<Slot> = tree.range(..limit).rev().map(|(_, slot)| *slot).collect();
            assert_eq!(rising.descending(Some(limit)).collect::<Vec<_>>(), expected, "seed {seed}");
            assert_eq!(rising.descending(None).count(), tree.len(), "seed {seed}");
        }
    }

    #[test]
    fn keys_from_the_future_cost_those_that_rise_their_order_for_as_many_only() {
        for (ahead, count) in [(1_u64, 1_000), (100, 1_000)] {
            let mut rising = Rising::default();
            rising.insert(0, 0);
            for future in 0..ahead {
                rising.insert(1_000_000 + future, 1);
            }
            for key in 1..=count {
                rising.insert(key, 2);
            }
            assert!(rising.strays.len() <= 2 * ahead as usize, "{ahead}: {}", rising.strays.len());
            assert_eq!(rising.ascending().count() as u64, 1 + ahead + count);
            for future in 0..ahead {
                rising.remove(1_000_000 + future);
            }
            assert_eq!(rising.ascending().count() as u64, 1 + count);
        }
    }

    #[test]
    fn gaps_do_not_pile_up_behind_an_entry_that_stays() {
        let mut rising = Rising::default();
        rising.insert(0_u64, 0);
        for key in 1..100_000 {
            rising.insert(key, 1);
            rising.remove(key);
        }
        assert!(rising.run.len() <= 2 * GAPS_MIN, "{}", rising.run.len());
        assert_eq!(rising.up_to(u64::MAX).collect::<Vec<_>>(), [0]);
    }
}
