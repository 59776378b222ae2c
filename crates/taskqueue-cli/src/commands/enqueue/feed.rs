//! Lines on their way into a queue, batch by batch, until they end or the command is told to stop. It owns the size of a
//! batch; what is said of them is `tally`'s.

use std::future::Future;
use std::io::Read;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use taskqueue_core::{Enqueued, Queue};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinError;

use super::repeats::{self, GivenUp};
use super::tally::Tally;
use crate::failure::{Failure, Outcome};
use crate::input::{Line, Lines};
use crate::progress::Progress;
use crate::stop::Stop;

/// One transaction each: long enough to share a commit, short enough to let workers in between.
const BATCH: usize = 1000;
/// A batch ends with the payload that brings it here: what one call may carry is more, but has to be in memory.
const BATCH_BYTES: usize = 16 * 1024 * 1024;
/// How long the batch under way is waited for when the command is told to stop.
const LAST_BATCH_PERIOD: Duration = Duration::from_secs(1);

/// Whether somebody writes the input while it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    /// Then what has come is not kept waiting for a full batch.
    Waits,
    /// All of it can be read at once.
    IsThere,
}

/// How far a feed has come.
#[derive(Debug, Clone, Default)]
struct Far {
    tally: Tally,
    /// The lines of the batch that is on its way.
    under_way: Option<RangeInclusive<u64>>,
}

/// Lines on their way into a queue.
pub(super) struct Feed<R> {
    lines: Lines<R>,
    progress: Progress,
    input: Input,
    /// Who reads it may be told to stop, while this thread waits for input.
    far: watch::Sender<Far>,
    /// Begin no other batch.
    is_stopped: Arc<AtomicBool>,
}

impl<R: Read + Send + 'static> Feed<R> {
    /// Of these lines.
    pub(super) fn new(lines: Lines<R>, progress: Progress, input: Input) -> Self {
        Self { lines, progress, input, far: watch::Sender::default(), is_stopped: Arc::default() }
    }

    /// Enqueues all lines, then closes the queue. Told to stop, it waits a moment for the batch under way and says how far it
    /// came.
    pub(super) async fn run(self, queue: Arc<dyn Queue>) -> Outcome<Tally> {
        let mut stop = Stop::listen(false)?;
        let (mut far, is_stopped) = (self.far.subscribe(), Arc::clone(&self.is_stopped));
        let runtime = Handle::current();
        // On a thread of its own: a read of the input may take for ever, and a signal is to be heard meanwhile.
        let feeding = tokio::task::spawn_blocking(move || self.feed(&queue, &runtime));
        tokio::select! {
            fed = feeding => {
                return fed.unwrap_or_else(|_| Err(Failure::failed("enqueue: the thread that reads has panicked")));
            }
            () = stop.requested() => is_stopped.store(true, Ordering::SeqCst),
        }
        let quiet = far.wait_for(|far| far.under_way.is_none());
        tokio::select! {
            _ = tokio::time::timeout(LAST_BATCH_PERIOD, quiet) => {}
            () = stop.requested() => {}
        }
        let far = far.borrow();
        Err(far.tally.interrupted(far.under_way.as_ref()))
    }

    /// Enqueues all lines, then closes the queue. It blocks the thread.
    fn feed(mut self, queue: &Arc<dyn Queue>, runtime: &Handle) -> Outcome<Tally> {
        let fed = self.enqueue_all(queue, runtime);
        let closing = Arc::clone(queue);
        // What keeps it from being closed is the end of the program, which closes its connections.
        let _ = wait(runtime, async move { closing.close().await });
        fed.map(|()| self.far.borrow().tally.clone())
    }

    /// Enqueues all lines. An error says how far it came, since batches commit one by one.
    fn enqueue_all(&mut self, queue: &Arc<dyn Queue>, runtime: &Handle) -> Outcome {
        loop {
            let (batch, end) = self.next_batch();
            if let (Some(first), Some(last)) = (batch.first(), batch.last()) {
                let (lines, bytes) = (first.number..=last.number, last.bytes);
                let tasks = batch.into_iter().map(|line| line.task).collect();
                let queue = Arc::clone(queue);
                self.enqueue(runtime, lines, async move { repeats::enqueue(&queue, tasks).await })?;
                self.progress.set(bytes, "")?;
            }
            match end {
                None => {}
                Some(Ok(())) => return Ok(()),
                Some(Err(failure)) => return Err(self.far.borrow().tally.explain(failure)),
            }
        }
    }

    /// Waits for the call that enqueues these lines.
    fn enqueue(
        &mut self,
        runtime: &Handle,
        lines: RangeInclusive<u64>,
        call: impl Future<Output = Result<Vec<Enqueued>, GivenUp>> + Send + 'static,
    ) -> Outcome {
        // It says so first: who stops it looks at the same word.
        self.far.send_modify(|far| far.under_way = Some(lines.clone()));
        if self.is_stopped.load(Ordering::SeqCst) {
            self.far.send_modify(|far| far.under_way = None);
            return Err(self.far.borrow().tally.interrupted(None));
        }
        let Ok(answers) = wait(runtime, call) else {
            return Err(self.far.borrow().tally.interrupted(Some(&lines)));
        };
        let answers = answers.map_err(|given_up| self.far.borrow().tally.explain_batch(given_up, &lines))?;
        self.far.send_modify(|far| {
            far.tally.add(answers, &lines);
            far.under_way = None;
        });
        Ok(())
    }

    /// The next lines, and how the input ended if it did. What comes before a bad line is good and is enqueued,
    /// so that there is one simple thing to say: up to which line.
    fn next_batch(&mut self) -> (Vec<Line>, Option<Outcome>) {
        let (mut batch, mut bytes) = (Vec::with_capacity(BATCH), 0);
        while batch.len() < BATCH && bytes < BATCH_BYTES {
            match self.lines.next_task() {
                Ok(Some(line)) => {
                    bytes += line.task.payload.as_str().len();
                    batch.push(line);
                }
                Ok(None) => return (batch, Some(Ok(()))),
                Err(failure) => return (batch, Some(Err(failure))),
            }
            if self.input == Input::Waits && !self.lines.next_is_here() {
                break;
            }
        }
        (batch, None)
    }
}

/// Waits for a call to the queue, on this thread, while it runs in the runtime. At the end of the program the runtime drops the
/// call; one that ran on this thread would find the runtime's timers gone, and panic.
///
/// # Errors
/// The runtime ends, or the call panicked.
fn wait<T: Send + 'static>(
    runtime: &Handle,
    call: impl Future<Output = T> + Send + 'static,
) -> Result<T, JoinError> {
    runtime.block_on(runtime.spawn(call))
}

#[cfg(test)]
mod tests {
    use taskqueue_core::{NewTask, Result, delegate_queue};
    use taskqueue_memory::MemoryQueue;

    use super::*;
    use crate::failure::Code;
    use crate::input::{Defaults, LineForm};
    use crate::progress::Unit;

    /// A database that does not answer.
    struct Silent(MemoryQueue);

    delegate_queue!(Silent, |silent| silent.0, except enqueue_many);

    impl Silent {
        async fn enqueue_many(&self, _: Vec<NewTask>) -> Result<Vec<Enqueued>> {
            // A timer may not be polled any more once its runtime has ended.
            let mut ticks = tokio::time::interval(Duration::from_millis(1));
            loop {
                ticks.tick().await;
            }
        }
    }

    #[test]
    fn a_batch_without_an_answer_ends_with_the_runtime_and_does_not_panic() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("it starts");
        let queue: Arc<dyn Queue> = Arc::new(Silent(MemoryQueue::new()));
        let form = LineForm::Payloads("mail".parse().expect("it is valid"));
        let lines = Lines::new(&b"1\n"[..], form, Defaults::default(), 1);
        let feed = Feed::new(lines, Progress::quiet("enqueueing", Unit::Bytes, 0), Input::IsThere);
        let (mut far, handle) = (feed.far.subscribe(), runtime.handle().clone());
        let feeding = std::thread::spawn(move || feed.feed(&queue, &handle));
        runtime.block_on(far.wait_for(|far| far.under_way.is_some())).expect("it is there");

        runtime.shutdown_timeout(Duration::from_secs(10));

        let failure = feeding.join().expect("it does not panic").expect_err("it was interrupted");
        assert_eq!(failure.code(), Code::Interrupted);
    }
}
