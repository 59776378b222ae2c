//! Joins enqueues that arrive while another one is on its way: they share the next transaction, and each caller gets
//! its own answer once that is durable. Nobody waits for company: a lone enqueue goes at once. It knows no SQL and
//! runs nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use taskqueue_core::{Enqueued, NewTask, Result};
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::Instant;

/// A call of more tasks is large enough to go by itself.
const CALL_TASKS_MAX: usize = 100;
/// The most tasks and payload bytes that share a transaction.
const FLUSH_TASKS_MAX: usize = 500;
const FLUSH_BYTES_MAX: usize = 1 << 20;
/// A flush that takes longer is stuck behind somebody's lock or a slow network: others no longer wait for it.
pub(crate) const FLUSH_STUCK: Duration = Duration::from_millis(20);
/// The most flushes at once that are not stuck.
const FLUSHES_MAX: usize = 4;
/// Beside so many stuck ones none begins: a slow database is not given ever more transactions, and a pool has ten
/// connections unless it is set otherwise, of which claims and settles need theirs.
const STUCK_MAX: usize = 6;
/// The most calls that are tried alone at once, for the same reason.
const ALONE_MAX: usize = 2;

/// One caller's enqueue.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) tasks: Vec<NewTask>,
    pub(crate) answer: oneshot::Sender<Result<Vec<Enqueued>>>,
}

#[derive(Debug, Default)]
struct State {
    /// Somebody waits only while a flush runs.
    waiting: Vec<Call>,
    running: Vec<Running>,
    /// How many flushes wait for something, and hold nobody up.
    stuck: usize,
    begun: u64,
}

/// A flush that has a place.
#[derive(Debug)]
struct Running {
    number: u64,
    stuck_at: Instant,
}

impl State {
    /// Begins another flush if all that run are stuck; they lose their places.
    fn another(&mut self, now: Instant) -> Option<u64> {
        if self.running.iter().any(|flush| now < flush.stuck_at) {
            return None;
        }
        self.stuck += self.running.len();
        self.running.clear();
        if self.stuck >= STUCK_MAX {
            return None;
        }
        self.begun += 1;
        self.enter(self.begun, now);
        Some(self.begun)
    }

    fn enter(&mut self, number: u64, now: Instant) -> Instant {
        let stuck_at = now + FLUSH_STUCK;
        self.running.push(Running { number, stuck_at });
        stuck_at
    }

    fn leave(&mut self, number: u64) {
        match self.running.iter().position(|flush| flush.number == number) {
            Some(place) => {
                self.running.swap_remove(place);
            }
            None => self.stuck -= 1,
        }
    }
}

/// The calls that wait for the next flush.
#[derive(Debug)]
pub(crate) struct Coalescer {
    state: Mutex<State>,
    /// Tells flushes that somebody waits for them.
    waits: Notify,
    /// For calls that are tried alone.
    alone: Arc<Semaphore>,
}

impl Default for Coalescer {
    fn default() -> Self {
        Self { state: Mutex::default(), waits: Notify::new(), alone: Arc::new(Semaphore::new(ALONE_MAX)) }
    }
}

/// A flush under way, to be moved into the task that runs it, which may end before it began. It takes calls until none
/// wait.
#[must_use]
pub(crate) struct Flush {
    coalescer: Arc<Coalescer>,
    number: u64,
    /// When others no longer wait for the transaction that it is about.
    stuck_at: Instant,
    is_over: bool,
}

impl Coalescer {
    /// Whether these tasks may share a transaction with others'. A unique key may be held by a transaction that is
    /// open for long, and whoever enqueues it waits for that one: others should not. Nor should they for an id, but that
    /// one is sent twice at a time is rare, and every task has one.
    pub(crate) fn takes(tasks: &[NewTask]) -> bool {
        tasks.len() <= CALL_TASKS_MAX && tasks.iter().all(|task| task.unique_key.is_none())
    }

    /// Lets a call wait. Answers the flush that the caller must run, if any.
    pub(crate) fn push(self: &Arc<Self>, call: Call, now: Instant) -> Option<Flush> {
        let mut state = self.lock();
        state.waiting.push(call);
        let flush = state.another(now).map(|number| self.flush(number, now));
        if flush.is_none() && state.waiting.len() == 1 {
            self.waits.notify_waiters();
        }
        flush
    }

    /// Ends when the first call waits for a flush, counted from now.
    pub(crate) fn somebody_waits(&self) -> Notified<'_> {
        self.waits.notified()
    }

    fn flush(self: &Arc<Self>, number: u64, now: Instant) -> Flush {
        Flush { coalescer: Arc::clone(self), number, stuck_at: now, is_over: false }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flush {
    /// The calls of the next transaction, in the order in which they came. None: this flush is over, and others take
    /// what comes.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Vec<Call>> {
        let mut state = self.coalescer.lock();
        state.leave(self.number);
        // Nobody waits for these any more.
        state.waiting.retain(|call| !call.answer.is_closed());
        let count = fitting(&state.waiting);
        // Under the same lock as the look, so that no call comes in between and waits for ever.
        if count == 0 || state.running.len() >= FLUSHES_MAX {
            self.is_over = true;
            return None;
        }
        self.stuck_at = state.enter(self.number, now);
        let rest = state.waiting.split_off(count);
        Some(std::mem::replace(&mut state.waiting, rest))
    }

    /// Where its calls wait.
    pub(crate) fn coalescer(&self) -> &Arc<Coalescer> {
        &self.coalescer
    }

    /// The places of calls that are tried alone.
    pub(crate) fn places_alone(&self) -> &Arc<Semaphore> {
        &self.coalescer.alone
    }

    /// Whether calls wait.
    pub(crate) fn others_wait(&self) -> bool {
        !self.coalescer.lock().waiting.is_empty()
    }

    /// All calls that wait, where what failed this transaction would fail theirs.
    pub(crate) fn take_waiting(&self) -> Vec<Call> {
        std::mem::take(&mut self.coalescer.lock().waiting)
    }

    /// When others no longer wait for the transaction that it is about.
    pub(crate) fn stuck_at(&self) -> Instant {
        self.stuck_at
    }

    /// Whether the transaction that it is about was held up.
    pub(crate) fn is_stuck(&self, now: Instant) -> bool {
        now >= self.stuck_at
    }

    /// Another flush, to be run beside this one, if anybody waits for a stuck one.
    pub(crate) fn another(&self, now: Instant) -> Option<Flush> {
        let mut state = self.coalescer.lock();
        let number = if state.waiting.is_empty() { None } else { state.another(now) };
        number.map(|number| self.coalescer.flush(number, now))
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        // A panic, or the runtime's end. With nobody left to take them, the callers learn of it by their senders' end.
        let mut state = self.coalescer.lock();
        state.leave(self.number);
        if state.running.is_empty() {
            state.waiting.clear();
        }
    }
}

/// How many of the first calls fit into one transaction; the first always does.
fn fitting(waiting: &[Call]) -> usize {
    let (mut tasks, mut bytes) = (0, 0);
    let fits = |call: &&Call| {
        tasks += call.tasks.len();
        bytes += call.tasks.iter().map(|task| task.payload.as_str().len()).sum::<usize>();
        tasks <= FLUSH_TASKS_MAX && bytes <= FLUSH_BYTES_MAX
    };
    waiting.iter().take_while(fits).count().max(usize::from(!waiting.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Answered = oneshot::Receiver<Result<Vec<Enqueued>>>;

    fn call(tasks: usize) -> (Call, Answered) {
        let tasks = (0..tasks).map(|_| NewTask::raw("t", "1").expect("a valid task")).collect();
        let (answer, answered) = oneshot::channel();
        (Call { tasks, answer }, answered)
    }

    /// A call whose caller waits for ever.
    fn lasting(tasks: usize) -> Call {
        let (call, answered) = call(tasks);
        Box::leak(Box::new(answered));
        call
    }

    fn sizes(calls: Option<Vec<Call>>) -> Vec<usize> {
        calls.map_or(Vec::new(), |calls| calls.iter().map(|call| call.tasks.len()).collect())
    }

    #[test]
    fn calls_that_come_during_a_flush_share_the_next_one() {
        let (coalescer, now) = (Arc::<Coalescer>::default(), Instant::now());
        let mut flush = coalescer.push(lasting(1), now).expect("a lone call goes at once");
        assert_eq!(sizes(flush.next(now)), [1]);
        assert!(coalescer.push(lasting(2), now).is_none() && coalescer.push(lasting(3), now).is_none());
        assert_eq!(sizes(flush.next(now)), [2, 3]);
        assert!(flush.next(now).is_none());
        assert!(coalescer.push(lasting(1), now).is_some(), "the flush is over: the next call starts another");
    }

    #[test]
    fn a_flush_that_is_stuck_keeps_nobody_waiting() {
        let (coalescer, now) = (Arc::<Coalescer>::default(), Instant::now());
        let mut stuck = coalescer.push(lasting(1), now).expect("the first");
        assert_eq!(sizes(stuck.next(now)), [1]);
        assert!(coalescer.push(lasting(1), now + FLUSH_STUCK / 2).is_none());
        let mut another = coalescer.push(lasting(1), now + FLUSH_STUCK).expect("the other one is stuck");
        assert_eq!(sizes(another.next(now)), [1, 1]);
    }

    #[test]
    fn stuck_flushes_leave_connections_to_others_and_the_first_that_ends_takes_all_that_wait() {
        let (coalescer, mut now) = (Arc::<Coalescer>::default(), Instant::now());
        let mut stuck = Vec::new();
        for _ in 0..STUCK_MAX {
            let mut flush = coalescer.push(lasting(1), now).expect("all before it are stuck");
            assert_eq!(sizes(flush.next(now)), [1]);
            stuck.push(flush);
            now += FLUSH_STUCK;
        }
        assert!(coalescer.push(lasting(1), now).is_none());
        assert!(coalescer.push(lasting(1), now).is_none());
        assert_eq!(sizes(stuck[0].next(now)), [1, 1]);
    }

    #[test]
    fn a_flush_that_is_no_longer_stuck_takes_calls_again_while_there_is_a_place() {
        let (coalescer, now) = (Arc::<Coalescer>::default(), Instant::now());
        let begin = |times: u32| coalescer.push(lasting(1), now + FLUSH_STUCK * times).expect("one more");
        let mut flushes: Vec<Flush> = (0..=4).map(begin).collect();
        let later = now + FLUSH_STUCK * 4;
        assert_eq!(sizes(flushes[4].next(later)), [1; 5]);
        for (flush, taken) in flushes.iter_mut().zip([1, 1, 1, 0]) {
            assert!(coalescer.push(lasting(1), later).is_none());
            assert_eq!(sizes(flush.next(later)).len(), taken);
        }
        assert!(flushes[3].is_over);
    }

    #[test]
    fn a_transaction_is_bounded_but_takes_at_least_one_call() {
        let (coalescer, now) = (Arc::<Coalescer>::default(), Instant::now());
        let mut flush = coalescer.push(lasting(CALL_TASKS_MAX), now).expect("the first");
        for _ in 0..5 {
            assert!(coalescer.push(lasting(CALL_TASKS_MAX), now).is_none());
        }
        assert_eq!(sizes(flush.next(now)), [CALL_TASKS_MAX; 5]);
        assert_eq!(sizes(flush.next(now)), [CALL_TASKS_MAX]);
    }

    #[test]
    fn callers_of_a_flush_whose_runtime_ended_before_it_ran_are_told_and_the_next_call_starts_another() {
        let (coalescer, now) = (Arc::<Coalescer>::default(), Instant::now());
        let (waiting, mut answered) = call(1);
        let mut flush = coalescer.push(waiting, now).expect("the first");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.spawn(async move { while flush.next(Instant::now()).is_some() {} });
        drop(runtime);
        assert!(matches!(answered.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
        assert!(coalescer.push(lasting(1), now).is_some());
    }

    #[test]
    fn calls_whose_callers_have_gone_away_are_not_made() {
        let (coalescer, now) = (Arc::<Coalescer>::default(), Instant::now());
        let mut flush = coalescer.push(lasting(1), now).expect("the first");
        assert!(coalescer.push(call(2).0, now).is_none());
        assert_eq!(sizes(flush.next(now)), [1]);
    }

    #[test]
    fn large_calls_and_unique_tasks_go_by_themselves() {
        assert!(Coalescer::takes(&call(CALL_TASKS_MAX).0.tasks));
        assert!(!Coalescer::takes(&call(CALL_TASKS_MAX + 1).0.tasks));
        let unique = NewTask::raw("t", "1").expect("a valid task").unique_key("k");
        assert!(!Coalescer::takes(&[unique]));
    }
}
