//! The backends look alike: who has read one finds the way in all.

use super::Violation;
use crate::workspace::Files;

/// The crates that speak SQL to an engine, as far as they exist.
const SQL_BACKENDS: [&str; 3] = ["taskqueue-sqlite", "taskqueue-postgres", "taskqueue-mysql"];
/// The files that each has.
const FILE_NAMES: [&str; 5] = ["lib", "config", "dialect", "claim", "error"];

/// `backend-files`
pub(super) fn file_names(files: &Files) -> Vec<Violation> {
    let mut violations = Vec::new();
    for backend in SQL_BACKENDS.map(|backend| format!("crates/{backend}")) {
        if !files.holds(&backend) {
            continue;
        }
        for name in FILE_NAMES.map(|name| format!("{backend}/src/{name}.rs")) {
            if files.get(&name).is_none() {
                let message = "missing: every SQL backend has lib, config, dialect, claim and error";
                violations.push(Violation::new("backend-files", &name, 1, message));
            }
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_without_one_of_the_files_is_found() {
        let files = Files::of([
            ("crates/taskqueue-mysql/src/lib.rs", ""),
            ("crates/taskqueue-mysql/src/config.rs", ""),
            ("crates/taskqueue-mysql/src/claim.rs", ""),
            ("crates/taskqueue-mysql/src/error.rs", ""),
        ]);
        let found: Vec<_> = file_names(&files).into_iter().map(|found| found.path).collect();
        assert_eq!(found, ["crates/taskqueue-mysql/src/dialect.rs"]);
    }
}
