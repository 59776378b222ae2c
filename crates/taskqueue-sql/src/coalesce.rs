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

/// What a call is answered.
pub(crate) type Answered = oneshot::Receiver<Result<Vec<Enqueued>>>;

/// One caller's enqueue.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) tasks: Vec<NewTask>,
    pub(crate) answer: oneshot::Sender<Result<Vec<Enqueued>>>,
}

/// How a call is served.
#[derive(Debug)]
pub(crate) enum Entered {
    /// By itself: nobody else enqueues. The flush is the caller's, and has taken no other call.
    Alone(Vec<NewTask>, Flush),
    /// By a flush under way.
    Waits(Answered),
    /// By this flush, which must be run in a task of its own, since others wait for it as well.
    Flushes(Answered, Flush),
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

/// A flush under way. It takes calls until none wait.
#[derive(Debug)]
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

    /// Takes in a call.
    pub(crate) fn enter(self: &Arc<Self>, tasks: Vec<NewTask>, now: Instant) -> Entered {
        let mut state = self.lock();
        let is_first = state.flushes == 0;
        let is_stuck =
            state.last_began.is_none_or(|began| now.saturating_duration_since(began) > FLUSH_STUCK);
        let flush = (is_first || (is_stuck && state.flushes < FLUSHES_MAX)).then(|| {
            state.flushes += 1;
            state.last_began = Some(now);
            Flush { coalescer: Arc::clone(self), is_over: false }
        });
        let mut wait = |tasks| {
            let (answer, answered) = oneshot::channel();
            state.waiting.push(Call { tasks, answer });
            answered
        };
        match flush {
            // Nothing waits without a flush.
            Some(flush) if is_first => Entered::Alone(tasks, flush),
            Some(flush) => Entered::Flushes(wait(tasks), flush),
            None => Entered::Waits(wait(tasks)),
        }
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
            drop(state);
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

    fn tasks(tasks: usize) -> Vec<NewTask> {
        (0..tasks).map(|_| NewTask::raw("t", "1").expect("a valid task")).collect()
    }

    /// A call of so many tasks, that serves itself.
    fn alone(coalescer: &Arc<Coalescer>, count: usize, now: Instant) -> Flush {
        match coalescer.enter(tasks(count), now) {
            Entered::Alone(taken, flush) if taken.len() == count => flush,
            other => panic!("others are on their way: {other:?}"),
        }
    }

    fn waits(coalescer: &Arc<Coalescer>, count: usize, now: Instant) -> Answered {
        match coalescer.enter(tasks(count), now) {
            Entered::Waits(answered) => answered,
            other => panic!("none is on its way: {other:?}"),
        }
    }

    fn sizes(calls: Option<Vec<Call>>) -> Vec<usize> {
        calls.map_or(Vec::new(), |calls| calls.iter().map(|call| call.tasks.len()).collect())
    }

    #[test]
    fn calls_that_come_during_a_flush_share_the_next_one() {
        let (coalescer, now) = (Arc::<Coalescer>::default(), Instant::now());
        let mut flush = alone(&coalescer, 1, now);
        let _answers = (waits(&coalescer, 2, now), waits(&coalescer, 3, now));
        assert_eq!(sizes(flush.next(now)), [2, 3]);
        assert!(flush.next(now).is_none());
        alone(&coalescer, 1, now);
    }

    #[test]
    fn a_flush_that_is_stuck_keeps_nobody_waiting() {
        let (coalescer, now) = (Arc::<Coalescer>::default(), Instant::now());
        let _stuck = alone(&coalescer, 1, now);
        let _answered = waits(&coalescer, 1, now + FLUSH_STUCK);
        let Entered::Flushes(_answered, mut flush) = coalescer.enter(tasks(1), now + FLUSH_STUCK * 2) else {
            panic!("the first flush is stuck");
        };
        assert_eq!(sizes(flush.next(now)), [1, 1]);
    }

    #[test]
    fn a_transaction_is_bounded_but_takes_at_least_one_call() {
        let (coalescer, now) = (Arc::<Coalescer>::default(), Instant::now());
        let mut flush = alone(&coalescer, 1, now);
        let _answers: Vec<Answered> = (0..6).map(|_| waits(&coalescer, CALL_TASKS_MAX, now)).collect();
        assert_eq!(sizes(flush.next(now)), [CALL_TASKS_MAX; 5]);
        assert_eq!(sizes(flush.next(now)), [CALL_TASKS_MAX]);
    }

    #[test]
    fn callers_of_a_flush_that_died_are_told() {
        let (coalescer, now) = (Arc::<Coalescer>::default(), Instant::now());
        let flush = alone(&coalescer, 1, now);
        let mut answered = waits(&coalescer, 1, now);
        drop(flush);
        assert!(matches!(answered.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
        alone(&coalescer, 1, now);
    }

    #[test]
    fn large_calls_and_unique_tasks_go_by_themselves() {
        assert!(Coalescer::takes(&tasks(CALL_TASKS_MAX)));
        assert!(!Coalescer::takes(&tasks(CALL_TASKS_MAX + 1)));
        let unique = NewTask::raw("t", "1").expect("a valid task").unique_key("k");
        assert!(!Coalescer::takes(&[unique]));
    }
}
