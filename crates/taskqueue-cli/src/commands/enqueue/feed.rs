//! Lines on their way into a queue, batch by batch, until they end or the command is told to stop. It owns the size of a
//! batch; what is said of them is `tally`'s.

use std::io::Read;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use taskqueue_core::{NewTask, Queue};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::repeats;
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
    pub(super) async fn run(mut self, queue: Arc<dyn Queue>) -> Outcome<Tally> {
        let mut stop = Stop::listen(false)?;
        let (mut far, is_stopped) = (self.far.subscribe(), Arc::clone(&self.is_stopped));
        let runtime = Handle::current();
        // On a thread of its own: a read of the input may take for ever, and a signal is to be heard meanwhile.
        let feeding = tokio::task::spawn_blocking(move || {
            let fed = runtime.block_on(self.enqueue_all(&queue));
            runtime.block_on(queue.close());
            fed.map(|()| self.far.borrow().tally.clone())
        });
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

    /// Enqueues all lines. An error says how far it came, since batches commit one by one.
    async fn enqueue_all(&mut self, queue: &impl Queue) -> Outcome {
        loop {
            let (batch, end) = self.next_batch();
            if let (Some(first), Some(last)) = (batch.first(), batch.last()) {
                let (lines, bytes) = (first.number..=last.number, last.bytes);
                let tasks = batch.into_iter().map(|line| line.task).collect();
                self.enqueue(queue, tasks, lines).await?;
                self.progress.set(bytes, "")?;
            }
            match end {
                None => {}
                Some(Ok(())) => return Ok(()),
                Some(Err(failure)) => return Err(self.far.borrow().tally.explain(failure)),
            }
        }
    }

    async fn enqueue(
        &mut self,
        queue: &impl Queue,
        tasks: Vec<NewTask>,
        lines: RangeInclusive<u64>,
    ) -> Outcome {
        // It says so first: who stops it looks at the same word.
        self.far.send_modify(|far| far.under_way = Some(lines.clone()));
        if self.is_stopped.load(Ordering::SeqCst) {
            self.far.send_modify(|far| far.under_way = None);
            return Err(self.far.borrow().tally.interrupted(None));
        }
        let answers = repeats::enqueue(queue, tasks).await;
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
