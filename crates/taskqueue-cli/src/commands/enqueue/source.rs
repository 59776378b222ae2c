//! Where the input comes from: a file or standard input. It owns what is no input at all; what stands in it is `input`'s.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::failure::{Failure, Outcome};

/// The file, and its size when it is a plain file, which can be read twice.
pub(super) fn open(path: &Path) -> Outcome<(File, Option<u64>)> {
    let failed = |error| Failure::io(format!("cannot read {}", path.display()), &error);
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(Failure::usage(format!("{} is a folder, not a file", path.display())));
    }
    Ok((file, metadata.is_file().then_some(metadata.len())))
}

/// All that a file holds.
pub(super) fn text_of_file(path: &Path) -> Outcome<String> {
    text(open(path)?.0, path.display())
}

/// All that standard input brings.
pub(super) fn text_of_stdin() -> Outcome<String> {
    text(io::stdin().lock(), "standard input")
}

fn text(mut reader: impl Read, name: impl std::fmt::Display) -> Outcome<String> {
    let mut text = String::new();
    match reader.read_to_string(&mut text) {
        Ok(_) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(Failure::usage(format!("the payload in {name} is not UTF-8")))
        }
        Err(error) => Err(Failure::io(format!("cannot read {name}"), &error)),
    }
}
