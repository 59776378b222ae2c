//! The local wake-up signal: an enqueue in this process rouses the workers of this process. A hint; polling
//! remains what correctness rests on.

use std::sync::Arc;

use tokio::sync::watch;

/// The sending side, one for each queue instance. Cheap to clone.
#[derive(Debug, Clone)]
pub struct WakeUp(Arc<watch::Sender<()>>);

impl WakeUp {
    /// A signal that nobody listens to yet.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(())))
    }

    /// Rouses every listener; one that is busy finds out at its next wait.
    pub fn notify(&self) {
        self.0.send_replace(());
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
pub struct WakeListener(watch::Receiver<()>);

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
}
