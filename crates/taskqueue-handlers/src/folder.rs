//! The folders of files that are to survive a power failure. It knows no file.

use std::io;
use std::path::Path;

/// Puts the names in a folder on the disk, so that they survive a power failure as the files do.
#[cfg(unix)]
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
pub(crate) fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}
