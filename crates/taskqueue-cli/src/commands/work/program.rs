//! Whether the program of a command can be run at all: a slip of the pen is told at the start, before it uses up the attempts
//! of tasks. It runs nothing.

use std::ffi::OsStr;
use std::path::Path;

use crate::failure::{Failure, Outcome};

/// Looks for the program as the system will: where it has a slash at that path, else in the folders of `PATH`. Without a `PATH`
/// the system has its own.
pub(super) fn check(program: &str, path: Option<&OsStr>) -> Outcome {
    let wrong = if program.contains('/') {
        why_not(Path::new(program))
    } else {
        path.and_then(|path| nowhere_in(program, path))
    };
    wrong.map_or(Ok(()), |wrong| Err(Failure::usage(format!("work: cannot run {program:?}: {wrong}"))))
}

/// Where a folder has the name, but nothing that can be run, that is what is told.
fn nowhere_in(program: &str, path: &OsStr) -> Option<&'static str> {
    let mut wrong = "it is in no folder of PATH";
    for folder in std::env::split_paths(path) {
        let file = folder.join(program);
        match why_not(&file) {
            None => return None,
            Some(why) if file.exists() => wrong = why,
            Some(_) => {}
        }
    }
    Some(wrong)
}

#[cfg(unix)]
fn why_not(file: &Path) -> Option<&'static str> {
    use std::os::unix::fs::PermissionsExt as _;
    match std::fs::metadata(file) {
        Err(_) => Some("there is no such file"),
        Ok(metadata) if metadata.is_dir() => Some("it is a folder"),
        Ok(metadata) if metadata.permissions().mode() & 0o111 == 0 => Some("it is not executable"),
        Ok(_) => None,
    }
}

/// Elsewhere a program's file may have another name than its command.
#[cfg(not(unix))]
fn why_not(_: &Path) -> Option<&'static str> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn refusal(program: &str, path: Option<&str>) -> String {
        let failure = check(program, path.map(OsStr::new)).err();
        failure.and_then(|failure| failure.message().map(str::to_owned)).unwrap_or_default()
    }

    #[test]
    fn a_program_that_cannot_be_run_is_named_with_the_reason() {
        let folder = tempfile::tempdir().expect("a folder");
        let plain = folder.path().join("plain.sh");
        std::fs::write(&plain, "true").expect("writable");
        let (plain, path) = (plain.to_str().expect("UTF-8"), folder.path().to_str());
        assert_eq!(refusal(plain, None), format!("work: cannot run {plain:?}: it is not executable"));
        assert!(refusal("plain.sh", path).ends_with("it is not executable"));
        assert!(refusal("nothing", path).ends_with("it is in no folder of PATH"));
        assert!(refusal("/no/such/file", path).ends_with("there is no such file"));
        assert!(refusal(path.expect("UTF-8"), None).ends_with("it is a folder"));
    }

    #[test]
    fn a_program_that_can_be_run_is_found_as_the_system_finds_it() {
        assert_eq!(refusal("sh", Some("/no/such/folder:/bin:/usr/bin")), "");
        assert_eq!(refusal("/bin/sh", Some("")), "");
        assert_eq!(refusal("nothing", None), "", "the system has a PATH of its own");
    }
}
