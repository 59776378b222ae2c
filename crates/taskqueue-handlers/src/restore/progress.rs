//! How far a restore is, and the port that is told so. It knows no store of objects.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::HandlerError;
use crate::store::ObjectRef;

/// How far a restore is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestoreStatus {
    /// `requested`: the store has been asked.
    Requested,
    /// `ongoing`: the store is at it.
    Ongoing,
    /// `restored`: the object is readable.
    Restored,
    /// `failed`: it will not be restored by this request.
    Failed,
}

impl RestoreStatus {
    /// Every status.
    pub const ALL: [Self; 4] = [Self::Requested, Self::Ongoing, Self::Restored, Self::Failed];

    /// The JSON name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Ongoing => "ongoing",
            Self::Restored => "restored",
            Self::Failed => "failed",
        }
    }
}

/// What is told of a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreProgress {
    /// The stored object, by the id that the request gave.
    pub object_id: Uuid,
    /// The request that asked for it.
    pub request_id: String,
    /// The object.
    pub object: ObjectRef,
    /// How far it is.
    pub status: RestoreStatus,
    /// Until when the object is readable; none: for good, or it is not yet.
    pub expires_at: Option<DateTime<Utc>>,
    /// When this was seen.
    pub at: DateTime<Utc>,
}

/// Keeps how far restores are, for whoever asks. What comes later about a request replaces what came before; the same
/// may come twice.
#[async_trait]
pub trait RestoreStatusStore: Send + Sync + 'static {
    /// Keeps it. The handler's task does not end before this has.
    ///
    /// # Errors
    /// Whatever keeps it from being kept: the task is then retried as the error says.
    async fn record(&self, progress: &RestoreProgress) -> Result<(), HandlerError>;
}
