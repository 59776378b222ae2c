//! SQLite as an engine: each bed is a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use async_trait::async_trait;
use taskqueue_core::Queue;
use taskqueue_sqlite::{Durability, SqliteConfig, SqliteQueue};

use super::{Bed, Connections, Engine};
use crate::bare::{Bare, sqlite::BareFile};

/// What the bare program's file ends in.
const BARE: &str = ".bare";

/// Files in a folder.
pub(super) struct Sqlite {
    directory: PathBuf,
}

impl Sqlite {
    /// Files in this folder, which must be empty.
    pub(super) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }
}

#[async_trait]
impl Engine for Sqlite {
    async fn bed(&self, name: &str) -> Result<Box<dyn Bed>> {
        let path = path(&self.directory, name)?;
        Ok(Box::new(SqliteBed { path }))
    }
}

struct SqliteBed {
    path: String,
}

#[async_trait]
impl Bed for SqliteBed {
    async fn open(&self, _: Connections) -> Result<Arc<dyn Queue>> {
        Ok(Arc::new(open(&self.path, Durability::Full).await?))
    }

    async fn open_to_fill(&self, _: &Arc<dyn Queue>) -> Result<Arc<dyn Queue>> {
        Ok(Arc::new(open(&self.path, Durability::Normal).await?))
    }

    /// Its path.
    fn url(&self) -> Result<&str> {
        Ok(&self.path)
    }

    async fn bare(&self, _: usize) -> Result<Arc<dyn Bare>> {
        let path = format!("{}{BARE}", self.path);
        open(&path, Durability::Full).await?.close().await;
        Ok(Arc::new(BareFile::connect(&path).await?))
    }

    async fn remove(self: Box<Self>) -> Result<()> {
        for suffix in ["", "-wal", "-shm", BARE, ".bare-wal", ".bare-shm"] {
            // What is not there need not be removed.
            std::fs::remove_file(format!("{}{suffix}", self.path)).ok();
        }
        Ok(())
    }
}

/// Opens and migrates a file.
///
/// # Errors
/// What SQLite says.
pub(crate) async fn open(path: &str, durability: Durability) -> Result<SqliteQueue> {
    let queue = SqliteQueue::with_config(SqliteConfig::new(path)?.durability(durability)).await?;
    queue.migrate().await?;
    Ok(queue)
}

/// The path of the file `<name>.db`.
///
/// # Errors
/// When the directory is not UTF-8.
pub(crate) fn path(directory: &Path, name: &str) -> Result<String> {
    let path = directory.join(format!("{name}.db"));
    Ok(path.to_str().context("the directory's path is not UTF-8")?.to_owned())
}
