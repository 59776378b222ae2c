//! `cargo xtask conformance`: the suite that every backend must pass, server by server. Which behaviours there are is
//! the suite's affair, where servers come from the plan's.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::backends::{self, BACKENDS, Backend};
use crate::counts::{self, Counts};
use crate::images::Building;
use crate::plan::{Asked, plan};
use crate::process::{self, Watched};
use crate::programs::{Build, Programs};
use crate::requirement::{Requirement, unmet};
use crate::servers::{self, Holder, Started};
use crate::sources::{Missing, Source, Sources};
use crate::table::{Row, json, table};
use crate::workspace::Workspace;

/// The name of the integration test that wires a backend to the suite.
pub(crate) const TARGET: &str = "conformance";
/// Tests mostly wait for their server: this many at once keep two cores busy.
const THREADS_ON_SERVERS: &str = "6";

/// The command line's wishes.
pub(crate) struct Wishes<'a> {
    pub(crate) backends: &'a [String],
    pub(crate) images: &'a [String],
    pub(crate) requirements: &'a [Requirement],
    pub(crate) json: Option<&'a Path>,
}

/// What ran.
#[derive(Default)]
pub(crate) struct Ran {
    /// The table.
    pub(crate) rows: Vec<Row>,
    /// The backends' other tests on the same servers, and how they ended.
    pub(crate) others: Vec<(String, Counts)>,
}

/// Which tests are run on a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tests {
    /// The suite.
    Suite,
    /// The suite and whatever else the backend's crate tests on servers.
    All,
}

/// Runs the suite and prints the table. Answers whether all that ran passed and all that had to run did.
pub(crate) fn run(workspace: &Workspace, wishes: &Wishes<'_>) -> Result<bool> {
    let asked = Asked {
        backends: backends::chosen(wishes.backends, wishes.images)?,
        by_name: !wishes.backends.is_empty(),
        images: wishes.images.to_vec(),
        urls: true,
        left_out: &[],
        building: Building::Refused,
    };
    let sources = plan(workspace, &asked);
    let programs = Programs::build(workspace, &Build::Of { backends: &asked.backends, target: TARGET })?;
    let Ran { rows, .. } = run_on(workspace, &programs, &asked.backends, sources, Tests::Suite)?;
    println!("\n{}", table(&rows));
    if let Some(path) = wishes.json {
        fs::write(path, json(&rows)).with_context(|| format!("write {}", path.display()))?;
    }
    let unmet = unmet(wishes.requirements, &rows);
    for requirement in &unmet {
        eprintln!("error: {requirement}");
    }
    for row in rows.iter().filter(|row| row.is_failure()) {
        eprintln!("error: {}", row.said_not_run().unwrap_or_else(|| format!("{} failed", row.name())));
    }
    Ok(unmet.is_empty() && !rows.iter().any(Row::is_failure))
}

/// Runs the suite on these backends: the embedded ones, then each server as it becomes ready.
pub(crate) fn run_on(
    workspace: &Workspace,
    programs: &Programs,
    backends: &[&'static Backend],
    sources: Vec<Sources>,
    tests: Tests,
) -> Result<Ran> {
    let mut run = Run { workspace, programs, tests, ran: Ran::default() };
    for backend in backends.iter().filter(|backend| backend.server.is_none()) {
        run.suite(backend, "in process", |_| {})?;
    }
    let mut contained = HashMap::new();
    for Sources { backend, found, missing } in sources {
        for missing in &missing {
            run.missing(backend, missing)?;
        }
        for source in found {
            match backend.server.as_ref().and_then(|needs| servers::wanted(backend, needs, &source)) {
                Some(wanted) => drop(contained.insert(wanted, (backend, source))),
                None => run.server(backend, &source, None)?,
            }
        }
    }
    run.held(contained)?;
    let place = |row: &Row| BACKENDS.iter().position(|backend| backend.name == row.backend);
    run.ran.rows.sort_by_key(|row| (place(row), row.server.clone()));
    Ok(run.ran)
}

struct Run<'a> {
    workspace: &'a Workspace,
    programs: &'a Programs,
    tests: Tests,
    ran: Ran,
}

impl Run<'_> {
    /// The servers that are started for this run.
    fn held(&mut self, mut wanted: HashMap<String, (&'static Backend, Source)>) -> Result<()> {
        if wanted.is_empty() {
            return Ok(());
        }
        let mut names: Vec<_> = wanted.keys().cloned().collect();
        names.sort();
        println!("\nservers: starting {}", names.join(", "));
        let mut holder = Holder::start(self.programs.servers()?, &names)?;
        while !wanted.is_empty() {
            let started = holder.next()?;
            let asked = wanted.remove(&started.wanted);
            let (backend, source) = asked.with_context(|| format!("{} was not asked for", started.wanted))?;
            self.server(backend, &source, Some(&started))?;
        }
        Ok(())
    }

    fn server(
        &mut self,
        backend: &'static Backend,
        source: &Source,
        started: Option<&Started>,
    ) -> Result<()> {
        let needs = backend.server.as_ref().expect("it has a server");
        let name = source.name(needs);
        if let Some(error) = started.and_then(|started| started.error.as_ref()) {
            // It was to be had: that it does not start is not how things are on this machine.
            let reason = format!("it could not be started: {error}");
            return self.missing(backend, &Missing { server: name, reason, is_asked_for: true });
        }
        let tell = |command: &mut Command| {
            command.env("RUST_TEST_THREADS", THREADS_ON_SERVERS);
            servers::tell(command, needs, started);
        };
        self.suite(backend, &name, tell)?;
        // What is behind a pooler has rows of its own.
        if self.tests == Tests::All && needs.behind.is_none() {
            for target in self.workspace.server_tests(backend.package).filter(|target| *target != TARGET) {
                if let Some((ran, listed)) = self.program(backend, target, &name, tell)? {
                    let counts = counts::of_test_lines(&ran.stdout, listed).with_status(ran.success);
                    self.ran.others.push((format!("{target} tests, {name}"), counts));
                }
            }
        }
        Ok(())
    }

    fn suite(&mut self, backend: &Backend, server: &str, tell: impl Fn(&mut Command)) -> Result<()> {
        match self.program(backend, TARGET, server, tell)? {
            Some((ran, listed)) => {
                self.ran.rows.push(Row::of_output(backend.name, server, &ran, listed));
                Ok(())
            }
            None => {
                let reason = format!("{} has no tests for it yet", backend.package);
                self.missing(backend, &Missing { server: server.to_owned(), reason, is_asked_for: false })
            }
        }
    }

    fn missing(&mut self, backend: &Backend, missing: &Missing) -> Result<()> {
        println!("not run: {} ({}): {}", backend.name, missing.server, missing.reason);
        let listed = self.list(backend, TARGET)?.map_or(0, |(_, listed)| listed);
        self.ran.rows.push(Row::of_missing(backend.name, missing, listed));
        Ok(())
    }

    /// Runs those tests of a target that are the backend's, if it has any.
    fn program(
        &self,
        backend: &Backend,
        target: &str,
        server: &str,
        tell: impl Fn(&mut Command),
    ) -> Result<Option<(Watched, u64)>> {
        let Some((filter, listed)) = self.list(backend, target)? else { return Ok(None) };
        println!("\n{target} of {} ({server}): {listed} tests", backend.name);
        let mut command = self.command(backend, target)?;
        tell(&mut command);
        let mut failures = false;
        let shown = |line: &str| {
            failures |= line == "failures:";
            failures || line.ends_with(" ... FAILED") || line.starts_with("test result: ")
        };
        let ran = process::watched(command.args(filter).arg("--show-output"), shown)?;
        Ok(Some((ran, listed)))
    }

    /// The filter that leaves the backend's tests of a target, and how many they are.
    fn list(&self, backend: &Backend, target: &str) -> Result<Option<(Option<String>, u64)>> {
        let listed = process::output(self.command(backend, target)?.args(["--list", "--format", "terse"]))?;
        let Some(filter) = filter(&listed, backend.module, backend.package) else { return Ok(None) };
        let own = filter.as_deref().unwrap_or_default();
        let lines: Vec<_> = listed.lines().filter(|line| line.starts_with(own)).collect();
        Ok(Some((filter, counts::of_list(&lines.join("\n")))))
    }

    fn command(&self, backend: &Backend, target: &str) -> Result<Command> {
        let package = self.workspace.package(backend.package);
        let folder = package.with_context(|| format!("no crate {}", backend.package))?.folder();
        let mut command = process::tied(self.programs.test(folder, target)?);
        command.current_dir(folder).env("CARGO_MANIFEST_DIR", folder).stdin(Stdio::null());
        Ok(command)
    }
}

/// Which tests of a program are those of the engine in `module`: those in the module of that name; where no engine has
/// a module, all, and they are of the engine that the crate is named for.
fn filter(listed: &str, module: &str, package: &str) -> Option<Option<String>> {
    let has = |module: &str| listed.lines().any(|line| line.starts_with(&format!("{module}::")));
    if has(module) {
        return Some(Some(format!("{module}::")));
    }
    let is_split = BACKENDS.iter().any(|backend| backend.package == package && has(backend.module));
    let is_named_for = package.strip_prefix("taskqueue-") == Some(module);
    (!is_split && is_named_for).then_some(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tests_of_an_engine_are_those_in_its_module() {
        let split = "mysql::a: test\nmariadb::a: test\n";
        assert_eq!(filter(split, "mariadb", "taskqueue-mysql"), Some(Some("mariadb::".to_owned())));
        assert_eq!(filter(split, "vitess", "taskqueue-mysql"), None);
        let whole = "enqueue::a: test\n";
        assert_eq!(filter(whole, "postgres", "taskqueue-postgres"), Some(None));
        assert_eq!(filter(whole, "cockroach", "taskqueue-postgres"), None);
    }
}
