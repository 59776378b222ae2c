//! The small things that handlers look up: who is told of a bucket's events, where a federated bucket is. Each is one
//! JSON document with a kind and a name; where documents are kept is behind one port. It knows no handler.

mod file;
mod restore;
#[cfg(feature = "sql")]
mod sql;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::file::FolderDocuments;
pub use self::restore::RestoreDocument;
#[cfg(feature = "sql")]
pub use self::sql::{SqlDocuments, TABLE_DEFAULT};
use crate::HandlerError;
use crate::event::{NotificationConfigStore, NotificationConfiguration};
use crate::federation::{FederationConfig, FederationConfigStore};

/// The longest name, in bytes: that of a key of S3. A path that holds it, encoded, still is one.
pub const NAME_BYTES_MAX: usize = 1024;

/// Which document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DocumentId<'a> {
    /// Its kind: 1 to 32 characters of `[a-z0-9_]`.
    pub kind: &'a str,
    /// Its name: 1 to [`NAME_BYTES_MAX`] bytes without NUL.
    pub name: &'a str,
}

/// A part of a list of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListNames<'a> {
    /// The kind.
    pub kind: &'a str,
    /// Names after this one; empty: from the first.
    pub after: &'a str,
    /// How many at most.
    pub limit: u32,
}

/// Where documents are kept. Each call is one step: a document is never seen half written.
#[async_trait]
pub trait DocumentStore: Send + Sync + 'static {
    /// The JSON text of a document, if there is one.
    async fn get(&self, id: DocumentId<'_>) -> Result<Option<String>, HandlerError>;

    /// Writes a document, over the one that was there.
    async fn put(&self, id: DocumentId<'_>, json: &str) -> Result<(), HandlerError>;

    /// Removes a document. One that is not there is removed already.
    async fn delete(&self, id: DocumentId<'_>) -> Result<(), HandlerError>;

    /// Names of a kind, in the order of their bytes.
    async fn list(&self, list: ListNames<'_>) -> Result<Vec<String>, HandlerError>;
}

#[async_trait]
impl<S: DocumentStore + ?Sized> DocumentStore for Arc<S> {
    async fn get(&self, id: DocumentId<'_>) -> Result<Option<String>, HandlerError> {
        (**self).get(id).await
    }

    async fn put(&self, id: DocumentId<'_>, json: &str) -> Result<(), HandlerError> {
        (**self).put(id, json).await
    }

    async fn delete(&self, id: DocumentId<'_>) -> Result<(), HandlerError> {
        (**self).delete(id).await
    }

    async fn list(&self, list: ListNames<'_>) -> Result<Vec<String>, HandlerError> {
        (**self).list(list).await
    }
}

/// What is kept as a document.
pub trait Document: Serialize + DeserializeOwned {
    /// The kind, stored with each: it never changes.
    const KIND: &'static str;
}

impl Document for NotificationConfiguration {
    const KIND: &'static str = "notification";
}

impl Document for FederationConfig {
    const KIND: &'static str = "federation";
}

/// Documents with their types. It is every small store that handlers ask for. Cheap to clone.
#[derive(Clone)]
pub struct Documents(Arc<dyn DocumentStore>);

impl Documents {
    /// The documents in `store`.
    pub fn new(store: impl DocumentStore) -> Self {
        Self(Arc::new(store))
    }

    /// Reads one.
    ///
    /// # Errors
    /// Permanent when what is there is no `T`; else what the store says.
    pub async fn read<T: Document>(&self, name: &str) -> Result<Option<T>, HandlerError> {
        let Some(json) = self.0.get(id::<T>(name)?).await? else { return Ok(None) };
        let invalid = |error| HandlerError::permanent(format!("{} {name:?}: {error}", T::KIND));
        serde_json::from_str(&json).map(Some).map_err(invalid)
    }

    /// Writes one, over the one that was there.
    ///
    /// # Errors
    /// What the store says.
    pub async fn write<T: Document>(&self, name: &str, document: &T) -> Result<(), HandlerError> {
        let invalid = |error| HandlerError::permanent(format!("{} {name:?}: {error}", T::KIND));
        let json = serde_json::to_string(document).map_err(invalid)?;
        self.0.put(id::<T>(name)?, &json).await
    }

    /// Removes one. What is not there is removed already.
    ///
    /// # Errors
    /// What the store says.
    pub async fn remove<T: Document>(&self, name: &str) -> Result<(), HandlerError> {
        self.0.delete(id::<T>(name)?).await
    }

    /// Up to `limit` names after `after`, in the order of their bytes.
    ///
    /// # Errors
    /// What the store says.
    pub async fn names<T: Document>(&self, after: &str, limit: u32) -> Result<Vec<String>, HandlerError> {
        self.0.list(ListNames { kind: T::KIND, after, limit }).await
    }
}

impl fmt::Debug for Documents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Documents")
    }
}

fn id<T: Document>(name: &str) -> Result<DocumentId<'_>, HandlerError> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains('\0') {
        let bytes = name.len();
        let message =
            format!("a name is 1 to {NAME_BYTES_MAX} bytes without NUL; this {} has {bytes}", T::KIND);
        return Err(HandlerError::permanent(message));
    }
    Ok(DocumentId { kind: T::KIND, name })
}

#[async_trait]
impl NotificationConfigStore for Documents {
    async fn get(&self, bucket: &str) -> Result<Option<Arc<NotificationConfiguration>>, HandlerError> {
        Ok(self.read(bucket).await?.map(Arc::new))
    }
}

#[async_trait]
impl FederationConfigStore for Documents {
    async fn get(&self, bucket: &str) -> Result<Option<FederationConfig>, HandlerError> {
        self.read(bucket).await
    }
}
