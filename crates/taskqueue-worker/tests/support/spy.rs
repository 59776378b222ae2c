//! A queue around a memory queue that counts the calls of the hot path and fails them on demand.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use taskqueue_memory::MemoryQueue;
use taskqueue_worker::core::*;
use tokio::sync::watch;

/// A call that is counted and can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Dequeue,
    /// One that is extra.
    ExtraDequeue,
    Settle,
    Heartbeat,
    Stats,
    Enqueue,
    Now,
    Promote,
    Get,
}

/// How many kinds there are; `Get` is the last.
const CALLS: usize = Call::Get as usize + 1;

#[derive(Default)]
struct Log {
    /// The calls, each with its rows: the tasks claimed, settled or extended.
    calls: Mutex<Vec<(Call, usize)>>,
    failures: [AtomicUsize; CALLS],
    refusals: [AtomicUsize; CALLS],
    crashes: [AtomicUsize; CALLS],
    silent_heartbeats: AtomicUsize,
    settles_are_held: watch::Sender<bool>,
    follow_ups_are_held: watch::Sender<bool>,
    locked: Mutex<Vec<TaskId>>,
    /// What settles that wait for a lock have locked themselves.
    locked_by_settles: Mutex<Vec<TaskId>>,
    /// How long a settle waits for a lock.
    lock_waits: Duration,
    /// How long the others take.
    settles_take: Duration,
    slow_failures: AtomicUsize,
    wake_up: WakeUp,
    is_deaf: bool,
    takes_extra_claims: bool,
    /// How long each claim takes.
    claims_take: Duration,
    /// How long statistics take.
    stats_take: Duration,
    /// How long each look at a task takes.
    gets_take: Duration,
    gets_under_way: AtomicUsize,
    /// The most of them at once.
    gets_at_once: AtomicUsize,
}

/// The spy. Clones share what they saw.
#[derive(Clone)]
pub struct Spy {
    pub queue: MemoryQueue,
    log: Arc<Log>,
}

impl Spy {
    pub fn on(queue: MemoryQueue) -> Self {
        Self { queue, log: Arc::default() }
    }

    /// A spy that passes no wake-up on, as if all enqueues came from other processes.
    pub fn deaf(queue: MemoryQueue) -> Self {
        Self { queue, log: Arc::new(Log { is_deaf: true, ..Log::default() }) }
    }

    /// A spy that answers extra claims as the others, as if several could commit at once.
    pub fn taking_extra_claims(queue: MemoryQueue) -> Self {
        Self { queue, log: Arc::new(Log { takes_extra_claims: true, ..Log::default() }) }
    }

    /// A deaf spy each of whose claims takes so long.
    pub fn slow(queue: MemoryQueue, claims_take: Duration) -> Self {
        Self { queue, log: Arc::new(Log { is_deaf: true, claims_take, ..Log::default() }) }
    }

    /// A spy whose statistics take so long.
    pub fn with_slow_stats(queue: MemoryQueue, stats_take: Duration) -> Self {
        Self { queue, log: Arc::new(Log { stats_take, ..Log::default() }) }
    }

    /// A spy whose looks at tasks take so long.
    pub fn with_slow_gets(queue: MemoryQueue, gets_take: Duration) -> Self {
        Self { queue, log: Arc::new(Log { gets_take, ..Log::default() }) }
    }

    /// How many looks at tasks were under way at once, at most.
    pub fn gets_at_once(&self) -> usize {
        self.log.gets_at_once.load(Ordering::SeqCst)
    }

    /// A spy whose settles wait so long for a lock before they fail.
    pub fn with_lock_waits(queue: MemoryQueue, lock_waits: Duration) -> Self {
        Self { queue, log: Arc::new(Log { lock_waits, ..Log::default() }) }
    }

    /// A spy whose settles take so long.
    pub fn with_slow_settles(queue: MemoryQueue, settles_take: Duration) -> Self {
        Self { queue, log: Arc::new(Log { settles_take, ..Log::default() }) }
    }

    /// Lets the next settle fail after a second and a half, as on a server that another one takes over from.
    pub fn fail_a_settle_slowly(&self) {
        self.log.slow_failures.store(1, Ordering::SeqCst);
    }

    /// Lets the next `times` heartbeats never be answered, as on a connection that died without a word.
    pub fn silence_heartbeats(&self, times: usize) {
        self.log.silent_heartbeats.store(times, Ordering::SeqCst);
    }

    /// Lets the next `times` calls of this kind fail as a database does that cannot be reached.
    pub fn fail(&self, call: Call, times: usize) {
        self.log.failures[call as usize].store(times, Ordering::SeqCst);
    }

    /// Lets the next `times` calls of this kind fail as a database does that refuses.
    pub fn refuse(&self, call: Call, times: usize) {
        self.log.refusals[call as usize].store(times, Ordering::SeqCst);
    }

    /// Lets the next `times` calls of this kind panic.
    pub fn crash(&self, call: Call, times: usize) {
        self.log.crashes[call as usize].store(times, Ordering::SeqCst);
    }

    /// The calls of this kind so far, failed ones included: the rows of each.
    pub fn calls(&self, call: Call) -> Vec<usize> {
        let calls = self.log.calls.lock().unwrap();
        calls.iter().filter(|(kind, _)| *kind == call).map(|(_, rows)| *rows).collect()
    }

    /// Lets settles wait, from after they are counted until they are held no more.
    pub fn hold_settles(&self, are_held: bool) {
        self.log.settles_are_held.send_replace(are_held);
    }

    /// Lets settles that bring follow-up tasks wait.
    pub fn hold_follow_ups(&self, are_held: bool) {
        self.log.follow_ups_are_held.send_replace(are_held);
    }

    /// Lets settles of these tasks fail as those of a task do that another session has locked, and its heartbeats find that.
    pub fn lock(&self, ids: impl IntoIterator<Item = TaskId>) {
        *self.log.locked.lock().unwrap() = ids.into_iter().collect();
    }

    fn is_locked(&self, lease: &Lease) -> bool {
        self.log.locked.lock().unwrap().contains(&lease.task_id)
    }

    /// Whether a heartbeat finds it locked.
    fn is_passed_over(&self, lease: &Lease) -> bool {
        self.is_locked(lease) || self.log.locked_by_settles.lock().unwrap().contains(&lease.task_id)
    }

    /// A settle that waits for a lock has locked the others that it is for.
    async fn wait_for_a_lock(&self, settlements: &[Settlement]) {
        let ids: Vec<TaskId> = settlements.iter().map(|settlement| settlement.lease.task_id).collect();
        self.log.locked_by_settles.lock().unwrap().extend(&ids);
        self.wait_for_the_store(self.log.lock_waits).await;
        self.log.locked_by_settles.lock().unwrap().retain(|id| !ids.contains(id));
    }

    /// In paused time.
    async fn wait_for_the_store(&self, takes: Duration) {
        tokio::time::sleep(takes).await;
    }

    fn pass(&self, call: Call, rows: usize) -> Result<()> {
        self.log.calls.lock().unwrap().push((call, rows));
        assert!(!take_one(&self.log.crashes[call as usize]), "the backend crashes");
        if take_one(&self.log.failures[call as usize]) {
            return Err(Error::new(ErrorKind::Unavailable, "spy", "the database is away"));
        }
        if take_one(&self.log.refusals[call as usize]) {
            return Err(Error::new(ErrorKind::Backend, "spy", "the database refuses"));
        }
        Ok(())
    }
}

/// Whether there was one left.
fn take_one(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

fn brings_follow_ups(settlement: &Settlement) -> bool {
    matches!(&settlement.outcome, Outcome::Complete { follow_ups } if !follow_ups.is_empty())
}

delegate_queue!(
    Spy,
    |spy| spy.queue,
    except enqueue_many, dequeue_many, settle_many, heartbeat_many, get, stats, now, promote_due, wake_up
);

impl Spy {
    async fn enqueue_many(&self, tasks: Vec<NewTask>) -> Result<Vec<Enqueued>> {
        self.pass(Call::Enqueue, tasks.len())?;
        self.queue.enqueue_many(tasks).await
    }

    async fn dequeue_many(&self, request: &ClaimRequest) -> Result<Vec<Claim>> {
        self.pass(if request.is_extra { Call::ExtraDequeue } else { Call::Dequeue }, request.limit)?;
        self.wait_for_the_store(self.log.claims_take).await;
        let is_extra = request.is_extra && !self.log.takes_extra_claims;
        self.queue.dequeue_many(&ClaimRequest { is_extra, ..request.clone() }).await
    }

    async fn settle_many(&self, settlements: Vec<Settlement>) -> Result<Vec<Settled>> {
        self.pass(Call::Settle, settlements.len())?;
        self.log.settles_are_held.subscribe().wait_for(|are_held| !are_held).await.unwrap();
        if take_one(&self.log.slow_failures) {
            self.wait_for_the_store(Duration::from_millis(1_500)).await;
            return Err(Error::new(ErrorKind::Unavailable, "spy", "the database is away"));
        }
        if settlements.iter().any(brings_follow_ups) {
            self.log.follow_ups_are_held.subscribe().wait_for(|are_held| !are_held).await.unwrap();
        }
        if settlements.iter().any(|settlement| self.is_locked(&settlement.lease)) {
            self.wait_for_a_lock(&settlements).await;
            return Err(Error::new(ErrorKind::Unavailable, "spy", "a task is locked"));
        }
        self.wait_for_the_store(self.log.settles_take).await;
        self.queue.settle_many(settlements).await
    }

    async fn heartbeat_many(&self, leases: &[Lease], timeout: Option<Duration>) -> Result<Vec<Heartbeat>> {
        self.pass(Call::Heartbeat, leases.len())?;
        if take_one(&self.log.silent_heartbeats) {
            std::future::pending::<()>().await;
        }
        let free = leases.iter().filter(|lease| !self.is_passed_over(lease)).cloned().collect::<Vec<_>>();
        let mut answers = self.queue.heartbeat_many(&free, timeout).await?.into_iter();
        let answer =
            |lease| if self.is_passed_over(lease) { Some(Heartbeat::Locked) } else { answers.next() };
        Ok(leases.iter().filter_map(answer).collect())
    }

    async fn get(&self, id: TaskId) -> Result<Task> {
        self.pass(Call::Get, 1)?;
        let under_way = self.log.gets_under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.log.gets_at_once.fetch_max(under_way, Ordering::SeqCst);
        self.wait_for_the_store(self.log.gets_take).await;
        self.log.gets_under_way.fetch_sub(1, Ordering::SeqCst);
        self.queue.get(id).await
    }

    async fn stats(&self) -> Result<QueueStats> {
        self.pass(Call::Stats, 0)?;
        self.wait_for_the_store(self.log.stats_take).await;
        self.queue.stats().await
    }

    async fn promote_due(&self, limit: usize) -> Result<u64> {
        self.pass(Call::Promote, limit)?;
        self.queue.promote_due(limit).await
    }

    async fn now(&self) -> Result<Timestamp> {
        self.pass(Call::Now, 1)?;
        self.queue.now().await
    }

    fn wake_up(&self) -> WakeUp {
        if self.log.is_deaf { self.log.wake_up.clone() } else { self.queue.wake_up() }
    }
}
