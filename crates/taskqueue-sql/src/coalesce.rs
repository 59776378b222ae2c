//! Joins enqueues that arrive while another one is on its way: they share the next transaction, and each caller gets
//! its own answer once that is durable. Nobody waits for company: a lone enqueue goes at once. It knows no SQL and
//! runs nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use taskqueue_core::{Enqueued, NewTask, Result};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// A call of more tasks is large enough to go by itself.
const CALL_TASKS_MAX: usize = 100;
/// The most tasks and payload bytes that share a transaction.
const FLUSH_TASKS_MAX: usize = 500;
const FLUSH_BYTES_MAX: usize = 1 << 20;
/// A flush that takes longer is stuck behind somebody's lock or a slow network: others no longer wait for it.
const FLUSH_STUCK: Duration = Duration::from_millis(20);
/// The most flushes at once.
const FLUSHES_MAX: usize = 4;

/// One caller's enqueue.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) tasks: Vec<NewTask>,
    pub(crate) answer: oneshot::Sender<Result<Vec<Enqueued>>>,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Call>,
    flushes: usize,
    last_began: Option<Instant>,
}

/// The calls that wait for the next flush.
#[derive(Debug, Default)]
pub(crate) struct Coalescer(Mutex<State>);

/// A flush under way, to be moved into the task that runs it, which may end before it began. It takes calls until none
/// wait.
#[must_use]
pub(crate) struct Flush {
    coalescer: Arc<Coalescer>,
    is_over: bool,
}

impl Coalescer {
    /// Whether these tasks may share a transaction with others'. A unique key may be held by a transaction that is
    /// open for long, and whoever enqueues it waits for that one: others should not.
    pub(crate) fn takes(tasks: &[NewTask]) -> bool {
        tasks.len() <= CALL_TASKS_MAX && tasks.iter().all(|task| task.unique_key.is_none())
    }

    /// Lets a call wait. Answers the flush that the caller must run, if any.
    pub(crate) fn push(self: &Arc<Self>, call: Call, now: Instant) -> Option<Flush> {
        let mut state = self.lock();
        state.waiting.push(call);
        let is_stuck =
            state.last_began.is_none_or(|began| now.saturating_duration_since(began) > FLUSH_STUCK);
        let starts = state.flushes == 0 || (is_stuck && state.flushes < FLUSHES_MAX);
        if starts {
            state.flushes += 1;
            state.last_began = Some(now);
        }
        starts.then(|| Flush { coalescer: Arc::clone(self), is_over: false })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flush {
    /// The calls of the next transaction, in the order in which they came. None: this flush is over, and the next
    /// call starts another.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Vec<Call>> {
        let mut state = self.coalescer.lock();
        let count = fitting(&state.waiting);
        if count == 0 {
            // Under the same lock as the look, so that no call comes in between and waits for ever.
            state.flushes -= 1;
            self.is_over = true;
            return None;
        }
        state.last_began = Some(now);
        let rest = state.waiting.split_off(count);
        Some(std::mem::replace(&mut state.waiting, rest))
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        // A panic, or the runtime's end. With nobody left to take them, the callers learn of it by their senders' end.
        let mut state = self.coalescer.lock();
        state.flushes -= 1;
        if state.flushes == 0 {
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

    fn sizes(calls: Option<Vec<Call>>) -> Vec<usize> {
        calls.map_or(Vec::new(), |calls| calls.iter().map(|call| call.tasks.len()).collect())
    }

    #[test]
    fn calls_that_come_during_a_flush_share_the_next_one() {
        let (coalescer, now) = (Arc::<Coalescer>::default(), Instant::now());
        let mut flush = coalescer.push(call(1).0, now).expect("a lone call goes at once");
        assert_eq!(sizes(flush.next(now)), [1]);
        assert!(coalescer.push(call(2).0, now).is_none() && coalescer.push(call(3).0, now).is_none());
        assert_eq!(sizes(flush.next(now)), [2, 3]);
        assert!(flush.next(now).is_none());
        assert!(coalescer.push(call(1).0, now).is_some(), "the flush is over: the next call starts another");
    }

    #[test]
    fn a_flush_that_is_stuck_keeps_nobody_waiting() {
        let (coalescer, now) = (Arc::<Coalescer>::default(), Instant::now());
        let mut stuck = coalescer.push(call(1).0, now).expect("the first");
        assert_eq!(sizes(stuck.next(now)), [1]);
        assert!(coalescer.push(call(1).0, now + FLUSH_STUCK).is_none());
        let mut another = coalescer.push(call(1).0, now + FLUSH_STUCK * 2).expect("the other one is stuck");
        assert_eq!(sizes(another.next(now)), [1, 1]);
    }

    #[test]
    fn a_transaction_is_bounded_but_takes_at_least_one_call() {
        let (coalescer, now) = (Arc::<Coalescer>::default(), Instant::now());
        let mut flush = coalescer.push(call(CALL_TASKS_MAX).0, now).expect("the first");
        for _ in 0..5 {
            assert!(coalescer.push(call(CALL_TASKS_MAX).0, now).is_none());
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
        assert!(coalescer.push(call(1).0, now).is_some());
    }

    #[test]
    fn large_calls_and_unique_tasks_go_by_themselves() {
        assert!(Coalescer::takes(&call(CALL_TASKS_MAX).0.tasks));
        assert!(!Coalescer::takes(&call(CALL_TASKS_MAX + 1).0.tasks));
        let unique = NewTask::raw("t", "1").expect("a valid task").unique_key("k");
        assert!(!Coalescer::takes(&[unique]));
    }
}
