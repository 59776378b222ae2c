//! Which tasks were handled, and when: what every handler calls. One ledger is open at a time, because one worker runs
//! at a time and some peers' handlers can hold nothing.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout};

use crate::peer::Photo;

static OPEN: RwLock<Option<Arc<Ledger>>> = RwLock::new(None);

/// What a handler does: nothing but telling that it ran.
pub(crate) fn handled(photo: &Photo) {
    if let Some(ledger) = OPEN.read().unwrap_or_else(PoisonError::into_inner).as_deref() {
        ledger.note(photo.number());
    }
}

/// The tasks of one measurement.
pub(crate) struct Ledger {
    seen: Vec<AtomicBool>,
    handled: AtomicUsize,
    strange: AtomicUsize,
    all: Notify,
    starts: mpsc::UnboundedSender<Instant>,
}

impl Ledger {
    /// Opens a ledger of so many tasks; whatever is handled from now on is noted in it. Also answers when each handler
    /// started.
    pub(crate) fn open(tasks: usize) -> (Arc<Self>, mpsc::UnboundedReceiver<Instant>) {
        let (starts, started) = mpsc::unbounded_channel();
        let ledger = Arc::new(Self {
            seen: (0..tasks).map(|_| AtomicBool::new(false)).collect(),
            handled: AtomicUsize::new(0),
            strange: AtomicUsize::new(0),
            all: Notify::new(),
            starts,
        });
        *OPEN.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&ledger));
        (ledger, started)
    }

    fn note(&self, number: usize) {
        let is_new = self.seen.get(number).is_some_and(|seen| !seen.swap(true, Ordering::AcqRel));
        if !is_new {
            self.strange.fetch_add(1, Ordering::AcqRel);
            return;
        }
        // Nobody listens in a drain.
        self.starts.send(Instant::now()).ok();
        if self.handled.fetch_add(1, Ordering::AcqRel) + 1 == self.seen.len() {
            self.all.notify_one();
        }
    }

    /// Waits until every task was handled.
    pub(crate) async fn wait_for_all(&self, limit: Duration) -> Result<()> {
        let is_in_time = timeout(limit, self.all.notified()).await.is_ok();
        let handled = self.handled.load(Ordering::Acquire);
        ensure!(is_in_time, "{handled} of {} tasks were handled in {limit:?}", self.seen.len());
        Ok(())
    }

    /// Errors when a task was handled twice, or one that nobody enqueued.
    pub(crate) fn check(&self) -> Result<()> {
        let strange = self.strange.load(Ordering::Acquire);
        ensure!(strange == 0, "{strange} tasks were handled twice");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_drain_counts_only_when_every_task_was_handled_once() {
        let (ledger, _started) = Ledger::open(2);
        handled(&Photo::new(0));
        ledger.wait_for_all(Duration::from_millis(1)).await.expect_err("one task is lost");
        handled(&Photo::new(1));
        ledger.wait_for_all(Duration::from_secs(60)).await.expect("both are handled");
        ledger.check().expect("each once");
        handled(&Photo::new(1));
        ledger.check().expect_err("one is handled twice");
    }
}
