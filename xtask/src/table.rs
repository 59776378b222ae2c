//! The table of the conformance suite: a row a server, as text for people and as JSON for programs. It runs nothing.

use serde::Serialize;

use crate::counts::{self, Counts};
use crate::process::Watched;
use crate::sources::Missing;

/// What a behaviour prints that the backend gives nothing to check for.
const NOT_RUN: &str = "not run: ";
/// What a behaviour prints that has asked the engine for its name and version.
const ENGINE: &str = "engine: ";

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Row {
    pub(crate) backend: String,
    /// As the engine reports it; none where the suite did not run.
    pub(crate) version: Option<String>,
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) not_run: u64,
    /// Where the server came from: an image, a variable, a folder.
    pub(crate) server: String,
    /// Why the suite did not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    #[serde(skip)]
    is_failure: bool,
}

impl Row {
    /// The row of what a suite of `listed` tests printed.
    pub(crate) fn of_output(backend: &str, server: &str, ran: &Watched, listed: u64) -> Self {
        let printed = |mark: &'static str| ran.stdout.lines().filter_map(move |line| line.strip_prefix(mark));
        let ended = counts::of_test_lines(&ran.stdout, listed).with_status(ran.success);
        let empty = printed(NOT_RUN).count() as u64;
        let engine = printed(ENGINE).find_map(|engine| engine.split_once(' '));
        Self {
            backend: backend.to_owned(),
            version: Some(engine.map_or("not reported", |(_, version)| version).to_owned()),
            passed: ended.passed.saturating_sub(empty),
            failed: ended.failed,
            not_run: ended.not_run + empty,
            server: server.to_owned(),
            reason: None,
            is_failure: false,
        }
    }

    /// The row of a suite of `listed` tests that did not run.
    pub(crate) fn of_missing(backend: &str, missing: &Missing, listed: u64) -> Self {
        Self {
            backend: backend.to_owned(),
            version: None,
            passed: 0,
            failed: 0,
            not_run: listed,
            server: missing.server.clone(),
            reason: Some(missing.reason.clone()),
            is_failure: missing.is_asked_for,
        }
    }

    /// What did not run and had to counts as one failure.
    pub(crate) fn counts(&self) -> Counts {
        Counts {
            passed: self.passed,
            failed: self.failed + u64::from(self.is_failure),
            not_run: self.not_run,
        }
    }

    /// The backend and its version.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.backend, self.version.as_deref().unwrap_or(&self.server))
    }

    /// Whether any test ran.
    pub(crate) fn has_run(&self) -> bool {
        self.passed + self.failed > 0
    }

    /// A suite that ran and in which nothing passed has failed. Behaviours that the backend gives nothing to check
    /// for are not held against it.
    pub(crate) fn is_failure(&self) -> bool {
        self.is_failure || self.failed > 0 || (self.reason.is_none() && self.passed == 0)
    }

    /// Why it did not run.
    pub(crate) fn said_not_run(&self) -> Option<String> {
        Some(format!("{} ({}): {}", self.backend, self.server, self.reason.as_ref()?))
    }

    fn cells(&self) -> [String; 6] {
        let number = |n: u64| n.to_string();
        let version = self.version.clone().unwrap_or_else(|| "did not run".to_owned());
        let Self { backend, passed, failed, not_run, server, .. } = self;
        [backend.clone(), version, number(*passed), number(*failed), number(*not_run), server.clone()]
    }
}

/// The table, for people, and below it why what did not run did not.
pub(crate) fn table(rows: &[Row]) -> String {
    let head = ["backend", "version", "passed", "failed", "not run", "server"].map(str::to_owned);
    let lines: Vec<[String; 6]> = std::iter::once(head).chain(rows.iter().map(Row::cells)).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 6] = std::array::from_fn(width);
    let line = |cells: &[String; 6]| {
        let padded = cells.iter().zip(widths).enumerate().map(|(column, (cell, width))| match column {
            2..=4 => format!("{cell:>width$}"),
            _ => format!("{cell:<width$}"),
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let text = lines.iter().map(line).collect::<Vec<_>>().join("\n");
    let reasons: Vec<_> = rows.iter().filter_map(Row::said_not_run).map(|it| format!("\n  {it}")).collect();
    if reasons.is_empty() { text } else { format!("{text}\n\nDid not run:{}", reasons.concat()) }
}

/// The table, for programs.
pub(crate) fn json(rows: &[Row]) -> String {
    serde_json::to_string_pretty(rows).expect("rows have a JSON form") + "\n"
}

#[cfg(test)]
impl Row {
    /// Made up, for tests.
    pub(crate) fn of(backend: &str, server: &str, version: &str, counts: [u64; 3]) -> Self {
        let [passed, failed, not_run] = counts;
        Self {
            backend: backend.to_owned(),
            version: Some(version.to_owned()),
            passed,
            failed,
            not_run,
            server: server.to_owned(),
            reason: None,
            is_failure: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(passed: u64, failed: u64, not_run: u64) -> Row {
        Row::of("sqlite", "in process", "3.50.2", [passed, failed, not_run])
    }

    fn missing(is_asked_for: bool) -> Row {
        let missing = Missing { server: "mysql:9.7".into(), reason: "no engine".into(), is_asked_for };
        Row::of_missing("mysql", &missing, 9)
    }

    #[test]
    fn a_backend_that_did_not_run_has_not_passed() {
        assert!(!row(9, 0, 1).is_failure());
        assert!(row(0, 0, 9).is_failure());
        assert!(row(8, 1, 0).is_failure());
        assert!(!missing(false).has_run());
        assert_eq!(missing(false).counts().to_string(), "0 passed, 0 failed");
    }

    #[test]
    fn what_was_asked_for_and_did_not_run_is_a_failure() {
        assert!(missing(true).is_failure());
        assert_eq!(missing(true).counts().to_string(), "0 passed, 1 failed");
        assert!(!missing(false).is_failure());
    }

    #[test]
    fn a_behaviour_with_nothing_to_check_is_not_run_and_not_passed() {
        let stdout = "test a ... ok\ntest b ... ok\ntest c ... FAILED\n\nsuccesses:\n\n---- a stdout ----\n\
            not run: the backend has no capacity\n---- b stdout ----\nengine: sqlite 3.50.2\n";
        let ran = Watched { stdout: stdout.to_owned(), success: false };
        assert_eq!(Row::of_output("sqlite", "in process", &ran, 3), row(1, 1, 1));
    }

    #[test]
    fn a_suite_that_dies_fails_and_what_it_had_not_reached_is_not_run() {
        let ran = Watched { stdout: "engine: sqlite 3.50.2\ntest a ... ok\n".to_owned(), success: false };
        assert_eq!(Row::of_output("sqlite", "in process", &ran, 5), row(1, 1, 4));
    }

    #[test]
    fn the_table_lines_up_and_says_why_a_backend_did_not_run() {
        assert_eq!(
            table(&[row(120, 0, 3), missing(false)]),
            "backend  version      passed  failed  not run  server\n\
             sqlite   3.50.2          120       0        3  in process\n\
             mysql    did not run       0       0        9  mysql:9.7\n\n\
             Did not run:\n  mysql (mysql:9.7): no engine"
        );
    }

    #[test]
    fn the_json_has_the_agreed_names() {
        assert_eq!(
            serde_json::to_string(&row(1, 2, 3)).expect("a row has a JSON form"),
            r#"{"backend":"sqlite","version":"3.50.2","passed":1,"failed":2,"not_run":3,"server":"in process"}"#
        );
        let text = json(&[missing(false)]);
        assert!(text.contains(r#""version": null"#) && text.contains(r#""reason": "no engine""#), "{text}");
    }
}
