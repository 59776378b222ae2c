//! The sink that appends notifications to a file, one JSON line each. It knows nothing of records.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::{EventNotification, EventSink};
use crate::HandlerError;
use crate::folder::sync_folder;

/// What has happened to a line when its delivery is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// It is on the disk, as is the file's name: it survives a power failure. Costs an fsync for each line, and the right to
    /// read the file's folder.
    #[default]
    Synced,
    /// It is with the operating system: it survives the end of the process, but not that of the host.
    Buffered,
}

/// Appends each notification as one line, with one write, so that lines of several processes do not mix.
///
/// A line that was cut off (a full disk, a process killed within the write) ends before the next one begins; its
/// notification is delivered again by the next attempt. Readers pass over lines that are not JSON.
///
/// On Unix the file may be rotated by renaming or removing it: each delivery looks whether the file that it has open is
/// still the one at its path, and opens or creates the one there when it is not. A delivery that is under way in that
/// moment still goes into the renamed file. Rotation by copying and truncating loses what is written in between.
/// Elsewhere than on Unix the file is kept open, whatever becomes of its name.
#[derive(Debug, Clone)]
pub struct FileSink {
    path: PathBuf,
    durability: Durability,
    file: Arc<Mutex<Lines<File>>>,
}

impl FileSink {
    /// Opens the file, or creates it.
    ///
    /// # Errors
    /// When it cannot be opened for appending and reading, or its folder cannot be synced where that was asked for.
    pub fn open(path: impl Into<PathBuf>, durability: Durability) -> io::Result<Self> {
        let path = path.into();
        let file = Arc::new(Mutex::new(Lines::open(&path, durability)?));
        Ok(Self { path, durability, file })
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[async_trait]
impl EventSink for FileSink {
    async fn deliver(&self, notification: &EventNotification) -> Result<(), HandlerError> {
        let (file, durability) = (Arc::clone(&self.file), self.durability);
        let (path, line) = (self.path.clone(), notification.json.clone());
        // A blocking task runs to its end when this future is dropped, so that no line is cut off by that.
        let written = tokio::task::spawn_blocking(move || {
            let mut lines = file.lock().unwrap_or_else(PoisonError::into_inner);
            if !is_at(&lines.file, &path)? {
                *lines = Lines::open(&path, durability)?;
            }
            lines.append(line)?;
            match durability {
                Durability::Synced => lines.file.sync_data(),
                Durability::Buffered => Ok(()),
            }
        });
        let failed = |error: io::Error| {
            HandlerError::transient(format!("cannot append to {}: {error}", self.path.display()))
        };
        written.await.map_err(|error| failed(io::Error::other(error)))?.map_err(failed)
    }
}

/// A file of lines.
#[derive(Debug)]
struct Lines<W> {
    file: W,
    /// Whether the file ends within a line.
    is_cut: bool,
}

impl Lines<File> {
    fn open(path: &Path, durability: Durability) -> io::Result<Self> {
        let mut file = OpenOptions::new().append(true).read(true).create(true).open(path)?;
        if durability == Durability::Synced {
            // Also where it was there: who made it, as logrotate does, may not have.
            sync_folder(folder_of(path))?;
        }
        let is_cut = ends_within_a_line(&mut file)?;
        Ok(Self { file, is_cut })
    }
}

impl<W: Write> Lines<W> {
    /// One write for the whole line. A short one is an error rather than continued: another process may have
    /// appended in between.
    fn append(&mut self, mut line: String) -> io::Result<()> {
        line.push('\n');
        if self.is_cut {
            line.insert(0, '\n');
        }
        let written = loop {
            match self.file.write(line.as_bytes()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        if written > 0 {
            self.is_cut = written < line.len();
        }
        if written == line.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether the open file is the one at `path`.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let there = match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        there => there?,
    };
    let open = file.metadata()?;
    Ok((open.dev(), open.ino()) == (there.dev(), there.ino()))
}

/// Files have no number there that the standard library tells.
#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> io::Result<bool> {
    Ok(true)
}

fn ends_within_a_line(file: &mut File) -> io::Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

#[cfg(test)]
mod tests {
    use taskqueue_core::TaskId;

    use super::*;

    fn notification(json: &str) -> EventNotification {
        EventNotification::new(TaskId::generate(), json)
    }

    #[tokio::test]
    async fn each_notification_is_one_line_after_those_that_were_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        for (durability, json) in [(Durability::Synced, "{\"a\":1}"), (Durability::Buffered, "{\"b\":2}")] {
            let sink = FileSink::open(&path, durability).unwrap();
            sink.deliver(&notification(json)).await.unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"a\":1}\n{\"b\":2}\n");
    }

    #[tokio::test]
    async fn a_line_that_a_killed_process_cut_off_does_not_spoil_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        std::fs::write(&path, "{\"cut").unwrap();
        let sink = FileSink::open(&path, Durability::Synced).unwrap();
        sink.deliver(&notification("{}")).await.unwrap();
        sink.deliver(&notification("[]")).await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"cut\n{}\n[]\n");
    }

    #[tokio::test]
    async fn concurrent_deliveries_never_mix_their_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let sinks = [(); 2].map(|()| FileSink::open(&path, Durability::Buffered).unwrap());
        let long = format!("\"{}\"", "x".repeat(10_000));
        let deliveries: Vec<_> = (0..100)
            .map(|at| {
                let (sink, notification) = (sinks[at % 2].clone(), notification(&long));
                tokio::spawn(async move { sink.deliver(&notification).await })
            })
            .collect();
        for delivery in deliveries {
            delivery.await.unwrap().unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().filter(|line| *line == long).count(), 100);
        assert_eq!(text.lines().count(), 100);
    }

    #[test]
    fn the_folder_of_a_file_without_one_in_its_path_is_the_current_one() {
        let folders =
            ["events.jsonl", "log/events.jsonl", "/events.jsonl"].map(|path| folder_of(Path::new(path)));
        assert_eq!(folders, [".", "log", "/"].map(Path::new));
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_file_that_was_renamed_or_removed_is_followed_by_a_new_one_at_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let (path, rotated) = (folder.path().join("events.jsonl"), folder.path().join("events.jsonl.1"));
        let sink = FileSink::open(&path, Durability::Synced).unwrap();
        sink.deliver(&notification("1")).await.unwrap();
        std::fs::rename(&path, &rotated).unwrap();
        sink.deliver(&notification("2")).await.unwrap();
        let read = |path| std::fs::read_to_string(path).unwrap();
        assert_eq!((read(&rotated).as_str(), read(&path).as_str()), ("1\n", "2\n"));
        // As logrotate does with `create`.
        std::fs::rename(&path, &rotated).unwrap();
        std::fs::write(&path, "").unwrap();
        sink.deliver(&notification("3")).await.unwrap();
        assert_eq!((read(&rotated).as_str(), read(&path).as_str()), ("2\n", "3\n"));
        std::fs::remove_file(&path).unwrap();
        sink.deliver(&notification("4")).await.unwrap();
        assert_eq!(read(&path), "4\n");
    }

    /// Writes at most five bytes a call.
    struct FullDisk(Vec<u8>);

    impl Write for FullDisk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let fits = bytes.len().min(5);
            self.0.extend_from_slice(&bytes[..fits]);
            Ok(fits)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_short_write_is_an_error_and_the_next_line_begins_anew() {
        let mut lines = Lines { file: FullDisk(Vec::new()), is_cut: false };
        assert!(lines.append("123456".to_owned()).is_err());
        lines.append("abc".to_owned()).unwrap();
        lines.append("d".to_owned()).unwrap();
        assert_eq!(lines.file.0, b"12345\nabc\nd\n");
    }
}
