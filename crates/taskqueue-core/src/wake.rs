//! The local wake-up signal: an enqueue in this process rouses the workers of this process, and what a backend hears of
//! others does so too. A hint; polling remains what correctness rests on.

use std::sync::Arc;

use tokio::sync::watch;

/// The sending side, one for each queue instance. Cheap to clone. Its value: whether others are heard.
#[derive(Debug, Clone)]
pub struct WakeUp(Arc<watch::Sender<bool>>);

impl WakeUp {
    /// A signal that nobody listens to yet, and that comes from this process only.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// Rouses every listener; one that is busy finds out at its next wait.
    pub fn notify(&self) {
        self.0.send_modify(|_| {});
    }

    /// Tells whether from now on the signal comes soon also when other processes make tasks ready. It rouses nobody.
    pub fn set_hears_others(&self, hears_others: bool) {
        self.0.send_if_modified(|value| {
            *value = hears_others;
            false
        });
    }

    /// A listener that is roused by notifications from now on.
    pub fn listen(&self) -> WakeListener {
        WakeListener(self.0.subscribe())
    }
}

impl Default for WakeUp {
    fn default() -> Self {
        Self::new()
    }
}

/// The listening side.
#[derive(Debug)]
pub struct WakeListener(watch::Receiver<bool>);

impl WakeListener {
    /// Waits for a notification since the last wait. Waits for ever when the queue is gone.
    ///
    /// # Cancel safety
    /// A notification is not lost when the wait is dropped.
    pub async fn notified(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether what other processes make ready comes by this signal too, as a rule: then there is less need to poll.
    pub fn hears_others(&self) -> bool {
        *self.0.borrow()
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
}
