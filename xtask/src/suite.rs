//! `cargo xtask test`: which programs run the tests, in which order, and what is said at the end. How tests are
//! counted and what they check is not its affair.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::backends::{self, BACKENDS, CONFORMANCE};
use crate::conformance::{self, Ran, Tests};
use crate::counts::{self, Counts};
use crate::images::Building;
use crate::plan::{Asked, LEFT_TO_WORKFLOWS, plan};
use crate::process;
use crate::programs::{Build, ON_SERVER, Programs, features_of_all};
use crate::requirement::{Requirement, unmet};
use crate::sources::Sources;
use crate::table::{Row, table};
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
    let report = std::thread::scope(|scope| {
        let servers = scope.spawn(|| servers(workspace, extent, Urls::First));
        report(workspace, extent, || servers.join().expect("looking for servers does not panic"), &[])
    });
    println!("\n{}", report.summary());
    println!("{}", report.total());
    Ok(report.total().failed == 0)
}

/// Whether servers in the environment are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urls {
    First,
    /// Where certain versions are required, which only images give.
    Ignored,
}

/// The servers of a run, with the images that they need: what is not here is pulled or built, which takes a while.
pub(crate) fn servers(workspace: &Workspace, extent: Extent, urls: Urls) -> Vec<Sources> {
    let backends = match extent {
        Extent::Whole => BACKENDS.iter().collect(),
        Extent::Quick => backends::embedded(),
    };
    let asked = Asked {
        backends,
        by_name: false,
        images: Vec::new(),
        urls: urls == Urls::First,
        left_out: &LEFT_TO_WORKFLOWS,
        building: Building::Allowed,
    };
    plan(workspace, &asked)
}

/// Runs the tests. A part that cannot run is a failure of that part; the others run all the same. `servers` is asked
/// once they are needed.
pub(crate) fn report(
    workspace: &Workspace,
    extent: Extent,
    servers: impl FnOnce() -> Vec<Sources>,
    requirements: &[Requirement],
) -> Report {
    let mut report = Report { parts: Vec::new(), not_run: Vec::new() };
    let name = if extent == Extent::Quick { "unit tests" } else { "unit and integration tests" };
    report.add(name, tests(workspace, extent));
    if extent == Extent::Whole {
        report.add("doc tests", documented());
        report.add("examples (build)", examples());
        report.add("the program by default", program_by_default());
    } else {
        report.not_run.push("integration tests, doc tests, examples, database servers: not quick".to_owned());
    }
    let ran = Programs::build(workspace, &Build::All).and_then(|programs| {
        let (sources, embedded) = (servers(), backends::embedded());
        conformance::run_on(workspace, &programs, &embedded, sources, Tests::All)
    });
    // That database servers are not quick is said by then.
    let is_new = |_: &String| extent == Extent::Whole;
    let ran = ran.map(|ran| Ran { not_run: ran.not_run.into_iter().filter(is_new).collect(), ..ran });
    report.add_conformance(ran, requirements);
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

    fn add_conformance(&mut self, ran: Result<Ran>, requirements: &[Requirement]) {
        let Ran { rows, others, not_run } = ran.unwrap_or_else(|error| {
            self.add("conformance", Err(error));
            Ran::default()
        });
        println!("\n{}", table(&rows));
        for row in &rows {
            if let Some(reason) = row.said_not_run() {
                self.not_run.push(format!("conformance, {reason}"));
            }
            let counts = row.counts();
            if row.has_run() || counts.failed > 0 {
                self.add(&format!("conformance, {}", row.name()), Ok(counts));
            }
        }
        for (name, counts) in others {
            self.add(&name, Ok(counts));
        }
        self.not_run.extend(not_run);
        self.add_unmet(requirements, &rows);
    }

    /// What had to run and did not is a failure, and never only a line.
    fn add_unmet(&mut self, requirements: &[Requirement], rows: &[Row]) {
        for requirement in unmet(requirements, rows) {
            self.add(&requirement, Ok(Counts::of_check(false)));
        }
    }
}

/// All tests but the conformance suites, which have a table of their own.
fn tests(workspace: &Workspace, extent: Extent) -> Result<Counts> {
    // Built as the programs of the conformance suites are, so that nothing is built twice.
    let features = features_of_all(workspace);
    let mut kinds = vec!["--workspace", "--lib", "--bins"];
    kinds.extend(features.iter().map(String::as_str));
    if extent == Extent::Whole {
        kinds.extend(workspace.test_targets(CONFORMANCE).iter().flat_map(|name| ["--test", name]));
        kinds.extend(workspace.tested_examples().flat_map(|name| ["--example", name]));
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
    command.args(["--filterset", &format!("not test(/^{ON_SERVER}/)")]);
    let success = process::succeeds(&mut command)?;
    let xml =
        fs::read_to_string(&junit).with_context(|| format!("read the counts in {}", junit.display()))?;
    Ok(counts::of_junit(&xml).with_status(success))
}

fn by_cargo(kinds: &[&str]) -> Result<Counts> {
    let tests = [&["test", "--no-fail-fast"], kinds].concat();
    compiled([&tests[..], &["--no-run"]].concat())?;
    counted([&tests[..], &["--", "--skip", ON_SERVER]].concat())
}

fn documented() -> Result<Counts> {
    // Cargo compiles doc tests only where it runs them. What they stand on is this, and the examples are built anyway.
    compiled(["build", "--workspace", "--lib", "--examples"])?;
    counted(["test", "--workspace", "--doc", "--no-fail-fast"])
}

/// The program as most people build it. The tests above have it with all features, so what it says of those that it lacks
/// is tested here.
fn program_by_default() -> Result<Counts> {
    let program = ["test", "--workspace", "--bin", "taskqueue", "--test", "cli", "--no-fail-fast"];
    compiled([&program[..], &["--no-run"]].concat())?;
    counted(program)
}

/// Compiles what is to be watched: cargo tells of that on stderr only, and would be taken for a test that hangs.
fn compiled<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<()> {
    ensure!(process::succeeds(process::cargo().args(arguments))?, "it does not compile");
    Ok(())
}

/// Runs tests that are compiled.
fn counted<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<Counts> {
    let ran = process::watched(process::cargo().args(arguments), |_| true)?;
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
    fn the_summary_says_which_other_tests_on_servers_were_not_run() {
        let mut report = report();
        let reason = "s3_faults of taskqueue-handlers: it needs a container".to_owned();
        report.add_conformance(Ok(Ran { not_run: vec![reason.clone()], ..Ran::default() }), &[]);
        assert!(report.summary().ends_with(&format!("What was not run:\n  mysql: no server\n  {reason}\n")));
    }

    #[test]
    fn what_was_required_and_did_not_run_is_a_failure() {
        let mut report = report();
        let rows = [Row::of("postgres", "postgres:15", "15.18", [9, 0, 0])];
        let required = ["postgres:15", "mysql:9.7"].map(|it| it.parse().expect("it can be required"));
        report.add_unmet(&required, &rows);
        assert_eq!(report.total().to_string(), "7 passed, 2 failed");
        assert!(report.summary().contains("required and did not run: mysql:9.7"));
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
