//! Where a change is repeated: the object there, and the upload that is on its way to it. One is begun by each attempt and
//! ends with it, however the attempt ends. It knows no change and no task.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::store::{Attributes, Condition, ObjectRef, ObjectStore, Upload, Written};
use crate::transfer::{self, Source, TransferConfig, TransferError};

/// The object's place in the region that it is replicated to, for one attempt.
pub(super) struct Destination<'a> {
    pub(super) store: &'a dyn ObjectStore,
    pub(super) object: ObjectRef,
    under_way: Mutex<Option<Upload>>,
}

impl<'a> Destination<'a> {
    pub(super) fn new(store: &'a dyn ObjectStore, object: ObjectRef) -> Self {
        Self { store, object, under_way: Mutex::default() }
    }

    /// Deletes the object, as `condition` says.
    pub(super) async fn delete(&self, condition: &Condition) -> Result<(), TransferError> {
        transfer::delete(self.store, &self.object, condition).await.map_err(TransferError::Target)
    }

    /// Sends a large object in parts; what was sent of one that fails is thrown away.
    ///
    /// # Cancel safety
    /// When the future is dropped the upload stays until [`abort`](Self::abort).
    pub(super) async fn send(
        &self,
        source: &Source,
        attributes: &Attributes,
        condition: &Condition,
        config: &TransferConfig,
    ) -> Result<Written, TransferError> {
        let upload = transfer::begin(source, attributes, self.store, &self.object).await;
        let upload = upload.map_err(TransferError::Target)?;
        *self.under_way() = Some(upload.clone());
        let sent = match transfer::send_parts(source, self.store, &upload, config).await {
            Ok(parts) => {
                let completed = transfer::complete(self.store, &upload, &parts, condition).await;
                completed.map_err(TransferError::Target)
            }
            Err(error) => Err(error),
        };
        if sent.is_ok() {
            *self.under_way() = None;
        }
        self.abort().await;
        sent
    }

    /// Throws away what was sent in parts and is not complete.
    pub(super) async fn abort(&self) {
        let upload = self.under_way().clone();
        let Some(upload) = upload else { return };
        if let Err(error) = self.store.abort_upload(&upload).await {
            tracing::warn!(key = self.object.key, %error, "an upload that is given up was not aborted");
        }
        // Only now: who is dropped here is followed by who stops the attempt.
        *self.under_way() = None;
    }

    fn under_way(&self) -> MutexGuard<'_, Option<Upload>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
