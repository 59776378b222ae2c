//! The program that holds servers, as a process of ours: it is told what to start, says where each server is, and
//! removes them all when this process lets go of it or dies. How servers are started is its affair.

use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::backends::{ADMIN_VARIABLE, Backend, Needs, UNPREPARED_VARIABLE};
use crate::sources::Source;

/// What stands before the folder of installed programs where a server is asked for.
const PROGRAMS: &str = "programs:";

/// What became of a server.
#[derive(Debug, Deserialize)]
pub(crate) struct Started {
    /// As it was asked for.
    pub(crate) wanted: String,
    url: Option<String>,
    admin_url: Option<String>,
    /// Why it could not be started.
    pub(crate) error: Option<String>,
}

impl Started {
    /// How another one of the same image is asked for, that syncs its disk as in production. None: it is no container.
    pub(crate) fn durable(&self) -> Option<String> {
        let (name, _) = self.wanted.split_once('=')?;
        self.another(&format!("{name}-durable"))
    }

    /// How servers of this name and of the same image are asked for.
    pub(crate) fn another(&self, name: &str) -> Option<String> {
        let (_, image) = self.wanted.split_once('=')?;
        (!image.starts_with(PROGRAMS)).then(|| format!("{name}={image}"))
    }
}

/// The process; the servers go with it.
pub(crate) struct Holder {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    stdin: Option<ChildStdin>,
}

impl Holder {
    /// Has these servers started, all at once.
    pub(crate) fn start(program: &Path, wanted: &[String]) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(wanted).stdin(Stdio::piped()).stdout(Stdio::piped());
        // Of its own, so that the key that interrupts us does not end it before it has removed anything.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut process = command.spawn().with_context(|| format!("start {}", program.display()))?;
        let stdin = process.stdin.take();
        let stdout = process.stdout.take().expect("stdout is piped");
        Ok(Self { process, lines: BufReader::new(stdout).lines(), stdin })
    }

    /// The next server that answers or could not be started.
    pub(crate) fn next(&mut self) -> Result<Started> {
        let line = self.lines.next().context("the program that holds the servers has ended")??;
        serde_json::from_str(&line).context("a line of the program that holds the servers")
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.stdin.take());
        self.process.wait().ok();
    }
}

/// How a server is asked for.
pub(crate) fn wanted(backend: &Backend, needs: &Needs, source: &Source) -> Option<String> {
    let name = backend.name;
    match (source, needs.behind) {
        (Source::Variable, _) => None,
        (Source::Image(image), None) => Some(format!("{name}={image}")),
        (Source::Image(image), Some(behind)) => Some(format!("{name}={image}@{behind}")),
        (Source::Programs(folder), _) => Some(format!("{name}={PROGRAMS}{}", folder.display())),
    }
}

/// Tells a test program where its server is, and nothing of any other. A server from the environment keeps what the
/// environment says of it.
pub(crate) fn tell(command: &mut Command, needs: &Needs, started: Option<&Started>) {
    let Some(Started { url, admin_url, .. }) = started else {
        if let Some(url) = std::env::var_os(needs.variable) {
            command.env(needs.tests_read, url);
        }
        command.envs(needs.settings.iter().copied());
        return;
    };
    command.env_remove(ADMIN_VARIABLE).env_remove(UNPREPARED_VARIABLE);
    command.envs(needs.settings.iter().copied());
    command.envs(url.as_ref().map(|url| (needs.tests_read, url)));
    command.envs(admin_url.as_ref().map(|url| (ADMIN_VARIABLE, url)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::named;

    fn needs(backend: &'static Backend) -> &'static Needs {
        backend.server.as_ref().expect("it needs a server")
    }

    #[test]
    fn a_pooler_is_asked_for_with_what_is_behind_it() {
        let asked = |name, source| {
            let backend = named(name).expect("it exists");
            wanted(backend, needs(backend), &source)
        };
        let pooler = asked("pgbouncer", Source::Image("pgbouncer:1".into()));
        assert_eq!(pooler.as_deref(), Some("pgbouncer=pgbouncer:1@postgres:17"));
        assert_eq!(asked("mysql", Source::Variable), None);
        let programs = asked("postgres", Source::Programs("/opt/bin".into()));
        assert_eq!(programs.as_deref(), Some("postgres=programs:/opt/bin"));
    }

    #[test]
    fn a_server_that_a_test_may_kill_is_another_container_of_the_same_image() {
        let durable = |wanted: &str| {
            let started = Started { wanted: wanted.to_owned(), url: None, admin_url: None, error: None };
            started.durable()
        };
        assert_eq!(durable("mysql=mysql:9.7").as_deref(), Some("mysql-durable=mysql:9.7"));
        assert_eq!(durable("postgres=programs:/opt/bin"), None);
        let started =
            Started { wanted: "postgres=postgres:17".into(), url: None, admin_url: None, error: None };
        assert_eq!(started.another("postgres-replica").as_deref(), Some("postgres-replica=postgres:17"));
    }

    #[test]
    fn tests_are_told_of_their_own_server_only() {
        let told = |name: &str, admin_url: Option<&str>| {
            let started = Started {
                wanted: String::new(),
                url: Some("the server".into()),
                admin_url: admin_url.map(Into::into),
                error: None,
            };
            let mut command = Command::new("tests");
            tell(&mut command, needs(named(name).expect("it exists")), Some(&started));
            let of = |(name, value): (&std::ffi::OsStr, Option<&std::ffi::OsStr>)| {
                Some((name.to_str()?.to_owned(), value?.to_str()?.to_owned()))
            };
            command.get_envs().filter_map(of).collect::<Vec<_>>()
        };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(told("postgres", None), [pair("TASKQUEUE_POSTGRES_URL", "the server")]);
        let pooled = [
            pair("TASKQUEUE_POSTGRES_ADMIN_URL", "behind"),
            pair("TASKQUEUE_POSTGRES_UNPREPARED", "1"),
            pair("TASKQUEUE_POSTGRES_URL", "the server"),
        ];
        assert_eq!(told("pgbouncer", Some("behind")), pooled);
    }
}
