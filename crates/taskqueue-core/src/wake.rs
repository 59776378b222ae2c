//! The local wake-up signal: an enqueue in this process rouses the workers of this process, and what a backend hears of
//! others does so too; and a cancel in this process tells them which running task it met. Hints; polls and heartbeats
//! remain what correctness rests on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::watch;

use crate::TaskId;

/// How many cancels a listener may be behind; of more the oldest are not heard.
const CANCELS_MAX: usize = 64;

/// The sending side, one for each queue instance. Cheap to clone.
#[derive(Debug, Clone)]
pub struct WakeUp(Arc<Signals>);

#[derive(Debug)]
struct Signals {
    /// Its value: whether others are heard.
    ready: watch::Sender<bool>,
    /// How many listeners wait right now.
    waiting: Arc<AtomicUsize>,
    cancelled: broadcast::Sender<TaskId>,
}

/// A listener while it waits.
struct Waiting<'s>(&'s AtomicUsize);

impl<'s> Waiting<'s> {
    fn new(waiting: &'s AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl WakeUp {
    /// A signal that nobody listens to yet, and that comes from this process only.
    pub fn new() -> Self {
        let (ready, cancelled) = (watch::Sender::new(false), broadcast::Sender::new(CANCELS_MAX));
        Self(Arc::new(Signals { ready, waiting: Arc::default(), cancelled }))
    }

    /// Rouses every listener; one that is busy finds out at its next wait.
    pub fn notify(&self) {
        self.0.ready.send_modify(|_| {});
    }

    /// Tells that a running task was cancelled, so that a worker of this process that runs it need not wait for its next
    /// heartbeat.
    pub fn notify_cancelled(&self, id: TaskId) {
        // Without a listener nobody runs it here.
        let _ = self.0.cancelled.send(id);
    }

    /// Tells whether from now on the signal comes soon also when other processes make tasks ready. It rouses nobody.
    pub fn set_hears_others(&self, hears_others: bool) {
        self.0.ready.send_if_modified(|value| {
            *value = hears_others;
            false
        });
    }

    /// A listener that is roused by notifications from now on.
    pub fn listen(&self) -> WakeListener {
        WakeListener { ready: self.0.ready.subscribe(), waiting: Arc::clone(&self.0.waiting) }
    }

    /// Whether somebody waits for a notification right now: a worker of this process that would look at once.
    pub fn is_awaited(&self) -> bool {
        self.0.waiting.load(Ordering::Relaxed) > 0
    }

    /// A listener to running tasks that are cancelled from now on.
    pub fn listen_cancelled(&self) -> CancelListener {
        CancelListener(self.0.cancelled.subscribe())
    }
}

impl Default for WakeUp {
    fn default() -> Self {
        Self::new()
    }
}

/// The listening side.
#[derive(Debug)]
pub struct WakeListener {
    ready: watch::Receiver<bool>,
    waiting: Arc<AtomicUsize>,
}

impl WakeListener {
    /// Waits for a notification since the last wait. Waits for ever when the queue is gone.
    ///
    /// # Cancel safety
    /// A notification is not lost when the wait is dropped.
    pub async fn notified(&mut self) {
        let _waiting = Waiting::new(&self.waiting);
        if self.ready.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether what other processes make ready comes by this signal too, as a rule: then there is less need to poll.
    pub fn hears_others(&self) -> bool {
        *self.ready.borrow()
    }
}

/// The listening side for cancels.
#[derive(Debug)]
pub struct CancelListener(broadcast::Receiver<TaskId>);

impl CancelListener {
    /// Waits for the next running task that is cancelled in this process. Waits for ever when the queue is gone.
    ///
    /// # Cancel safety
    /// No cancel is lost when the wait is dropped.
    pub async fn cancelled(&mut self) -> TaskId {
        loop {
            match self.0.recv().await {
                Ok(id) => return id,
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn who_is_heard_can_be_told_without_rousing_anybody() {
        let wake_up = WakeUp::new();
        let mut listener = wake_up.listen();
        assert!(!listener.hears_others());
        wake_up.set_hears_others(true);
        assert!(listener.hears_others());
        assert!(listener.notified().now_or_never().is_none());
        wake_up.notify();
        assert!(listener.notified().now_or_never().is_some());
    }

    #[test]
    fn who_waits_right_now_is_known() {
        let wake_up = WakeUp::new();
        let mut listeners = [(); 2].map(|()| wake_up.listen());
        assert!(!wake_up.is_awaited(), "listening is not waiting");
        let [mut first, mut second] = listeners.each_mut().map(|listener| Box::pin(listener.notified()));
        assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
        drop(first);
        assert!(wake_up.is_awaited());
        wake_up.notify();
        assert!(second.as_mut().now_or_never().is_some());
        drop(second);
        assert!(!wake_up.is_awaited());
    }

    #[test]
    fn every_listener_hears_of_the_latest_cancels_and_nobody_is_roused_by_them() {
        let wake_up = WakeUp::new();
        wake_up.notify_cancelled(TaskId::generate());
        let (mut ready, mut listeners) = (wake_up.listen(), [(); 2].map(|()| wake_up.listen_cancelled()));
        let ids: Vec<TaskId> = (0..=CANCELS_MAX).map(|_| TaskId::generate()).collect();
        ids.iter().for_each(|id| wake_up.notify_cancelled(*id));
        for listener in &mut listeners {
            for id in &ids[1..] {
                assert_eq!(listener.cancelled().now_or_never(), Some(*id));
            }
            assert!(listener.cancelled().now_or_never().is_none());
        }
        assert!(ready.notified().now_or_never().is_none());
    }
}
