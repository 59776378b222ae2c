//! The demo's input: real files become S3 events, or a JSON-lines file of events is read. It owns walking, MD5 and
//! the form of an event; it knows no queue and no network.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use md5::{Digest, Md5};
use taskqueue_core::payloads::EventPayload;
use taskqueue_core::{NewTask, TaskId};

use crate::failure::{Failure, Outcome};
use crate::output;
use crate::progress::Progress;

/// Past this depth a folder is taken for a loop of mounts.
const DEPTH_MAX: usize = 64;

/// Where events come from.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The files below a folder.
    Folder(PathBuf),
    /// A file with one event a line.
    JsonLines(PathBuf),
}

/// An event, and the task that carries it.
#[derive(Debug, Clone)]
pub(super) struct Event {
    /// The id of its task.
    pub(super) task_id: TaskId,
    /// What is to be delivered.
    pub(super) payload: EventPayload,
}

/// The events of a source, and what was left out of it.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// The events.
    pub(super) events: Vec<Event>,
    /// The size of their objects, in bytes.
    pub(super) bytes: u64,
    /// How many more the source holds, past the limit.
    pub(super) past_limit: u64,
    /// Files that could not be read.
    pub(super) unreadable: u64,
}

impl Source {
    /// What `input` names, or else the sources that cargo has downloaded, or else the current folder.
    pub(super) fn choose(input: Option<PathBuf>) -> Outcome<Self> {
        match input {
            None => Ok(Self::Folder(cargo_sources().unwrap_or_else(|| PathBuf::from(".")))),
            Some(path) => {
                let metadata = fs::metadata(&path);
                let metadata = metadata
                    .map_err(|error| Failure::io(format!("cannot read {}", path.display()), &error))?;
                Ok(if metadata.is_dir() { Self::Folder(path) } else { Self::JsonLines(path) })
            }
        }
    }

    /// Reads at most `limit` events.
    pub(super) fn gather(&self, limit: usize) -> Outcome<Gathered> {
        match self {
            Self::Folder(root) => gather_files(root, limit),
            Self::JsonLines(path) => gather_lines(path, limit),
        }
    }
}

/// `$CARGO_HOME/registry/src`, if it is there and holds anything.
fn cargo_sources() -> Option<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")))?;
    let sources = home.join("registry").join("src");
    fs::read_dir(&sources).ok()?.next()?.ok()?;
    Some(sources)
}

impl Event {
    /// The task to enqueue.
    pub(super) fn task(&self) -> Outcome<NewTask> {
        Ok(NewTask::new(&self.payload)?.id(self.task_id).max_retries(5))
    }
}

fn gather_files(root: &Path, limit: usize) -> Outcome<Gathered> {
    let mut gathered = Gathered::default();
    let mut files = Vec::new();
    walk(root, 0, &mut files, &mut gathered.unreadable)
        .map_err(|error| Failure::io(format!("cannot read {}", root.display()), &error))?;
    files.sort();
    gathered.past_limit = files.len().saturating_sub(limit) as u64;
    files.truncate(limit);
    let mut progress = Progress::lines("reading", "files", files.len() as u64);
    for (index, path) in files.iter().enumerate() {
        match object_event(root, path, index) {
            Ok(payload) => {
                gathered.bytes += payload.size;
                gathered.events.push(Event { task_id: TaskId::generate(), payload });
            }
            Err(_) => gathered.unreadable += 1,
        }
        progress.set(index as u64 + 1, "")?;
    }
    Ok(gathered)
}

/// Collects the plain files below `folder`. Links are not followed; folders below that cannot be read are counted.
fn walk(folder: &Path, depth: usize, files: &mut Vec<PathBuf>, unreadable: &mut u64) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_file() {
            files.push(entry.path());
        } else if kind.is_dir()
            && (depth >= DEPTH_MAX || walk(&entry.path(), depth + 1, files, unreadable).is_err())
        {
            *unreadable += 1;
        }
    }
    Ok(())
}

/// The event that an object store would have sent when this file was put into it.
fn object_event(root: &Path, path: &Path, index: usize) -> io::Result<EventPayload> {
    let (size, etag) = measure(File::open(path)?)?;
    let modified = fs::metadata(path)?.modified()?;
    let modified_millis = modified.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    Ok(EventPayload {
        event_name: "s3:ObjectCreated:Put".into(),
        bucket: "demo".into(),
        key: key(root, path),
        size,
        etag,
        owner_id: "demo".into(),
        request_id: format!("{index:016X}"),
        source_ip: "127.0.0.1".into(),
        timestamp: i64::try_from(modified_millis).unwrap_or(i64::MAX),
        sequencer: format!("{index:016X}"),
        ..EventPayload::default()
    })
}

/// The object key of a file: its path below the root, with `/` whatever the platform.
fn key(root: &Path, path: &Path) -> String {
    let below = path.strip_prefix(root).unwrap_or(path);
    below.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/")
}

/// The length and the MD5, in hexadecimal.
fn measure(mut reader: impl Read) -> io::Result<(u64, String)> {
    let mut md5 = Md5::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut size = 0;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                size += read as u64;
                md5.update(&buffer[..read]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok((size, md5.finalize().iter().map(|byte| format!("{byte:02x}")).collect()))
}

fn gather_lines(path: &Path, limit: usize) -> Outcome<Gathered> {
    let cannot = |error: &io::Error| Failure::io(format!("cannot read {}", path.display()), error);
    let mut gathered = Gathered::default();
    for (index, line) in BufReader::new(File::open(path).map_err(|error| cannot(&error))?).lines().enumerate()
    {
        let line = line.map_err(|error| cannot(&error))?;
        if line.trim().is_empty() {
            continue;
        }
        if gathered.events.len() >= limit {
            gathered.past_limit += 1;
            continue;
        }
        let payload: EventPayload = serde_json::from_str(&line).map_err(|error| {
            Failure::usage(format!("{}: line {}: not an event: {error}", path.display(), index + 1))
        })?;
        gathered.bytes += payload.size;
        gathered.events.push(Event { task_id: TaskId::generate(), payload });
    }
    Ok(gathered)
}

impl Gathered {
    /// What was left out, in words, if anything was.
    pub(super) fn left_out(&self, limit: usize) -> Option<String> {
        let mut parts = Vec::new();
        if self.past_limit > 0 {
            let (more, limit) = (output::thousands(self.past_limit), output::thousands(limit as u64));
            parts.push(format!("{more} more, past the limit of {limit} (--limit)"));
        }
        if self.unreadable > 0 {
            parts.push(format!("{} that could not be read", output::thousands(self.unreadable)));
        }
        (!parts.is_empty()).then(|| format!("left out: {}", parts.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("b")).expect("a folder");
        fs::write(folder.path().join("b/x+y z.txt"), "hello").expect("a file");
        fs::write(folder.path().join("a.txt"), "").expect("a file");
        folder
    }

    #[test]
    fn an_event_carries_the_real_key_size_and_md5_of_its_file() {
        let folder = folder();
        let gathered = Source::Folder(folder.path().into()).gather(10).expect("the folder is readable");
        let [empty, hello] = gathered.events.as_slice() else { panic!("two files make two events") };
        assert_eq!((empty.payload.key.as_str(), empty.payload.size), ("a.txt", 0));
        assert_eq!(empty.payload.etag, "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!((hello.payload.key.as_str(), hello.payload.size), ("b/x+y z.txt", 5));
        assert_eq!(hello.payload.etag, "5d41402abc4b2a76b9719d911017c592");
        assert!(hello.payload.timestamp > 0 && hello.payload.sequencer > empty.payload.sequencer);
        assert_eq!(gathered.bytes, 5);
    }

    #[test]
    fn what_is_past_the_limit_is_said() {
        let folder = folder();
        let gathered = Source::Folder(folder.path().into()).gather(1).expect("the folder is readable");
        assert_eq!(gathered.events.len(), 1);
        assert_eq!(gathered.left_out(1).as_deref(), Some("left out: 1 more, past the limit of 1 (--limit)"));
    }

    #[test]
    fn a_file_is_read_as_json_lines_and_a_bad_line_is_named() {
        let folder = folder();
        let path = folder.path().join("events.jsonl");
        let event =
            Source::Folder(folder.path().into()).gather(1).expect("readable").events.remove(0).payload;
        let line = serde_json::to_string(&event).expect("an event has a JSON form");
        fs::write(&path, format!("{line}\n\n{line}\n")).expect("a file");
        let source = Source::choose(Some(path.clone())).expect("the file is there");
        assert_eq!(source.gather(10).expect("valid lines").events.len(), 2);
        fs::write(&path, format!("{line}\n{{}}\n")).expect("a file");
        let message = source.gather(10).expect_err("line 2 is bad").message().map(str::to_owned);
        assert!(message.is_some_and(|message| message.contains("line 2: not an event")));
    }

    #[test]
    fn an_input_that_is_not_there_is_not_found() {
        let failure = Source::choose(Some("/no/such/folder".into())).expect_err("it is not there");
        assert_eq!(failure.code(), crate::failure::Code::NotFound);
    }
}
