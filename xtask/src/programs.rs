//! Building the programs that test backends, and the one that holds their servers. It runs none of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::backends::{BACKENDS, Backend, Needs};
use crate::process;
use crate::workspace::Workspace;

/// The crate, and its program, that holds servers.
const SERVERS: &str = "taskqueue-servers";
/// Its integration test: cargo builds a program along with the tests that run it.
const SERVERS_TEST: &str = "program";

/// What the unit tests of a library are called among the test targets; cargo lets none be named so.
pub(crate) const LIBRARY: &str = "unit tests";
/// The module that holds those of them that need a server.
pub(crate) const ON_SERVER: &str = "on_server::";

/// Test programs, by the folders of their packages and the names of their targets.
pub(crate) struct Programs {
    tests: BTreeMap<(PathBuf, String), PathBuf>,
    servers: Option<PathBuf>,
}

/// What to build.
pub(crate) enum Build<'a> {
    /// As all tests are built, so that nothing is built twice.
    All,
    /// The named test targets of these backends only.
    Of { backends: &'a [&'static Backend], target: &'a str },
}

impl Programs {
    /// Builds.
    pub(crate) fn build(workspace: &Workspace, build: &Build<'_>) -> Result<Self> {
        let mut command = process::cargo();
        command.arg("test").args(selection(workspace, build)).args(["--no-run", "--message-format"]);
        command.arg("json-render-diagnostics").stderr(Stdio::inherit());
        let messages = process::output(&mut command).context("build the test programs")?;
        Ok(Self::of_messages(&messages))
    }

    /// The program of a test target.
    pub(crate) fn test(&self, folder: &Path, target: &str) -> Result<&Path> {
        let key = (folder.to_owned(), target.to_owned());
        let found = self.tests.get(&key).map(PathBuf::as_path);
        found.with_context(|| format!("{} has no test named {target}", folder.display()))
    }

    /// The program that holds servers.
    pub(crate) fn servers(&self) -> Result<&Path> {
        self.servers.as_deref().with_context(|| format!("cargo did not build {SERVERS}"))
    }

    fn of_messages(messages: &str) -> Self {
        let mut programs = Self { tests: BTreeMap::new(), servers: None };
        for line in messages.lines() {
            let Ok(artifact) = serde_json::from_str::<Artifact>(line) else { continue };
            let Artifact { manifest_path, executable: Some(executable), target, profile } = artifact else {
                continue;
            };
            let is = |kind: &str| target.kind.iter().any(|it| it == kind);
            let folder = manifest_path.parent().expect("a manifest is in a folder").to_owned();
            if is("test") {
                programs.tests.insert((folder, target.name), executable);
            } else if is("lib") && profile.test {
                programs.tests.insert((folder, LIBRARY.to_owned()), executable);
            } else if is("bin") && target.name == SERVERS && !profile.test {
                programs.servers = Some(executable);
            }
        }
        programs
    }
}

fn selection(workspace: &Workspace, build: &Build<'_>) -> Vec<String> {
    let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
    match build {
        Build::All => [texts(&["--workspace", "--tests"]), features_of_all(workspace)].concat(),
        Build::Of { backends, target } => {
            let mut packages: Vec<_> = backends.iter().map(|backend| backend.package).collect();
            packages.dedup();
            let mut features = workspace.server_features(packages.iter().copied());
            features.extend(engine_features(workspace, backends.iter().copied()));
            packages.push(SERVERS);
            let packages = packages.iter().flat_map(|package| texts(&["--package", package])).collect();
            [packages, features, texts(&["--test", target, "--test", SERVERS_TEST])].concat()
        }
    }
}

/// What all tests are built with: those that need servers, those of traces, and those of the engines that are not to be had everywhere
/// where a server is named.
pub(crate) fn features_of_all(workspace: &Workspace) -> Vec<String> {
    features_with(workspace, |needs| std::env::var_os(needs.variable).is_some())
}

fn features_with(workspace: &Workspace, has_url: impl Fn(&Needs) -> bool) -> Vec<String> {
    let all = workspace.metadata.packages.iter().map(|package| package.name.as_str());
    let named = BACKENDS.iter().filter(|backend| backend.server.as_ref().is_some_and(&has_url));
    let engines = engine_features(workspace, named);
    workspace.server_features(all).into_iter().chain(workspace.traces_features()).chain(engines).collect()
}

fn engine_features<'a>(
    workspace: &'a Workspace,
    backends: impl Iterator<Item = &'a Backend> + 'a,
) -> impl Iterator<Item = String> + 'a {
    let engines = backends.filter_map(|backend| workspace.engine_feature(backend.package, backend.name));
    engines.flat_map(|feature| ["--features".to_owned(), feature])
}

/// One of cargo's messages about what it has built.
#[derive(Deserialize)]
struct Artifact {
    manifest_path: PathBuf,
    executable: Option<PathBuf>,
    target: Target,
    profile: Profile,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tests_of_an_engine_are_built_where_its_server_is_named() {
        let workspace = Workspace::find().expect("the tests run in it");
        let has = |variable: &str, feature: &str| {
            let features = features_with(&workspace, |needs| needs.variable == variable);
            features.iter().any(|it| it == feature)
        };
        assert!(has("TASKQUEUE_COCKROACH_URL", "taskqueue-postgres/cockroach-tests"));
        assert!(has("TASKQUEUE_VITESS_URL", "taskqueue-mysql/vitess-tests"));
        assert!(!has("TASKQUEUE_MYSQL_URL", "taskqueue-mysql/vitess-tests"));
        assert!(has("none", "taskqueue-mysql/server-tests"));
        assert!(has("none", "taskqueue-worker/opentelemetry"));
    }

    #[test]
    fn programs_are_known_by_the_folder_of_their_package_and_their_name() {
        let artifact = |name: &str, kind: &str, test: bool, executable: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"/w/a/Cargo.toml","target":{{"name":"{name}","kind":["{kind}"]}},"profile":{{"test":{test}}},"executable":{executable}}}"#
            )
        };
        let messages = [
            artifact("conformance", "test", true, r#""/t/conformance-1""#),
            artifact("a", "lib", false, "null"),
            artifact("a", "lib", true, r#""/t/a-1""#),
            artifact("taskqueue-servers", "bin", true, r#""/t/taskqueue_servers-1""#),
            artifact("taskqueue-servers", "bin", false, r#""/t/taskqueue-servers""#),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
        ];
        let programs = Programs::of_messages(&messages.join("\n"));
        assert_eq!(programs.test(Path::new("/w/a"), "conformance").ok(), Some(Path::new("/t/conformance-1")));
        assert_eq!(programs.test(Path::new("/w/a"), LIBRARY).ok(), Some(Path::new("/t/a-1")));
        assert!(programs.test(Path::new("/w/a"), "server").is_err());
        assert_eq!(programs.servers().ok(), Some(Path::new("/t/taskqueue-servers")));
    }
}
