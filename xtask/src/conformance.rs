//! The conformance suite, backend by backend, and its table. Which behaviours there are is the suite's affair;
//! what was not run and what an engine says of itself are read from the lines that its tests print.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::backends::{Backend, EMBEDDED, chosen};
use crate::counts::{self, Counts};
use crate::process::{self, Watched};
use crate::servers::{Recipe, Server, Servers};
use crate::workspace::Workspace;

/// The name of the integration test that wires a backend to the suite.
pub(crate) const TARGET: &str = "conformance";
/// What a behaviour prints that the backend gives nothing to check for.
const NOT_RUN: &str = "not run: ";
/// What a behaviour prints that has asked the engine for its name and version.
const ENGINE: &str = "engine: ";

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Row {
    backend: String,
    /// As the engine reports it.
    version: String,
    passed: u64,
    failed: u64,
    not_run: u64,
}

/// Runs the suite on these backends, or on all of this build, and prints the table. Answers whether all passed.
pub(crate) fn run(workspace: &Workspace, backends: &[String], json: Option<&Path>) -> Result<bool> {
    let backends = chosen(backends)?;
    let packages = backends.iter().flat_map(|backend| ["--package".to_owned(), backend.package.to_owned()]);
    let served = backends.iter().filter(|backend| backend.server.is_some());
    let features =
        served.flat_map(|backend| ["--features".to_owned(), format!("{}/server-tests", backend.package)]);
    let selection: Vec<String> =
        packages.chain(features).chain(["--test".to_owned(), TARGET.to_owned()]).collect();
    let rows = rows(workspace, &backends, &selection)?;
    println!("\n{}", table(&rows));
    if let Some(path) = json {
        let text = serde_json::to_string_pretty(&rows).context("write the table as JSON")?;
        fs::write(path, text + "\n").with_context(|| format!("write {}", path.display()))?;
    }
    Ok(rows.iter().all(Row::is_passed))
}

/// Runs the suite on every backend of this build, as part of all tests: built as those are, so that nothing is
/// built twice.
pub(crate) fn all(workspace: &Workspace) -> Result<Vec<Row>> {
    let backends: Vec<&Backend> = EMBEDDED.iter().collect();
    rows(workspace, &backends, &["--workspace".to_owned(), "--tests".to_owned()])
}

/// The table, for people.
pub(crate) fn table(rows: &[Row]) -> String {
    let head = ["backend", "version", "passed", "failed", "not run"].map(str::to_owned);
    let lines: Vec<[String; 5]> = std::iter::once(head).chain(rows.iter().map(Row::cells)).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 5] = std::array::from_fn(width);
    let line = |cells: &[String; 5]| {
        let padded = cells.iter().zip(widths).enumerate().map(|(column, (cell, width))| match column {
            0 | 1 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

impl Row {
    /// The numbers.
    pub(crate) fn counts(&self) -> Counts {
        Counts { passed: self.passed, failed: self.failed, not_run: self.not_run }
    }

    /// The backend and its version.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.backend, self.version)
    }

    /// A backend whose suite did not run has not passed. Behaviours that it gives nothing to check for are not
    /// held against it.
    fn is_passed(&self) -> bool {
        self.passed > 0 && self.failed == 0
    }

    /// The row of what a suite of `listed` tests printed.
    fn of_output(backend: &str, ran: &Watched, listed: u64) -> Self {
        let printed = |mark: &'static str| ran.stdout.lines().filter_map(move |line| line.strip_prefix(mark));
        let ended = counts::of_test_lines(&ran.stdout, listed).with_status(ran.success);
        let empty = printed(NOT_RUN).count() as u64;
        Self {
            backend: backend.to_owned(),
            version: printed(ENGINE)
                .find_map(|engine| engine.split_once(' '))
                .map_or("not reported", |it| it.1)
                .to_owned(),
            passed: ended.passed.saturating_sub(empty),
            failed: ended.failed,
            not_run: ended.not_run + empty,
        }
    }

    fn cells(&self) -> [String; 5] {
        let number = |n: u64| n.to_string();
        let Self { backend, version, passed, failed, not_run } = self;
        [backend.clone(), version.clone(), number(*passed), number(*failed), number(*not_run)]
    }
}

fn rows(workspace: &Workspace, backends: &[&Backend], selection: &[String]) -> Result<Vec<Row>> {
    let programs = programs(selection)?;
    let mut rows = Vec::new();
    for backend in backends {
        match &backend.server {
            None => rows.push(row(workspace, &programs, backend, None)?),
            Some(recipe) => rows.extend(served(workspace, &programs, backend, recipe)?),
        }
    }
    Ok(rows)
}

/// The rows of a backend that needs a server, one a server. None to be had is an error: it was asked for.
fn served(
    workspace: &Workspace,
    programs: &BTreeMap<PathBuf, PathBuf>,
    backend: &Backend,
    recipe: &Recipe,
) -> Result<Vec<Row>> {
    let servers = Servers::find(recipe)?;
    for missing in &servers.missing {
        println!("not run: {missing}");
    }
    if servers.found.is_empty() {
        bail!("{} was asked for and did not run: {}", backend.name, servers.missing.join("; "));
    }
    let row = |server| row(workspace, programs, backend, Some((recipe.variable, server)));
    servers.found.iter().map(row).collect()
}

/// Builds the suites and answers the programs by the folders of their packages.
fn programs(selection: &[String]) -> Result<BTreeMap<PathBuf, PathBuf>> {
    let mut build = process::cargo();
    build.arg("test").args(selection).args(["--no-run", "--message-format", "json-render-diagnostics"]);
    build.stderr(Stdio::inherit());
    let messages = process::output(&mut build).context("build the conformance suites")?;
    Ok(programs_in(&messages))
}

fn programs_in(messages: &str) -> BTreeMap<PathBuf, PathBuf> {
    #[derive(Deserialize)]
    struct Artifact {
        manifest_path: PathBuf,
        executable: Option<PathBuf>,
        target: Name,
    }
    #[derive(Deserialize)]
    struct Name {
        name: String,
    }
    let artifacts = messages.lines().filter_map(|line| serde_json::from_str::<Artifact>(line).ok());
    let tests = artifacts.filter(|artifact| artifact.target.name == TARGET);
    tests
        .filter_map(|Artifact { mut manifest_path, executable, .. }| {
            manifest_path.pop();
            Some((manifest_path, executable?))
        })
        .collect()
}

fn row(
    workspace: &Workspace,
    programs: &BTreeMap<PathBuf, PathBuf>,
    backend: &Backend,
    server: Option<(&str, &Server)>,
) -> Result<Row> {
    let Backend { name, package, tests, .. } = backend;
    let folder = workspace.package(package).with_context(|| format!("no crate {package}"))?.folder();
    let program = programs.get(folder).with_context(|| format!("{package} has no test named {TARGET}"))?;
    println!(
        "\nconformance of {name}{}",
        server.map_or(String::new(), |(_, server)| format!(" ({})", server.origin))
    );
    let suite = || {
        let mut command = suite(program, folder);
        if let Some((variable, server)) = server {
            command.env(variable, &server.url);
        }
        if !tests.is_empty() {
            command.arg(tests);
        }
        command
    };
    let listed = counts::of_list(&process::output(suite().args(["--list", "--format", "terse"]))?);
    let mut failures = false;
    let shown = |line: &str| {
        failures |= line == "failures:";
        failures || line.ends_with(" ... FAILED") || line.starts_with("test result: ")
    };
    let ran = process::watched(suite().arg("--show-output"), shown)?;
    Ok(Row::of_output(name, &ran, listed))
}

fn suite(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).env("CARGO_MANIFEST_DIR", folder).stdin(Stdio::null());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(passed: u64, failed: u64, not_run: u64) -> Row {
        Row { backend: "sqlite".into(), version: "3.50.2".into(), passed, failed, not_run }
    }

    #[test]
    fn a_backend_that_did_not_run_has_not_passed() {
        assert!(row(9, 0, 1).is_passed());
        assert!(!row(0, 0, 0).is_passed());
        assert!(!row(0, 0, 9).is_passed());
        assert!(!row(8, 1, 0).is_passed());
    }

    #[test]
    fn a_behaviour_with_nothing_to_check_is_not_run_and_not_passed() {
        let stdout = "test a ... ok\ntest b ... ok\ntest c ... FAILED\n\nsuccesses:\n\n---- a stdout ----\n\
            not run: the backend has no capacity\n---- b stdout ----\nengine: sqlite 3.50.2\n";
        let ran = Watched { stdout: stdout.to_owned(), success: false };
        assert_eq!(Row::of_output("sqlite", &ran, 3), row(1, 1, 1));
    }

    #[test]
    fn a_suite_that_dies_fails_and_what_it_had_not_reached_is_not_run() {
        let ran = Watched { stdout: "engine: sqlite 3.50.2\ntest a ... ok\n".to_owned(), success: false };
        assert_eq!(Row::of_output("sqlite", &ran, 5), row(1, 1, 4));
    }

    #[test]
    fn the_table_lines_up() {
        assert_eq!(
            table(&[row(120, 0, 3)]),
            "backend  version  passed  failed  not run\n\
             sqlite   3.50.2      120       0        3"
        );
    }

    #[test]
    fn the_json_has_the_agreed_names() {
        let json = serde_json::to_string(&row(1, 2, 3)).expect("a row has a JSON form");
        assert_eq!(json, r#"{"backend":"sqlite","version":"3.50.2","passed":1,"failed":2,"not_run":3}"#);
    }

    #[test]
    fn programs_are_known_by_the_folder_of_their_package() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","manifest_path":"/w/a/Cargo.toml","target":{"name":"conformance"},"executable":"/t/conformance-1"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","manifest_path":"/w/a/Cargo.toml","target":{"name":"a"},"executable":null}"#,
            "\n{\"reason\":\"build-finished\",\"success\":true}\n",
        );
        let programs = programs_in(messages);
        assert_eq!(programs.into_iter().collect::<Vec<_>>(), [("/w/a".into(), "/t/conformance-1".into())]);
    }
}
