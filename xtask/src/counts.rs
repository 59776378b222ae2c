//! How many tests passed and failed, read from what test programs leave behind. Only forms that are kept stable
//! are read: libtest's closing line and nextest's JUnit file.

use std::fmt;
use std::iter::Sum;
use std::ops::AddAssign;

/// Tests, by how they ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    /// Ran and passed.
    pub(crate) passed: u64,
    /// Ran and failed, or could not be run although they should have.
    pub(crate) failed: u64,
    /// Did not run.
    pub(crate) not_run: u64,
}

impl Counts {
    /// One check that is counted as one test.
    pub(crate) fn of_check(passed: bool) -> Self {
        Self { passed: passed.into(), failed: (!passed).into(), not_run: 0 }
    }

    /// A run that failed although no test is known to have failed: it counts as one failure.
    pub(crate) fn with_status(mut self, success: bool) -> Self {
        if !success && self.failed == 0 {
            self.failed = 1;
        }
        self
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.not_run += other.not_run;
    }
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        let mut total = Self::default();
        counts.for_each(|one| total += one);
        total
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// Adds up libtest's closing lines: `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
pub(crate) fn of_closing_lines(stdout: &str) -> Counts {
    stdout.lines().filter_map(closing_line).sum()
}

/// Counts libtest's lines `test <name> ... ok`, for a program that may die before its closing line. `listed` is
/// how many tests it has; those without a line did not run.
pub(crate) fn of_test_lines(stdout: &str, listed: u64) -> Counts {
    let ended = |how: &str| {
        let lines = stdout.lines().filter(|line| line.starts_with("test ") && line.ends_with(how));
        lines.count() as u64
    };
    let (passed, failed) = (ended(" ... ok"), ended(" ... FAILED"));
    Counts { passed, failed, not_run: listed.saturating_sub(passed + failed) }
}

/// How many tests libtest's `--list --format terse` shows.
pub(crate) fn of_list(stdout: &str) -> u64 {
    stdout.lines().filter(|line| line.ends_with(": test")).count() as u64
}

/// Adds up the suites of a JUnit file.
pub(crate) fn of_junit(xml: &str) -> Counts {
    let suites = xml.split("<testsuite ").skip(1);
    suites.map(|suite| suite.split('>').next().unwrap_or_default()).map(junit_suite).sum()
}

fn junit_suite(attributes: &str) -> Counts {
    let number = |name: &str| -> u64 {
        let (_, rest) = attributes.split_once(&format!("{name}=\"")).unwrap_or_default();
        rest.split('"').next().and_then(|digits| digits.parse().ok()).unwrap_or_default()
    };
    let (failed, not_run) = (number("failures") + number("errors"), number("skipped") + number("disabled"));
    Counts { passed: number("tests").saturating_sub(failed + not_run), failed, not_run }
}

fn closing_line(line: &str) -> Option<Counts> {
    let (_, parts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let number = |word: &str| -> Option<u64> {
        let part = parts.split("; ").find_map(|part| part.strip_suffix(word))?;
        part.trim_end().parse().ok()
    };
    Some(Counts { passed: number("passed")?, failed: number("failed")?, not_run: number("ignored")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_added_up() {
        let stdout = "running 3 tests\ntest a ... ok\n\
            test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\n\
            test result: FAILED. 5 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s\n";
        assert_eq!(of_closing_lines(stdout), Counts { passed: 7, failed: 2, not_run: 1 });
    }

    #[test]
    fn what_died_before_its_line_did_not_run() {
        let stdout = "test enqueue::a ... ok\ntest enqueue::b ... FAILED\ntest enqueue::c ... ";
        assert_eq!(of_test_lines(stdout, 4), Counts { passed: 1, failed: 1, not_run: 2 });
    }

    #[test]
    fn a_list_counts_tests_and_not_benches() {
        assert_eq!(of_list("a: test\nb::c: test\nd: benchmark\n\n2 tests, 1 benchmark\n"), 2);
    }

    #[test]
    fn junit_suites_are_added_up_and_the_head_is_not() {
        let xml = r#"<?xml version="1.0"?><testsuites name="run" tests="7" failures="2" errors="1">
            <testsuite name="a" tests="4" skipped="1" errors="0" failures="2"><testcase name="x"/></testsuite>
            <testsuite name="b" tests="3" disabled="0" errors="1" failures="0"></testsuite></testsuites>"#;
        assert_eq!(of_junit(xml), Counts { passed: 3, failed: 3, not_run: 1 });
    }

    #[test]
    fn a_run_that_fails_without_a_failed_test_counts_as_one_failure() {
        assert_eq!(Counts::default().with_status(false).failed, 1);
        let counted = Counts { passed: 1, failed: 3, not_run: 0 };
        assert_eq!(counted.with_status(false), counted);
        assert_eq!(Counts::default().with_status(true).failed, 0);
    }
}
