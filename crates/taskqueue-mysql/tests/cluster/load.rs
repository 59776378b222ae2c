//! Callers that go on while nodes come and go: they repeat a call until it is answered, and remember what was.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use taskqueue_mysql::{Claim, Enqueued, MysqlQueue, NewTask, Outcome, Queue, Settled, Settlement, TaskId};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::bed::{LIMIT, assert_unavailable, request, task, tasks, wait_a_moment, wait_until, wait_until_ok};

/// So many tasks with a unique key at once.
const KEYS: usize = 3;
/// Each task whose id has this remainder is given back by its first worker.
const GIVEN_BACK: (u128, u128) = (7, 3);

/// What was answered.
#[derive(Default)]
pub(crate) struct Answered {
    enqueued: Mutex<BTreeSet<TaskId>>,
    /// Under which leases.
    completed: Mutex<BTreeMap<TaskId, BTreeSet<i64>>>,
    /// What is leased, as far as anybody was told.
    leased: Mutex<BTreeSet<TaskId>>,
    /// What was given back already.
    given_back: Mutex<BTreeSet<TaskId>>,
    pub(crate) failures: AtomicUsize,
    is_over: AtomicBool,
}

/// Callers under way.
pub(crate) struct Load {
    pub(crate) answered: Arc<Answered>,
    lease: Duration,
    /// Whether a lease ends only by a settle: then nothing is ever leased twice at once.
    is_exclusive: bool,
    callers: JoinSet<()>,
}

impl Load {
    /// Enqueues and works on each of these queues. Leases are so long that none ends.
    pub(crate) fn on(queues: &[MysqlQueue]) -> Self {
        Self::start(queues, LIMIT * 4, true)
    }

    /// The same where nodes are lost, with leases so short that those that nobody was told of end.
    pub(crate) fn that_loses(queues: &[MysqlQueue], lease: Duration) -> Self {
        Self::start(queues, lease, false)
    }

    fn start(queues: &[MysqlQueue], lease: Duration, is_exclusive: bool) -> Self {
        let mut load = Self { answered: Arc::default(), lease, is_exclusive, callers: JoinSet::new() };
        for queue in queues {
            for size in [1, 1, 20] {
                load.produce(queue, move |_| tasks(size));
            }
            load.produce(queue, |number| vec![task().unique_key(number % KEYS)]);
            for _ in 0..2 {
                load.work(queue);
            }
        }
        load
    }

    fn produce(&mut self, queue: &MysqlQueue, batch: impl Fn(usize) -> Vec<NewTask> + Send + 'static) {
        let (queue, answered) = (queue.clone(), Arc::clone(&self.answered));
        self.callers.spawn(async move {
            let mut number = 0;
            while !answered.is_over() {
                number += 1;
                let enqueued = answered.enqueue(&queue, batch(number)).await;
                let holds = |enqueued: &Enqueued| !matches!(enqueued, Enqueued::Duplicate(_));
                lock(&answered.enqueued).extend(enqueued.into_iter().filter(holds).map(Enqueued::id));
                wait_a_moment().await;
            }
        });
    }

    fn work(&mut self, queue: &MysqlQueue) {
        let (queue, answered) = (queue.clone(), Arc::clone(&self.answered));
        let (lease, is_exclusive) = (self.lease, self.is_exclusive);
        self.callers.spawn(async move {
            while !answered.is_over() {
                answered.work(&queue, (20, lease), is_exclusive).await;
                tokio::task::yield_now().await;
            }
        });
    }

    /// Waits until so many more are completed.
    pub(crate) async fn completes(&self, more: usize) {
        let before = lock(&self.answered.completed).len();
        wait_until("tasks are completed", async || lock(&self.answered.completed).len() >= before + more)
            .await;
    }

    /// Lets each caller end what it has begun, works what is left on this queue, and asserts that all that was answered is there: each
    /// task was completed, under one lease.
    pub(crate) async fn ends(self, queue: &MysqlQueue) {
        let Self { answered, callers, lease, .. } = self;
        answered.is_over.store(true, Ordering::Relaxed);
        timeout(LIMIT, callers.join_all()).await.expect("the callers are answered");
        wait_until("all is worked", async || {
            wait_until_ok(async || queue.reclaim_stale(1_000).await).await;
            answered.work(queue, (500, lease), false).await;
            let stats = wait_until_ok(async || queue.stats().await).await;
            assert_eq!((stats.failed, stats.dead_letter), (0, 0));
            stats.pending + stats.running == 0
        })
        .await;
        answered.assert_complete();
    }
}

impl Answered {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    fn told<T>(&self, answer: taskqueue_mysql::Result<T>) -> taskqueue_mysql::Result<T> {
        self.failures.fetch_add(usize::from(answer.is_err()), Ordering::Relaxed);
        answer
    }

    /// Repeats the call as a caller would that was told that it can be.
    pub(crate) async fn enqueue(&self, queue: &MysqlQueue, batch: Vec<NewTask>) -> Vec<Enqueued> {
        loop {
            match self.told(queue.enqueue_many(batch.clone()).await) {
                Ok(enqueued) => return enqueued,
                Err(error) => assert_unavailable(&error),
            }
            wait_a_moment().await;
        }
    }

    async fn settle(&self, queue: &MysqlQueue, settlements: &[Settlement]) -> Vec<Settled> {
        loop {
            match self.told(queue.settle_many(settlements.to_vec()).await) {
                Ok(settled) => return settled,
                Err(error) => assert_unavailable(&error),
            }
            wait_a_moment().await;
        }
    }

    /// Claims and settles once.
    async fn work(&self, queue: &MysqlQueue, (limit, lease): (usize, Duration), is_exclusive: bool) {
        let request = request(limit, lease);
        // Where nobody is told of a claim, its lease has to end.
        let claims = match self.told(queue.dequeue_many(&request).await) {
            Ok(claims) => claims,
            Err(error) => return assert_unavailable(&error),
        };
        for claim in &claims {
            let is_free = lock(&self.leased).insert(claim.task.id);
            assert!(is_free || !is_exclusive, "{} is leased twice", claim.task.id);
        }
        if claims.is_empty() {
            return wait_a_moment().await;
        }
        let settlements = self.settlements(&claims);
        let settled = self.settle(queue, &settlements).await;
        for ((claim, settlement), settled) in claims.iter().zip(&settlements).zip(settled) {
            assert!(settled != Settled::LeaseLost || !is_exclusive, "{} was taken away", claim.task.id);
            if settled != Settled::LeaseLost && settlement.outcome == Outcome::done() {
                lock(&self.completed).entry(claim.task.id).or_default().insert(claim.lease.token.get());
            }
        }
    }

    fn settlements(&self, claims: &[Claim]) -> Vec<Settlement> {
        let settlements = claims.iter().map(|claim| self.settlement(claim)).collect();
        // Whatever is given back may be claimed before the answer is here.
        let mut leased = lock(&self.leased);
        for claim in claims {
            leased.remove(&claim.task.id);
        }
        settlements
    }

    fn settlement(&self, claim: &Claim) -> Settlement {
        let (of, rest) = GIVEN_BACK;
        let is_chosen = claim.task.id.as_uuid().as_u128() % of == rest;
        let is_given_back = is_chosen && lock(&self.given_back).insert(claim.task.id);
        let outcome = if is_given_back { Outcome::Release } else { Outcome::done() };
        Settlement::new(claim.lease.clone(), outcome)
    }

    fn assert_complete(&self) {
        let (enqueued, completed) = (lock(&self.enqueued), lock(&self.completed));
        let lost = enqueued.iter().filter(|id| !completed.contains_key(id)).count();
        let twice = completed.values().filter(|leases| leases.len() > 1).count();
        let (tasks, failures) = (enqueued.len(), self.failures.load(Ordering::Relaxed));
        println!("{tasks} tasks, {failures} calls that were told to try again");
        assert_eq!((lost, twice), (0, 0), "lost and completed twice, of {tasks}");
    }
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}
