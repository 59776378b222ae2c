//! What a run must have run on, or it fails: `--require postgres:15`. Pure.

use std::str::FromStr;

use anyhow::{Error, Result};

use crate::backends;
use crate::table::Row;

/// A backend, or a version of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Requirement {
    backend: &'static str,
    /// As it was written.
    text: String,
    tag: Option<String>,
}

impl FromStr for Requirement {
    type Err = Error;

    /// A backend (`mysql`), a backend and a version (`mysql:9.7`), or an image (`vitess/vttestserver:mysql80`).
    fn from_str(text: &str) -> Result<Self> {
        let (name, tag) = text.split_once(':').map_or((text, None), |(name, tag)| (name, Some(tag)));
        let backend = backends::named(name).or_else(|error| backends::of_image(text).map_err(|_| error))?;
        Ok(Self { backend: backend.name, text: text.to_owned(), tag: tag.map(str::to_owned) })
    }
}

impl Requirement {
    fn is_met(&self, row: &Row) -> bool {
        let Some(tag) = &self.tag else { return row.backend == self.backend && row.has_run() };
        let is_image = row.server == self.text;
        row.backend == self.backend && row.has_run() && (is_image || is_version(row.version.as_deref(), tag))
    }
}

/// Whether a server that reports this is of the version `tag`: 9.7.4 is 9.7 and 9, and not 9.70.
fn is_version(reported: Option<&str>, tag: &str) -> bool {
    let rest = reported.and_then(|version| version.strip_prefix('v').unwrap_or(version).strip_prefix(tag));
    rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()))
}

/// What was required and did not run.
pub(crate) fn unmet(requirements: &[Requirement], rows: &[Row]) -> Vec<String> {
    let is_unmet = |required: &&Requirement| !rows.iter().any(|row| required.is_met(row));
    requirements.iter().filter(is_unmet).map(|it| format!("required and did not run: {}", it.text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::Missing;

    fn unmet_of(required: &str, rows: &[Row]) -> Vec<String> {
        unmet(&[required.parse().expect("it can be required")], rows)
    }

    #[test]
    fn a_version_is_met_by_what_the_server_reports() {
        let rows = [Row::of("postgres", "TASKQUEUE_POSTGRES_URL", "15.18 (Debian)", [9, 0, 0])];
        assert_eq!(unmet_of("postgres:15", &rows), [""; 0]);
        assert_eq!(unmet_of("postgres", &rows), [""; 0]);
        assert_eq!(unmet_of("postgres:1", &rows), ["required and did not run: postgres:1"]);
        assert_eq!(unmet_of("mysql", &rows), ["required and did not run: mysql"]);
    }

    #[test]
    fn an_image_is_met_by_its_own_row() {
        let rows = [Row::of("pgbouncer", "pgbouncer:1", "17.12", [9, 0, 0])];
        assert_eq!(unmet_of("pgbouncer:1", &rows), [""; 0]);
        let rows = [Row::of("vitess", "vitess/vttestserver:mysql80", "8.0.30-Vitess", [9, 0, 0])];
        assert_eq!(unmet_of("vitess/vttestserver:mysql80", &rows), [""; 0]);
    }

    #[test]
    fn a_row_of_a_suite_that_did_not_run_meets_nothing() {
        let missing = Missing { server: "mysql:9.7".into(), reason: "no engine".into(), is_asked_for: false };
        assert_eq!(unmet_of("mysql:9.7", &[Row::of_missing("mysql", &missing, 9)]).len(), 1);
        assert_eq!(unmet_of("mysql", &[Row::of("mysql", "mysql:9.7", "9.7.4", [0, 0, 9])]).len(), 1);
    }

    #[test]
    fn a_suite_that_ran_and_failed_has_run() {
        assert_eq!(unmet_of("mysql:9.7", &[Row::of("mysql", "x", "9.7.4", [0, 9, 0])]), [""; 0]);
    }

    #[test]
    fn what_does_not_exist_cannot_be_required() {
        assert!("oracle:23".parse::<Requirement>().is_err());
    }
}
