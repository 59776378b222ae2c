//! How far restores are, as documents: one for each object and request, for whoever asks.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Document, Documents};
use crate::HandlerError;
use crate::restore::{RestoreProgress, RestoreStatus, RestoreStatusStore};
use crate::store::ObjectRef;

/// How far one restore is. Its name is [`RestoreDocument::name`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreDocument {
    /// The stored object, by the id that the request gave.
    pub object_id: Uuid,
    /// The request that asked for it.
    pub request_id: String,
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// The version; none: the current one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
    /// How far it is.
    pub status: RestoreStatus,
    /// Until when the object is readable; none: for good, or it is not yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
    /// When this was seen.
    pub at: DateTime<Utc>,
}

impl Document for RestoreDocument {
    const KIND: &'static str = "restore";
}

impl RestoreDocument {
    /// The name of the document: the object's id, and the request's.
    pub fn name(object_id: Uuid, request_id: &str) -> String {
        format!("{object_id}/{request_id}")
    }
}

impl From<&RestoreProgress> for RestoreDocument {
    fn from(progress: &RestoreProgress) -> Self {
        let ObjectRef { bucket, key, version_id } = progress.object.clone();
        Self {
            object_id: progress.object_id,
            request_id: progress.request_id.clone(),
            bucket,
            key,
            version_id,
            status: progress.status,
            expires_at: progress.expires_at,
            at: progress.at,
        }
    }
}

#[async_trait]
impl RestoreStatusStore for Documents {
    async fn record(&self, progress: &RestoreProgress) -> Result<(), HandlerError> {
        let name = RestoreDocument::name(progress.object_id, &progress.request_id);
        self.write(&name, &RestoreDocument::from(progress)).await
    }
}
