//! The engines that are measured, each opened empty. It measures nothing.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::ValueEnum;
use taskqueue_core::Queue;
use taskqueue_memory::MemoryQueue;
use taskqueue_sqlite::{Durability, SqliteConfig, SqliteQueue};

/// An engine that can be measured on this machine without a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// This process's memory.
    Memory,
    /// An SQLite file, each commit on the disk.
    Sqlite,
}

impl Engine {
    /// Every engine.
    pub const ALL: [Self; 2] = [Self::Memory, Self::Sqlite];

    /// Opens an empty queue; one that has a file has it in `directory`, named after `name`.
    ///
    /// # Errors
    /// What the engine says.
    pub async fn open(self, directory: &Path, name: &str) -> Result<Arc<dyn Queue>> {
        match self {
            Self::Memory => Ok(Arc::new(MemoryQueue::new())),
            Self::Sqlite => Ok(Arc::new(open_sqlite(directory, name, Durability::Full).await?)),
        }
    }

    /// Opens a second instance for filling `queue` faster than it may be worked, where there is such a thing.
    ///
    /// # Errors
    /// What the engine says.
    pub async fn open_to_fill(
        self,
        queue: &Arc<dyn Queue>,
        directory: &Path,
        name: &str,
    ) -> Result<Arc<dyn Queue>> {
        match self {
            Self::Memory => Ok(Arc::clone(queue)),
            Self::Sqlite => Ok(Arc::new(open_sqlite(directory, name, Durability::Normal).await?)),
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Memory => "memory",
            Self::Sqlite => "sqlite",
        })
    }
}

/// Opens and migrates the file `<name>.db` in `directory`.
///
/// # Errors
/// What SQLite says.
pub async fn open_sqlite(directory: &Path, name: &str, durability: Durability) -> Result<SqliteQueue> {
    let path = sqlite_path(directory, name)?;
    let config = SqliteConfig::new(&path)?.durability(durability);
    let queue = SqliteQueue::with_config(config).await?;
    queue.migrate().await?;
    Ok(queue)
}

/// The path of the file `<name>.db`.
///
/// # Errors
/// When the directory is not UTF-8.
pub fn sqlite_path(directory: &Path, name: &str) -> Result<String> {
    let path = directory.join(format!("{name}.db"));
    Ok(path.to_str().context("the directory's path is not UTF-8")?.to_owned())
}
