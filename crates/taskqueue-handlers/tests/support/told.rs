//! A store of restores' progress that keeps all that it is told.

use std::sync::Mutex;

use async_trait::async_trait;
use taskqueue_handlers::HandlerError;
use taskqueue_handlers::restore::{RestoreProgress, RestoreStatus, RestoreStatusStore};

#[derive(Default)]
pub(crate) struct Told(pub(crate) Mutex<Vec<RestoreProgress>>);

#[async_trait]
impl RestoreStatusStore for Told {
    async fn record(&self, progress: &RestoreProgress) -> Result<(), HandlerError> {
        self.0.lock().unwrap().push(progress.clone());
        Ok(())
    }
}

impl Told {
    pub(crate) fn statuses(&self) -> Vec<RestoreStatus> {
        self.0.lock().unwrap().iter().map(|it| it.status).collect()
    }
}
