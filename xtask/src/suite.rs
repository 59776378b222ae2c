//! `cargo xtask test`: which programs run the tests, in which order, and what is said at the end. How tests are
//! counted and what they check is not its affair.

use std::fs;

use anyhow::{Context, Result};

use crate::backends::{Backend, SERVED};
use crate::conformance;
use crate::counts::{self, Counts};
use crate::process;
use crate::workspace::Workspace;

/// How much is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Everything that can run on this machine.
    Whole,
    /// What takes seconds.
    Quick,
}

/// One line of the summary.
pub(crate) struct Part {
    name: String,
    counts: Counts,
}

/// What ran, and what did not and why.
pub(crate) struct Report {
    parts: Vec<Part>,
    not_run: Vec<String>,
}

/// Runs the tests and prints what ran. Answers whether all passed.
pub(crate) fn run(workspace: &Workspace, extent: Extent) -> Result<bool> {
    let report = report(workspace, extent);
    println!("\n{}", report.summary());
    println!("{}", report.total());
    Ok(report.total().failed == 0)
}

/// Runs the tests. A part that cannot run is a failure of that part; the others run all the same.
pub(crate) fn report(workspace: &Workspace, extent: Extent) -> Report {
    let mut report = Report { parts: Vec::new(), not_run: Vec::new() };
    let name = if extent == Extent::Quick { "unit tests" } else { "unit and integration tests" };
    report.add(name, tests(workspace, extent));
    if extent == Extent::Whole {
        report.add("doc tests", documented());
        report.add("examples (build)", examples());
    } else {
        report.not_run.push("integration tests, doc tests, examples: not quick".to_owned());
    }
    report.add_conformance(conformance::all(workspace));
    report.not_run.extend(SERVED.iter().map(|Backend { name, .. }| {
        format!("conformance, {name}: needs a server; `cargo xtask conformance --backend {name}` finds or starts one")
    }));
    report
}

impl Extent {
    /// By the flag `--quick`.
    pub(crate) fn of(quick: bool) -> Self {
        if quick { Self::Quick } else { Self::Whole }
    }
}

impl Report {
    /// All parts added up.
    pub(crate) fn total(&self) -> Counts {
        self.parts.iter().map(|part| part.counts).sum()
    }

    /// What ran, one part a line, then what did not.
    pub(crate) fn summary(&self) -> String {
        let width = self.parts.iter().map(|part| part.name.chars().count()).max().unwrap_or(0);
        let line = |part: &Part| {
            let Counts { passed, failed, not_run } = part.counts;
            let rest = if not_run > 0 { format!(", {not_run} not run") } else { String::new() };
            format!("  {:<width$}  {passed:>4} passed, {failed} failed{rest}\n", part.name)
        };
        let ran: String = self.parts.iter().map(line).collect();
        let not_run: String = self.not_run.iter().map(|reason| format!("  {reason}\n")).collect();
        format!("What ran:\n{ran}What was not run:\n{not_run}")
    }

    fn add(&mut self, name: &str, counts: Result<Counts>) {
        let counts = counts.unwrap_or_else(|error| {
            eprintln!("{name}: {error:#}");
            Counts::of_check(false)
        });
        self.parts.push(Part { name: name.to_owned(), counts });
    }

    fn add_conformance(&mut self, rows: Result<Vec<conformance::Row>>) {
        match rows {
            Ok(rows) => {
                println!("\n{}", conformance::table(&rows));
                for row in rows {
                    self.add(&format!("conformance, {}", row.name()), Ok(row.counts()));
                }
            }
            Err(error) => self.add("conformance", Err(error)),
        }
    }
}

/// All tests but the conformance suites, which have a table of their own.
fn tests(workspace: &Workspace, extent: Extent) -> Result<Counts> {
    let mut kinds = vec!["--workspace", "--lib", "--bins"];
    if extent == Extent::Whole {
        kinds.extend(workspace.test_targets(conformance::TARGET).iter().flat_map(|name| ["--test", name]));
    }
    if process::cargo_has("nextest") { by_nextest(workspace, &kinds) } else { by_cargo(&kinds) }
}

fn by_nextest(workspace: &Workspace, kinds: &[&str]) -> Result<Counts> {
    let profile = if std::env::var_os("CI").is_some() { "ci" } else { "default" };
    // nextest keeps its files here wherever cargo builds.
    let junit = workspace.root.join(format!("target/nextest/{profile}/junit.xml"));
    fs::remove_file(&junit).ok();
    let mut command = process::cargo();
    command.args(["nextest", "run", "--no-fail-fast", "--profile", profile]).args(kinds);
    let success = process::succeeds(&mut command)?;
    let xml =
        fs::read_to_string(&junit).with_context(|| format!("read the counts in {}", junit.display()))?;
    Ok(counts::of_junit(&xml).with_status(success))
}

fn by_cargo(kinds: &[&str]) -> Result<Counts> {
    let ran = process::watched(process::cargo().args(["test", "--no-fail-fast"]).args(kinds), |_| true)?;
    Ok(counts::of_closing_lines(&ran.stdout).with_status(ran.success))
}

fn documented() -> Result<Counts> {
    let ran =
        process::watched(process::cargo().args(["test", "--workspace", "--doc", "--no-fail-fast"]), |_| {
            true
        })?;
    Ok(counts::of_closing_lines(&ran.stdout).with_status(ran.success))
}

fn examples() -> Result<Counts> {
    let built = process::succeeds(process::cargo().args(["build", "--workspace", "--examples"]))?;
    Ok(Counts::of_check(built))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report { parts: Vec::new(), not_run: vec!["mysql: no server".to_owned()] };
        report.add("doc tests", Ok(Counts { passed: 7, failed: 0, not_run: 2 }));
        report.add("examples (build)", Err(anyhow::anyhow!("no compiler")));
        report
    }

    #[test]
    fn a_part_that_cannot_run_is_one_failure() {
        assert_eq!(report().total().to_string(), "7 passed, 1 failed");
    }

    #[test]
    fn the_summary_says_what_was_not_run_and_why() {
        assert_eq!(
            report().summary(),
            "What ran:\n  doc tests            7 passed, 0 failed, 2 not run\n  \
             examples (build)     0 passed, 1 failed\nWhat was not run:\n  mysql: no server\n"
        );
    }
}
