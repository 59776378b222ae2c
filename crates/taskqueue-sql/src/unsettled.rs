//! Which claims of this instance have tasks that are not settled, for the dialects that keep a row (or a few) a claim among the
//! leases. It is there for the case that its worker dies; once its last task is settled it has nothing more to tell, and goes
//! with the next completion or settle. Else statistics would look at each task of the last minutes, and so would the check of leases when
//! its time has come.
//!
//! A row goes only if every task of its claim was settled here, by a committed transaction: a lease is settled once. A server that
//! takes over from another may not know of a commit (asynchronous replication), so that what was settled before a connection to it
//! was opened is forgotten here; a dialect that is not told of connections looks at the tasks first. A row goes in a
//! transaction of the queue's own: a caller's can be undone, or stay open for long, and under an isolation level that locks what is
//! between rows it would keep claims from putting theirs in. Rows
//! of other claims (a worker died, a task was cancelled, the claim is forgotten here) stay until their check is due.

use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::HashMap;
use taskqueue_core::{LeaseToken, Shard};

use crate::Owner;

/// As many claims are known at once, and as many wait for a completion to take them along; one more, and all are forgotten.
const CLAIMS_MAX: usize = 10_000;
/// As many rows go with one completion.
const SETTLED_MAX: usize = 1_000;

/// The claims of one instance.
#[derive(Debug, Default)]
pub struct Unsettled(Mutex<State>);

/// The time between the opening of one connection and the next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Epoch(u64);

#[derive(Debug, Default)]
struct State {
    epoch: Epoch,
    claims: HashMap<LeaseToken, Claimed>,
    settled: Vec<(Shard, LeaseToken)>,
}

#[derive(Debug)]
struct Claimed {
    shard: Shard,
    tasks: usize,
    /// How many of them are not settled.
    unsettled: usize,
    is_without_keys: bool,
}

impl Unsettled {
    /// So many tasks, at least one, were claimed in this shard with this token.
    pub fn claimed(&self, shard: Shard, token: LeaseToken, tasks: usize) {
        let mut state = self.lock();
        if state.claims.len() >= CLAIMS_MAX {
            state.claims.clear();
        }
        let claimed = Claimed { shard, tasks, unsettled: tasks, is_without_keys: false };
        state.claims.insert(token, claimed);
    }

    /// None of the tasks that were claimed with this token has a unique key, which would have to be let go.
    pub fn without_keys(&self, token: LeaseToken) {
        if let Some(claimed) = self.lock().claims.get_mut(&token) {
            claimed.is_without_keys = true;
        }
    }

    /// Whether it is known of all these claims that none of their tasks has a unique key.
    pub fn are_without_keys(&self, tokens: impl IntoIterator<Item = LeaseToken>) -> bool {
        let state = self.lock();
        let is_without = |token| state.claims.get(&token).is_some_and(|claimed| claimed.is_without_keys);
        tokens.into_iter().all(is_without)
    }

    /// The epoch, to be asked for before a transaction that settles begins.
    pub fn epoch(&self) -> Epoch {
        self.lock().epoch
    }

    /// Tasks were settled under these tokens, a token for each task, and that is committed; the transaction began in this
    /// epoch. Where a connection was opened since, the server behind it may not know of the commit: the claims are forgotten.
    pub fn settled(&self, tokens: &[LeaseToken], epoch: Epoch) {
        let mut state = self.lock();
        if epoch != state.epoch {
            for token in tokens {
                state.claims.remove(token);
            }
            return;
        }
        // Tasks of one claim are mostly settled side by side.
        for of_claim in tokens.chunk_by(|one, next| one == next) {
            let token = of_claim[0];
            let Some(claimed) = state.claims.get_mut(&token) else { continue };
            claimed.unsettled = claimed.unsettled.saturating_sub(of_claim.len());
            if claimed.unsettled == 0 {
                let shard = claimed.shard;
                state.claims.remove(&token);
                if state.settled.len() >= CLAIMS_MAX {
                    state.settled.clear();
                }
                state.settled.push((shard, token));
            }
        }
    }

    /// A connection was opened, perhaps to a server that does not know of the settles so far.
    pub fn connected(&self) {
        let mut state = self.lock();
        state.epoch.0 += 1;
        state.settled.clear();
        state.claims.retain(|_, claimed| claimed.unsettled == claimed.tasks);
    }

    /// What a transaction is to remove: the tokens of claims in this shard whose tasks are all settled, in their stored form; of
    /// none in a caller's. Each is answered once: where the rows do not go then, they stay until their check is due.
    pub fn take_settled(&self, shard: Shard, owner: Owner) -> Vec<i64> {
        if owner == Owner::Caller {
            return Vec::new();
        }
        let mut state = self.lock();
        let mut taken = Vec::new();
        state.settled.retain(|(of_token, token)| {
            let is_taken = *of_token == shard && taken.len() < SETTLED_MAX;
            if is_taken {
                taken.push(token.get());
            }
            !is_taken
        });
        taken
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_settled_with_its_last_task_and_answered_once() {
        let (unsettled, [one, other]) = (Unsettled::default(), [1, 2].map(LeaseToken::from_stored));
        unsettled.claimed(Shard::FIRST, one, 3);
        unsettled.claimed(Shard::FIRST, other, 1);
        unsettled.settled(&[one, one], unsettled.epoch());
        assert!(unsettled.take_settled(Shard::FIRST, Owner::Queue).is_empty());
        unsettled.settled(&[one, other], unsettled.epoch());
        let mut settled = unsettled.take_settled(Shard::FIRST, Owner::Queue);
        settled.sort_unstable();
        assert_eq!(settled, [1, 2]);
        assert!(unsettled.take_settled(Shard::FIRST, Owner::Queue).is_empty());
    }

    #[test]
    fn a_claim_of_another_instance_is_never_settled_here() {
        let unsettled = Unsettled::default();
        unsettled.settled(&[LeaseToken::from_stored(1)], unsettled.epoch());
        assert!(unsettled.take_settled(Shard::FIRST, Owner::Queue).is_empty());
    }

    #[test]
    fn what_was_settled_before_a_connection_was_opened_is_not_relied_on() {
        let (unsettled, [one, half, other]) = (Unsettled::default(), [1, 2, 3].map(LeaseToken::from_stored));
        for token in [one, half, other] {
            unsettled.claimed(Shard::FIRST, token, 2);
        }
        unsettled.settled(&[one, one, half], unsettled.epoch());
        unsettled.connected();
        assert!(unsettled.take_settled(Shard::FIRST, Owner::Queue).is_empty());
        unsettled.settled(&[half, other, other], unsettled.epoch());
        assert_eq!(unsettled.take_settled(Shard::FIRST, Owner::Queue), [3]);
    }

    #[test]
    fn a_settle_that_is_reported_after_a_connection_was_opened_is_not_relied_on() {
        let (unsettled, [one, half]) = (Unsettled::default(), [1, 2].map(LeaseToken::from_stored));
        unsettled.claimed(Shard::FIRST, one, 1);
        unsettled.claimed(Shard::FIRST, half, 2);
        let before = unsettled.epoch();
        unsettled.connected();
        unsettled.settled(&[one, half], before);
        unsettled.settled(&[half], unsettled.epoch());
        assert!(unsettled.take_settled(Shard::FIRST, Owner::Queue).is_empty());
    }

    #[test]
    fn no_more_wait_for_a_completion_than_are_known() {
        let unsettled = Unsettled::default();
        for token in (0..=CLAIMS_MAX as i64).map(LeaseToken::from_stored) {
            unsettled.claimed(Shard::FIRST, token, 1);
            unsettled.settled(&[token], unsettled.epoch());
        }
        assert_eq!(unsettled.take_settled(Shard::FIRST, Owner::Queue), [CLAIMS_MAX as i64]);
    }

    #[test]
    fn what_is_forgotten_is_never_settled() {
        let unsettled = Unsettled::default();
        let forgotten = LeaseToken::generate();
        unsettled.claimed(Shard::FIRST, forgotten, 1);
        (0..CLAIMS_MAX).for_each(|_| unsettled.claimed(Shard::FIRST, LeaseToken::generate(), 1));
        unsettled.settled(&[forgotten], unsettled.epoch());
        assert!(unsettled.take_settled(Shard::FIRST, Owner::Queue).is_empty());
    }

    #[test]
    fn a_claim_is_without_keys_only_as_long_as_that_is_known() {
        let (unsettled, [one, other]) = (Unsettled::default(), [1, 2].map(LeaseToken::from_stored));
        unsettled.claimed(Shard::FIRST, one, 1);
        unsettled.claimed(Shard::FIRST, other, 1);
        unsettled.without_keys(one);
        assert!(unsettled.are_without_keys([one, one]));
        assert!(!unsettled.are_without_keys([one, other]), "the other one was claimed with a key");
        unsettled.settled(&[one], unsettled.epoch());
        assert!(!unsettled.are_without_keys([one]), "it is settled and forgotten");
    }

    #[test]
    fn no_completion_takes_more_than_so_many_rows_with_it() {
        let unsettled = Unsettled::default();
        for token in (1..=1_500).map(LeaseToken::from_stored) {
            unsettled.claimed(Shard::FIRST, token, 1);
            unsettled.settled(&[token], unsettled.epoch());
        }
        assert_eq!(unsettled.take_settled(Shard::FIRST, Owner::Queue).len(), SETTLED_MAX);
        assert_eq!(unsettled.take_settled(Shard::FIRST, Owner::Queue).len(), 500);
    }

    #[test]
    fn a_claim_is_answered_to_its_own_shard() {
        let (unsettled, token) = (Unsettled::default(), LeaseToken::generate());
        let second = taskqueue_core::Shards::new(2).unwrap().all().last().unwrap();
        unsettled.claimed(second, token, 1);
        unsettled.settled(&[token], unsettled.epoch());
        assert!(unsettled.take_settled(Shard::FIRST, Owner::Queue).is_empty());
        assert_eq!(unsettled.take_settled(second, Owner::Queue), [token.get()]);
    }

    #[test]
    fn a_callers_transaction_takes_none_and_leaves_them_to_the_next_one() {
        let (unsettled, token) = (Unsettled::default(), LeaseToken::generate());
        unsettled.claimed(Shard::FIRST, token, 1);
        unsettled.settled(&[token], unsettled.epoch());
        assert!(unsettled.take_settled(Shard::FIRST, Owner::Caller).is_empty());
        assert_eq!(unsettled.take_settled(Shard::FIRST, Owner::Queue), [token.get()]);
    }
}
