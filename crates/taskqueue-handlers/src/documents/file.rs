//! Documents as files: `folder/kind/name.json`, or `.toml` where people write them. It knows nothing of what is in them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use super::{DocumentId, DocumentStore, ListNames};
use crate::HandlerError;
use crate::folder::sync_folder;

/// The longest part of a path, in bytes, which is under what file systems allow.
const PART_BYTES_MAX: usize = 200;
/// What a folder's name ends in that holds the rest of a name that is longer than that; no encoded name has it.
const GOES_ON: char = '+';

/// Documents in a folder. A write goes to a new file that then takes the name, and is synced: whoever reads meanwhile,
/// or after a crash, sees the old one or the new one.
///
/// A document is `kind/name.json` or `kind/name.toml` (the JSON one counts where both are there; writes are JSON). In the
/// name everything but `[A-Za-z0-9._-]` is percent-encoded, so `my bucket` is `my%20bucket.toml`; a name that begins with
/// a dot begins with `%2E`. A file of blanks only is no document: editors empty a file before they write it, and reads fail
/// transiently meanwhile. So does a read while the kind has no folder, as when a file system is not mounted: it cannot tell
/// what is there. Where there is no document of a kind yet, make its folder, empty.
#[derive(Debug, Clone)]
pub struct FolderDocuments {
    folder: PathBuf,
}

impl FolderDocuments {
    /// The documents under `folder`, which is made by the first write, as is the folder of each kind.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    fn path(&self, id: DocumentId<'_>, ending: &str) -> PathBuf {
        let encoded = encode(id.name);
        let mut path = self.folder.join(id.kind);
        let mut rest = encoded.as_str();
        while rest.len() > PART_BYTES_MAX {
            let (part, after) = rest.split_at(PART_BYTES_MAX);
            path.push(format!("{part}{GOES_ON}"));
            rest = after;
        }
        path.join(format!("{rest}.{ending}"))
    }
}

#[async_trait]
impl DocumentStore for FolderDocuments {
    async fn get(&self, id: DocumentId<'_>) -> Result<Option<String>, HandlerError> {
        let [json, toml] = ["json", "toml"].map(|ending| self.path(id, ending));
        let folder = self.folder.join(id.kind);
        blocking(move || {
            if let Some(text) = read(&json)? {
                return Ok(Some(text));
            }
            match read(&toml)? {
                Some(text) => of_toml(&toml, &text).map(Some),
                None => is_there(&folder).map(|()| None),
            }
        })
        .await
    }

    async fn put(&self, id: DocumentId<'_>, text: &str) -> Result<(), HandlerError> {
        let (path, text) = (self.path(id, "json"), text.to_owned());
        blocking(move || write(&path, &text).map_err(|error| failed(&path, &error))).await
    }

    async fn delete(&self, id: DocumentId<'_>) -> Result<(), HandlerError> {
        // The one that is read first goes last: else a document that was hidden would come up in between.
        let paths = ["toml", "json"].map(|ending| self.path(id, ending));
        blocking(move || {
            paths.iter().try_for_each(|path| match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(path, &error)),
                _ => Ok(()),
            })
        })
        .await
    }

    async fn list(&self, list: ListNames<'_>) -> Result<Vec<String>, HandlerError> {
        let (folder, after) = (self.folder.join(list.kind), list.after.to_owned());
        let limit = usize::try_from(list.limit).unwrap_or(usize::MAX);
        blocking(move || {
            let mut names = Vec::new();
            collect(&folder, "", &mut names).map_err(|error| failed(&folder, &error))?;
            names.retain(|name| *name > after);
            names.sort();
            names.dedup();
            names.truncate(limit);
            Ok(names)
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, HandlerError> + Send + 'static,
) -> Result<T, HandlerError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(HandlerError::transient(format!("documents: {error}"))))
}

fn read(path: &Path) -> Result<Option<String>, HandlerError> {
    match fs::read_to_string(path) {
        // As TOML it would be a document that says nothing.
        Ok(text) if text.trim().is_empty() => Err(HandlerError::transient(format!(
            "{}: the file is empty: expected a document, or no file",
            path.display()
        ))),
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path, &error)),
    }
}

/// That there is no such document is told by the folder of its kind only: the one above stays, empty, where a file system
/// was mounted, or gets that of another kind by the next write.
fn is_there(folder: &Path) -> Result<(), HandlerError> {
    match fs::metadata(folder) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(failed(folder, &io::ErrorKind::NotADirectory.into())),
        Err(error) => {
            let message =
                format!("{}: {error}: expected a folder, empty where it has no document", folder.display());
            Err(HandlerError::transient(message))
        }
    }
}

fn of_toml(path: &Path, text: &str) -> Result<String, HandlerError> {
    let invalid = |error: String| HandlerError::permanent(format!("{}: {error}", path.display()));
    let value: serde_json::Value = toml::from_str(text).map_err(|error| invalid(error.to_string()))?;
    serde_json::to_string(&value).map_err(|error| invalid(error.to_string()))
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    // Unique among processes and threads; `list` passes over it, as it is neither JSON nor TOML.
    let draft = path.with_extension(format!("{}.draft", taskqueue_core::TaskId::generate()));
    let written = File::create_new(&draft)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        fs::remove_file(&draft).ok();
    }
    written?;
    sync_folder(folder)
}

fn collect(folder: &Path, before: &str, names: &mut Vec<String>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let Ok(file) = entry.file_name().into_string() else { continue };
        if let Some(part) = file.strip_suffix(GOES_ON) {
            collect(&entry.path(), &format!("{before}{part}"), names)?;
        } else if let Some(part) = file.strip_suffix(".json").or_else(|| file.strip_suffix(".toml")) {
            names.extend(decode(&format!("{before}{part}")));
        }
    }
    Ok(())
}

fn encode(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for (at, byte) in name.bytes().enumerate() {
        let is_plain = byte.is_ascii_alphanumeric() || b"-_".contains(&byte) || (byte == b'.' && at > 0);
        if is_plain {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// `None` for what no name is encoded as: a file that is not ours.
fn decode(encoded: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.bytes();
    while let Some(byte) = rest.next() {
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let decoded = match byte {
            b'%' => u8::try_from(digit(rest.next())? * 16 + digit(rest.next())?).ok()?,
            plain => plain,
        };
        bytes.push(decoded);
    }
    String::from_utf8(bytes).ok()
}

fn failed(path: &Path, error: &io::Error) -> HandlerError {
    HandlerError::transient(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[tokio::test]
    async fn a_document_that_people_write_in_toml_is_read_as_json_until_one_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let store = FolderDocuments::new(folder.path());
        let id = DocumentId { kind: "notification", name: "my bucket" };
        fs::create_dir(folder.path().join("notification")).unwrap();
        fs::write(folder.path().join("notification/my%20bucket.toml"), "a = 1\n[b]\nc = \"d\"\n").unwrap();
        assert_eq!(store.get(id).await.unwrap().as_deref(), Some(r#"{"a":1,"b":{"c":"d"}}"#));
        store.put(id, "[2]").await.unwrap();
        assert_eq!(store.get(id).await.unwrap().as_deref(), Some("[2]"));
        store.delete(id).await.unwrap();
        assert_eq!(store.get(id).await.unwrap(), None);
    }

    #[tokio::test]
    async fn toml_that_is_none_is_a_permanent_failure() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("k")).unwrap();
        fs::write(folder.path().join("k/b.toml"), "a = ").unwrap();
        let id = DocumentId { kind: "k", name: "b" };
        assert!(FolderDocuments::new(folder.path()).get(id).await.unwrap_err().is_permanent());
    }

    #[tokio::test]
    async fn a_file_that_an_editor_has_just_emptied_is_a_transient_failure() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("k")).unwrap();
        for (file, text) in [("b.toml", ""), ("b.toml", " \n"), ("b.json", "")] {
            fs::write(folder.path().join("k").join(file), text).unwrap();
            let id = DocumentId { kind: "k", name: "b" };
            let read = FolderDocuments::new(folder.path()).get(id).await;
            assert!(!read.unwrap_err().is_permanent(), "{file} {text:?}");
        }
    }

    #[tokio::test]
    async fn a_draft_that_a_killed_process_left_is_no_document() {
        let folder = tempfile::tempdir().unwrap();
        let store = FolderDocuments::new(folder.path());
        store.put(DocumentId { kind: "k", name: "a" }, "1").await.unwrap();
        fs::write(folder.path().join("k/b.0.draft"), "{").unwrap();
        let names = store.list(ListNames { kind: "k", after: "", limit: 9 }).await.unwrap();
        assert_eq!(names, ["a"]);
        assert_eq!(fs::read_dir(folder.path().join("k")).unwrap().count(), 2);
    }

    #[tokio::test]
    async fn a_folder_that_is_gone_or_not_mounted_is_a_transient_failure_rather_than_no_document() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("documents");
        let store = FolderDocuments::new(&folder);
        let id = DocumentId { kind: "notification", name: "b" };
        fs::create_dir_all(folder.join("notification")).unwrap();
        assert_eq!(store.get(id).await.unwrap(), None);
        fs::remove_dir_all(&folder).unwrap();
        assert!(!store.get(id).await.unwrap_err().is_permanent());
        fs::create_dir(&folder).unwrap();
        assert!(!store.get(id).await.unwrap_err().is_permanent(), "as under an empty mount point");
        store.put(DocumentId { kind: "restore", name: "r" }, "1").await.unwrap();
        let error = store.get(id).await.unwrap_err().to_string();
        assert!(error.contains("documents/notification: ") && error.contains("expected a folder"), "{error}");
    }

    proptest! {
        #[test]
        fn every_name_is_a_path_of_its_own_within_the_folder(name in "\\PC{1,300}", other in "\\PC{1,300}") {
            prop_assert_eq!(decode(&encode(&name)), Some(name.clone()));
            let store = FolderDocuments::new("f");
            let path = |name| store.path(DocumentId { kind: "k", name }, "json");
            let parts: Vec<_> = path(&name).iter().map(|part| part.to_str().unwrap().to_owned()).collect();
            prop_assert!(parts.iter().all(|part| part.len() < 255 && part != ".." && part != "."));
            prop_assert_eq!(path(&name) == path(&other), name == other);
        }
    }
}
