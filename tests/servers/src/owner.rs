//! Whose a container is: each run has a folder of its own with a locked file in it, and its containers are labelled
//! with the folder. The system gives the lock back however the run ends, so whoever can take it knows that the owner
//! is gone. It removes nothing.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

/// The label of everything that a run makes in Docker.
pub(crate) const LABEL: &str = "org.taskqueue.owner";
/// How the names of the folders begin.
pub(crate) const PREFIX: &str = "taskqueue-servers-";
const LOCK: &str = "lock";

/// This run.
#[derive(Debug)]
pub(crate) struct Owner {
    folder: TempDir,
    _lock: File,
}

impl Owner {
    /// Makes the folder and locks it.
    pub(crate) fn take() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir().context("make a temporary folder")?;
        let lock = lock(folder.path()).with_context(|| format!("lock {}", folder.path().display()))?;
        Ok(Self { folder, _lock: lock })
    }

    /// For data that goes with the run.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A name that no other run has.
    pub(crate) fn name(&self) -> String {
        self.folder().file_name().expect("a temporary folder has a name").to_string_lossy().into_owned()
    }

    /// The value of the label.
    pub(crate) fn label(&self) -> String {
        format!("{}:{}", host(), self.folder().display())
    }
}

/// Locked under another name first, so that nobody sees it unlocked.
fn lock(folder: &Path) -> Result<File> {
    let new = folder.join("lock.new");
    let file = File::create(&new)?;
    file.lock()?;
    fs::rename(new, folder.join(LOCK))?;
    Ok(file)
}

/// The name of this machine.
pub(crate) fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Whether what carries this label was made by a run on this machine that has ended.
pub(crate) fn is_orphan(label: &str, host: &str, is_held: impl FnOnce(&Path) -> bool) -> bool {
    label.split_once(':').is_some_and(|(of, folder)| of == host && !is_held(Path::new(folder)))
}

/// Whether the run of this folder goes on. A folder that is gone has no run; one that cannot be looked into may.
pub(crate) fn is_held(folder: &Path) -> bool {
    match File::open(folder.join(LOCK)) {
        Ok(file) => !matches!(file.try_lock(), Ok(()) | Err(TryLockError::Error(_))),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}

/// The folders of runs that have ended without removing them.
pub(crate) fn folders_left() -> Vec<PathBuf> {
    let entries = fs::read_dir(std::env::temp_dir()).into_iter().flatten().filter_map(Result::ok);
    let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX));
    let locked = ours.map(|entry| entry.path()).filter(|folder| folder.join(LOCK).exists());
    locked.filter(|folder| !is_held(folder)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_goes_on_holds_its_folder_and_one_that_ended_does_not() {
        let owner = Owner::take().expect("there is room");
        assert!(is_held(owner.folder()));

        let (folder, name) = (owner.folder().to_owned(), owner.name());
        drop(owner);

        assert!(name.starts_with(PREFIX));
        assert!(!is_held(&folder), "it is gone");
    }

    #[test]
    fn the_folder_of_a_killed_run_is_found() {
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir().expect("there is room");
        fs::write(folder.path().join(LOCK), "").expect("there is room");
        assert!(!is_held(folder.path()));
        assert!(folders_left().contains(&folder.path().to_owned()));
    }

    #[test]
    fn only_what_an_ended_run_of_this_machine_made_is_an_orphan() {
        let label = "ada:/tmp/taskqueue-servers-x";
        assert!(is_orphan(label, "ada", |_| false));
        assert!(!is_orphan(label, "ada", |_| true), "its run goes on");
        assert!(!is_orphan(label, "bea", |_| false), "another machine's, with the same engine");
        assert!(!is_orphan("", "", |_| false), "not a label of ours");
    }
}
