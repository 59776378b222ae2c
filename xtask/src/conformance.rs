//! `cargo xtask conformance`: the suite that every backend must pass, server by server. Which behaviours there are is
//! the suite's affair, where servers come from the plan's.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::backends::{self, BACKENDS, Backend, CONFORMANCE, HANDLERS, PAIRS};
use crate::counts::{self, Counts};
use crate::images::Building;
use crate::own::Own;
use crate::plan::{Asked, plan};
use crate::process::{self, Watched};
use crate::programs::{Build, LIBRARY, Programs};
use crate::requirement::{Requirement, unmet};
use crate::servers::{self, Holder, Started};
use crate::sources::{Missing, Source, Sources};
use crate::table::{Row, json, table};
use crate::workspace::Workspace;

/// The name of the integration test of what a pooler changes.
const POOLER_TARGET: &str = "pooler";
/// The crate whose program runs on every backend.
const PROGRAM: &str = "taskqueue-cli";
/// Its tests on the servers of queues.
const PROGRAM_TARGET: &str = "servers";
/// The variable in which tests that start servers of their own look for the program that does.
const SERVERS_VARIABLE: &str = "TASKQUEUE_SERVERS";
/// And that which says what they are to ask it for.
const DURABLE_VARIABLE: &str = "TASKQUEUE_DURABLE_SERVER";
/// The same of several servers.
const CLUSTER_VARIABLE: &str = "TASKQUEUE_CLUSTER";
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
    /// Those of them that did not run, and why.
    pub(crate) not_run: Vec<String>,
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
    if let Some(other) = asked.backends.iter().find(|backend| !backend.conforms()) {
        bail!("{} is no backend of a queue: `cargo xtask test` runs what needs it", other.name)
    }
    let sources = plan(workspace, &asked);
    let programs = Programs::build(workspace, &Build::Of { backends: &asked.backends, target: CONFORMANCE })?;
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
    let mut run = Run { workspace, programs, tests, up: Vec::new(), ran: Ran::default() };
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
    // The servers go with it.
    let _holder = run.held(contained)?;
    run.pairs()?;
    let place = |row: &Row| BACKENDS.iter().position(|backend| backend.name == row.backend);
    run.ran.rows.sort_by_key(|row| (place(row), row.server.clone()));
    Ok(run.ran)
}

struct Run<'a> {
    workspace: &'a Workspace,
    programs: &'a Programs,
    tests: Tests,
    up: Vec<Up>,
    ran: Ran,
}

/// A server that answers.
struct Up {
    backend: &'static Backend,
    name: String,
    /// Where it was started for this run.
    started: Option<Started>,
}

impl Run<'_> {
    /// The servers that are started for this run, and go with what is returned.
    fn held(&mut self, mut wanted: HashMap<String, (&'static Backend, Source)>) -> Result<Option<Holder>> {
        if wanted.is_empty() {
            return Ok(None);
        }
        let mut names: Vec<_> = wanted.keys().cloned().collect();
        names.sort();
        println!("\nservers: starting {}", names.join(", "));
        let mut holder = Holder::start(self.programs.servers()?, &names)?;
        while !wanted.is_empty() {
            let started = holder.next()?;
            let asked = wanted.remove(&started.wanted);
            let (backend, source) = asked.with_context(|| format!("{} was not asked for", started.wanted))?;
            self.server(backend, &source, Some(started))?;
        }
        Ok(Some(holder))
    }

    /// What needs two of the servers that are up at once.
    fn pairs(&mut self) -> Result<()> {
        let is_asked_for = self.tests == Tests::All;
        for pair in PAIRS.iter().filter(|_| is_asked_for) {
            let any_up = |name| self.up.iter().find(|up| up.backend.name == name);
            let [Some(one), Some(other)] = pair.backends.map(any_up) else {
                let needed = format!("it needs {}", pair.backends.join(" and "));
                self.add_not_run((pair.package, pair.target), &needed);
                continue;
            };
            let tell = |command: &mut Command| [one, other].iter().for_each(|up| up.tell(command));
            let name = format!("{} and {}", one.name, other.name);
            let ran = self.program(one.backend, (pair.package, pair.target), &name, tell)?;
            self.add_other(ran, (pair.package, pair.target), &name);
        }
        Ok(())
    }

    fn add_other(&mut self, ran: Option<(Watched, u64)>, (package, target): (&str, &str), server: &str) {
        let Some((ran, listed)) = ran else { return };
        let counts = counts::of_test_lines(&ran.stdout, listed).with_status(ran.success);
        self.ran.others.push((format!("{target} of {package}, {server}"), counts));
    }

    fn add_not_run(&mut self, (package, target): (&str, &str), reason: &str) {
        println!("not run: {target}: {reason}");
        self.ran.not_run.push(format!("{target} of {package}: {reason}"));
    }

    fn server(&mut self, backend: &'static Backend, source: &Source, started: Option<Started>) -> Result<()> {
        let name = source.name(backend.server.as_ref().expect("it has a server"));
        if let Some(error) = started.as_ref().and_then(|started| started.error.as_ref()) {
            // It was to be had: that it does not start is not how things are on this machine.
            let reason = format!("it could not be started: {error}");
            return self.missing(backend, &Missing { server: name, reason, is_asked_for: true });
        }
        let up = Up { backend, name, started };
        let starts_others = self.programs.servers().ok();
        let tell = |command: &mut Command| {
            command.env("RUST_TEST_THREADS", THREADS_ON_SERVERS);
            command.envs(starts_others.map(|program| (SERVERS_VARIABLE, program)));
            command.envs(up.durable().map(|wanted| (DURABLE_VARIABLE, wanted)));
            command.envs(up.cluster().map(|wanted| (CLUSTER_VARIABLE, wanted)));
            up.tell(command);
        };
        self.suite(backend, &up.name, tell)?;
        if self.tests == Tests::All {
            for (package, target) in Self::other_targets(self.workspace, &up) {
                let ran = self.program(backend, (package, target), &up.name, tell)?;
                if ran.is_none() && (backend.also.contains(&target) || backend.faults.contains(&target)) {
                    let what =
                        format!("{target} of {package}, {}: it has no tests of {}", up.name, backend.name);
                    self.ran.others.push((what, Counts::of_check(false)));
                }
                self.add_other(ran, (package, target), &up.name);
            }
            for target in backend.faults_on(&up.name).filter(|_| !up.is_container()) {
                let reason = format!("{} is not a container that is started for it", up.name);
                self.add_not_run((backend.package, target), &reason);
            }
        }
        self.up.push(up);
        Ok(())
    }

    /// What else is tested on this backend's servers: its crate's own tests, the handlers', and the program on top.
    /// Through a pooler, only what a pooler changes: the server behind it has rows of its own.
    fn other_targets<'w>(workspace: &'w Workspace, up: &Up) -> Vec<(&'static str, &'w str)> {
        let backend = up.backend;
        let targets = |package| workspace.server_tests(package).map(move |target| (package, target));
        let also = backend.also.iter().map(|also| {
            let has = |package: &&str| workspace.server_tests(package).any(|target| target == *also);
            ([HANDLERS, PROGRAM].into_iter().find(has).unwrap_or(backend.package), *also)
        });
        let faults = backend.faults_on(&up.name).filter(|_| up.is_container());
        let also = also.chain(faults.map(|target| (backend.package, target)));
        if !backend.conforms() {
            return also.collect();
        }
        let is_pooler = backend.server.as_ref().is_some_and(|needs| needs.behind.is_some());
        let own = targets(backend.package);
        if is_pooler {
            return own.filter(|(_, target)| *target == POOLER_TARGET).chain(also).collect();
        }
        let apart = [&[CONFORMANCE, POOLER_TARGET], backend.faults].concat();
        let own = own.filter(move |(_, target)| !apart.contains(target));
        let on_top = targets(PROGRAM).filter(|(_, target)| *target == PROGRAM_TARGET);
        own.chain([(backend.package, LIBRARY)]).chain(also).chain(on_top).collect()
    }

    fn suite(&mut self, backend: &Backend, server: &str, tell: impl Fn(&mut Command)) -> Result<()> {
        match self.program(backend, (backend.package, backend.suite), server, tell)? {
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
        let own = self.own_tests(backend, (backend.package, backend.suite), &missing.server)?;
        let listed = own.map_or(0, |own| own.count);
        self.ran.rows.push(Row::of_missing(backend.name, missing, listed));
        Ok(())
    }

    /// Runs those tests of a package's target that are the backend's, if it has any.
    fn program(
        &self,
        backend: &Backend,
        (package, target): (&str, &str),
        server: &str,
        tell: impl Fn(&mut Command),
    ) -> Result<Option<(Watched, u64)>> {
        let Some(own) = self.own_tests(backend, (package, target), server)? else { return Ok(None) };
        println!("\n{target} of {package}, {} ({server}): {} tests", backend.name, own.count);
        let mut command = self.command(package, target)?;
        tell(&mut command);
        let mut failures = false;
        let shown = |line: &str| {
            failures |= line == "failures:";
            failures || line.ends_with(" ... FAILED") || line.starts_with("test result: ")
        };
        let ran = process::watched(command.args(own.filter).arg("--show-output"), shown)?;
        Ok(Some((ran, own.count)))
    }

    fn own_tests(
        &self,
        backend: &Backend,
        (package, target): (&str, &str),
        server: &str,
    ) -> Result<Option<Own>> {
        if !self.workspace.server_tests(package).any(|known| known == target) && !backend.conforms() {
            return Ok(None);
        }
        let mut list = self.command(package, target)?;
        let listed = process::output(list.args(["--list", "--format", "terse"]))?;
        if target == LIBRARY {
            return Ok(Own::of_library(&listed, backend));
        }
        if !backend.conforms() {
            return Ok(Some(Own { filter: Vec::new(), count: counts::of_list(&listed) }));
        }
        let own = Own::of_target(&listed, backend.module, package);
        Ok(if backend.runs_variant(server) { own } else { own.map(|own| own.without_variant(&listed)) })
    }

    fn command(&self, package: &str, target: &str) -> Result<Command> {
        let folder = self.workspace.package(package).with_context(|| format!("no crate {package}"))?.folder();
        let mut command = process::tied(self.programs.test(folder, target)?);
        command.current_dir(folder).env("CARGO_MANIFEST_DIR", folder).stdin(Stdio::null());
        Ok(command)
    }
}

impl Up {
    /// Tells a test program where it is.
    fn tell(&self, command: &mut Command) {
        let needs = self.backend.server.as_ref().expect("it has a server");
        servers::tell(command, needs, self.started.as_ref());
    }

    /// Whether it is a container that was started for this run.
    fn is_container(&self) -> bool {
        self.durable().is_some()
    }

    /// How another one of the same image is asked for, that syncs its disk as in production.
    fn durable(&self) -> Option<String> {
        self.started.as_ref().and_then(Started::durable)
    }

    /// How a cluster of the same image is asked for.
    fn cluster(&self) -> Option<String> {
        self.started.as_ref()?.another(self.backend.cluster?)
    }
}
