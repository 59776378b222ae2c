//! Where the demo runs: which queue, and the folder of its files. It owns that nobody's tasks are touched by accident.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use taskqueue_core::Queue;
use taskqueue_sql::TableName;

use crate::connect;
use crate::failure::{Failure, Outcome};
use crate::target::{Place as Leads, Target};

/// The table on a server: never one that others work on, unless it is asked for.
const SERVER_TABLE: &str = "taskqueue_demo";

/// Where the demo keeps its files. A temporary folder goes when this is dropped.
pub(super) struct Place {
    folder: Folder,
    pub(super) target: Target,
}

enum Folder {
    Temporary(tempfile::TempDir),
    Kept(PathBuf),
}

impl Place {
    /// The command line's queue if it names one, else a SQLite file that goes with the demo unless it is kept.
    pub(super) fn choose(target: &Target, keep: bool) -> Outcome<Self> {
        let cannot = |error| Failure::io("cannot make a temporary folder", &error);
        let folder = tempfile::Builder::new().prefix("taskqueue-demo-").tempdir().map_err(cannot)?;
        let folder = if keep { Folder::Kept(folder.keep()) } else { Folder::Temporary(folder) };
        let target = match target.is_given() {
            false => Target::of_file(&folder.path().join("demo.db")),
            true => target.clone(),
        };
        let target = match target.place()? {
            Leads::File(_) => target,
            Leads::Server(_) => target.in_table(TableName::new(SERVER_TABLE)?),
        };
        Ok(Self { folder, target })
    }

    /// Opens the queue. On a server the tables are the demo's own, so it may make them.
    pub(super) async fn open(&self) -> Outcome<Arc<dyn Queue>> {
        match self.target.place()? {
            Leads::File(_) => connect::existing_or_new(&self.target).await,
            Leads::Server(_) => connect::migrated(&self.target, None).await.map(|opened| opened.queue),
        }
    }

    /// Where a worker's log goes.
    pub(super) fn log(&self, number: u32) -> PathBuf {
        self.file(&format!("worker-{number}.log"))
    }

    /// A file of the demo's own.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Whether the database is there after the demo.
    pub(super) fn is_kept(&self) -> bool {
        match (&self.folder, self.target.place()) {
            (Folder::Temporary(folder), Ok(Leads::File(file))) => !file.starts_with(folder.path()),
            _ => true,
        }
    }

    /// How the queue is named for people.
    pub(super) fn shown(&self) -> String {
        match self.target.place() {
            Ok(Leads::File(_)) => self.target.url().to_owned(),
            _ => format!("{}, {}", self.target, self.target.table_options().join(" ")),
        }
    }

    /// The options that lead to the queue. A server's URL is left to whoever typed it.
    pub(super) fn options(&self) -> String {
        let database = match self.target.place() {
            Ok(Leads::File(_)) => self.target.url(),
            _ => "URL",
        };
        let options = [vec!["--database".to_owned(), database.to_owned()], self.target.table_options()];
        options.concat().join(" ")
    }
}

impl Folder {
    fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Kept(path) => path,
        }
    }
}
