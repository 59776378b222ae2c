//! Settles: the transaction, and what its answers mean. Which decisions there are is core's business.

use async_trait::async_trait;
use foldhash::HashMap;
use taskqueue_core::backend::{Decision, Transition};
use taskqueue_core::{LeaseToken, NewTask, Settled, Shards, State, TaskId};

use crate::enqueue::{check, enqueue};
use crate::finish::Deltas;
use crate::operation::{Operation, changed};
use crate::shard::{access_to, by_shard};
use crate::statements::LIST_MAX;
use crate::vouch::vouch;
use crate::{Access, Applied, Attempt, Completed, Dialect, Owner};

/// Applies decisions, each if its lease is the live one.
pub(crate) struct Settle {
    decisions: Vec<Decision>,
    owner: Owner,
    /// Whether rows of completed tasks are to be removed after the dialect's settle.
    removes: bool,
}

#[async_trait]
impl<D: Dialect> Operation<D> for Settle {
    type Answer = Vec<Settled>;
    const NAME: &'static str = "settle";

    /// A worker settles what stands beside the locked task, and tries that again apart.
    fn repeats_lock_waits(&self) -> bool {
        false
    }

    /// What is refused is looked at afterwards, which changes nothing.
    fn access(&self, shards: Shards) -> Access {
        let ids = self.decisions.iter().map(|decision| decision.lease.task_id);
        if self.is_plain() && !self.removes { access_to(shards, ids) } else { Access::Write }
    }

    async fn run(
        &self,
        dialect: &D,
        connection: &mut D::Connection,
        shards: Shards,
    ) -> Attempt<Vec<Settled>> {
        let now = dialect.now();
        for Decision { follow_ups, .. } in &self.decisions {
            check(shards, follow_ups)?;
        }
        let mut applied: HashMap<TaskId, i64> = HashMap::default();
        for (shard, part) in by_shard(shards, &self.decisions, |decision| decision.lease.task_id) {
            // A claim of other types may have been the one that knows of them.
            if part.iter().any(|decision| decision.transition.state() == State::Ready) {
                dialect.doubt();
            }
            let settled = dialect.settle(connection, now, shard, &part, self.owner).await?;
            applied.extend(settled.into_iter().map(|Applied { id, busy_us }| (id, busy_us)));
        }
        if !D::COUNTS_SETTLES {
            self.sum_up(&applied).apply(dialect, connection, self.owner).await?;
        }
        if self.removes {
            self.remove(dialect, connection, shards, &applied).await?;
        }
        let follow_ups = self.follow_ups(&applied);
        if !follow_ups.is_empty() {
            enqueue(dialect, connection, now, shards, &follow_ups, self.ready_count(&applied)).await?;
        }
        let answers = self.answers(dialect, connection, shards, &applied).await?;
        if answers.contains(&Settled::Repeated) {
            vouch(dialect, connection).await?;
        }
        Ok(answers)
    }
}

impl Settle {
    pub(crate) fn new<D: Dialect>(decisions: Vec<Decision>, dialect: &D, owner: Owner) -> Self {
        let removes = dialect.options().completed == Completed::Delete && !dialect.deletes_completed();
        Self { decisions, owner, removes }
    }

    /// Deletes the rows of what was completed. They are counted by then, and stay so.
    async fn remove<D: Dialect>(
        &self,
        dialect: &D,
        connection: &mut D::Connection,
        shards: Shards,
        applied: &HashMap<TaskId, i64>,
    ) -> Attempt<()> {
        let is_gone = |decision: &&Decision| {
            decision.transition == Transition::Complete && applied.contains_key(&decision.lease.task_id)
        };
        let gone: Vec<TaskId> =
            self.decisions.iter().filter(is_gone).map(|decision| decision.lease.task_id).collect();
        for (shard, part) in by_shard(shards, &gone, |id| *id) {
            for chunk in part.chunks(LIST_MAX) {
                changed(dialect.remove(connection, shard, chunk).await?, chunk.len())?;
            }
        }
        Ok(())
    }

    /// Whether completions alone, or none at all, and nothing to be enqueued with them.
    fn is_plain(&self) -> bool {
        let is_complete = |decision: &Decision| decision.transition == Transition::Complete;
        let are_alike = self.decisions.windows(2).all(|pair| is_complete(&pair[0]) == is_complete(&pair[1]));
        are_alike && self.decisions.iter().all(|decision| decision.follow_ups.is_empty())
    }

    fn sum_up(&self, applied: &HashMap<TaskId, i64>) -> Deltas {
        let mut deltas = Deltas::default();
        for Decision { lease, transition, .. } in &self.decisions {
            if let Some(busy_us) = applied.get(&lease.task_id) {
                deltas.add(lease.task_type.as_str(), transition.state(), *busy_us);
            }
        }
        deltas
    }

    /// How many tasks the applied settles made ready: the follow-ups stand behind them.
    fn ready_count(&self, applied: &HashMap<TaskId, i64>) -> usize {
        let ready = |decision: &&Decision| {
            decision.transition.state() == State::Ready && applied.contains_key(&decision.lease.task_id)
        };
        self.decisions.iter().filter(ready).count()
    }

    fn follow_ups(&self, applied: &HashMap<TaskId, i64>) -> Vec<&NewTask> {
        let with_follow_ups = self.decisions.iter().filter(|decision| !decision.follow_ups.is_empty());
        let applied = with_follow_ups.filter(|decision| applied.contains_key(&decision.lease.task_id));
        applied.flat_map(|decision| &decision.follow_ups).collect()
    }

    /// Says of each settle what became of it; looks at the tasks of those that were refused.
    async fn answers<D: Dialect>(
        &self,
        dialect: &D,
        connection: &mut D::Connection,
        shards: Shards,
        applied: &HashMap<TaskId, i64>,
    ) -> Attempt<Vec<Settled>> {
        let ids = self.decisions.iter().map(|decision| decision.lease.task_id);
        let refused: Vec<TaskId> = ids.filter(|id| !applied.contains_key(id)).collect();
        let standings = standings(dialect, connection, shards, &refused).await?;
        let answer = |Decision { lease, transition, .. }: &Decision| {
            if applied.contains_key(&lease.task_id) {
                return Settled::Applied;
            }
            match standings.get(&lease.task_id) {
                Some((token, state)) if *token == lease.token && transition.is_repeat(*state) => {
                    Settled::Repeated
                }
                _ => Settled::LeaseLost,
            }
        };
        Ok(self.decisions.iter().map(answer).collect())
    }
}

/// The lease token and the state of each of these tasks that is there.
pub(crate) async fn standings<D: Dialect>(
    dialect: &D,
    connection: &mut D::Connection,
    shards: Shards,
    ids: &[TaskId],
) -> Attempt<HashMap<TaskId, (LeaseToken, State)>> {
    let mut standings = HashMap::default();
    for (shard, part) in by_shard(shards, ids, |id| *id) {
        for chunk in part.chunks(LIST_MAX) {
            for mut row in dialect.fetch(connection, dialect.statements(shard).standings(chunk)).await? {
                standings.insert(row.id(0)?, (LeaseToken::from_stored(row.integer(1)?), row.state(2)?));
            }
        }
    }
    Ok(standings)
}
