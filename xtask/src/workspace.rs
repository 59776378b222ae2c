//! The checkout: where it is, which of its files the rules read, and what cargo says about its packages.
//! It judges nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::process;

/// The folders that hold no sources of ours.
const FOLDERS_SKIPPED: [&str; 2] = [".git", "target"];
/// What a file must end in to be read.
const ENDINGS_READ: [&str; 8] = ["rs", "md", "toml", "yml", "sql", "json", "run", "svg"];
/// Written by tools, not by us.
const FILES_SKIPPED: [&str; 1] = ["Cargo.lock"];

/// The feature of a backend's crate that turns on the tests that need a server.
const SERVER_FEATURE: &str = "server-tests";
/// Off by default, but its tests need nothing that is not on every machine: they are run with all others.
const TRACES_FEATURE: &str = "opentelemetry";

/// A workspace on disk.
pub(crate) struct Workspace {
    /// Its root folder.
    pub(crate) root: PathBuf,
    /// What `cargo metadata` says.
    pub(crate) metadata: Metadata,
}

/// The part of `cargo metadata` that is used here.
#[derive(Deserialize)]
pub(crate) struct Metadata {
    /// The members.
    pub(crate) packages: Vec<Package>,
    workspace_root: PathBuf,
}

/// A member.
#[derive(Deserialize)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// Where its manifest is.
    pub(crate) manifest_path: PathBuf,
    /// What it builds.
    pub(crate) targets: Vec<Target>,
    /// Its features, and what each turns on.
    pub(crate) features: BTreeMap<String, Vec<String>>,
}

/// One library, program, test, example or bench.
#[derive(Deserialize)]
pub(crate) struct Target {
    /// Its name.
    pub(crate) name: String,
    /// `lib`, `bin`, `test`, `example` or `bench`.
    pub(crate) kind: Vec<String>,
    /// The features without which cargo does not build it.
    #[serde(default, rename = "required-features")]
    pub(crate) required_features: Vec<String>,
    /// Whether its manifest says that it holds tests; of an example cargo takes that it holds none.
    #[serde(default, rename = "test")]
    pub(crate) is_tested: bool,
}

/// A text file of the workspace.
pub(crate) struct File {
    /// Its path from the root, with `/`.
    pub(crate) path: String,
    /// What it holds.
    pub(crate) text: String,
}

/// The files that the rules read.
pub(crate) struct Files(pub(crate) Vec<File>);

impl Workspace {
    /// The workspace of the current folder.
    pub(crate) fn find() -> Result<Self> {
        let json =
            process::output(process::cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
        let metadata: Metadata = serde_json::from_str(&json).context("read cargo metadata")?;
        Ok(Self { root: metadata.workspace_root.clone(), metadata })
    }

    /// Every text file of ours, in the order of the paths.
    pub(crate) fn files(&self) -> Result<Files> {
        let mut files = Vec::new();
        collect(&self.root, &self.root, &mut files)?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Files(files))
    }

    /// The names of the integration tests of all members but `excepted`, and but those that need a server, which is not
    /// on every machine.
    pub(crate) fn test_targets(&self, excepted: &str) -> BTreeSet<&str> {
        let tests = self.metadata.packages.iter().flat_map(Package::serverless_tests);
        tests.map(|target| target.name.as_str()).filter(|name| *name != excepted).collect()
    }

    /// The names of the examples that hold tests.
    pub(crate) fn tested_examples(&self) -> impl Iterator<Item = &str> {
        self.metadata.packages.iter().flat_map(Package::tested_examples)
    }

    /// The integration tests of a member that need a server, by name.
    pub(crate) fn server_tests(&self, package: &str) -> impl Iterator<Item = &str> {
        let targets = self.package(package).into_iter().flat_map(|package| &package.targets);
        let needs = |target: &&Target| target.required_features.iter().any(|it| it == SERVER_FEATURE);
        targets.filter(needs).map(|target| target.name.as_str())
    }

    /// The features that turn such tests on, of these members.
    pub(crate) fn server_features<'a>(&self, packages: impl IntoIterator<Item = &'a str>) -> Vec<String> {
        let with = packages.into_iter().filter(|package| self.server_tests(package).next().is_some());
        with.flat_map(|package| ["--features".to_owned(), format!("{package}/{SERVER_FEATURE}")]).collect()
    }

    /// The features that turn on the tests of traces.
    pub(crate) fn traces_features(&self) -> impl Iterator<Item = String> {
        let needs = |target: &Target| target.required_features.iter().any(|it| it == TRACES_FEATURE);
        let with = self.metadata.packages.iter().filter(move |package| package.targets.iter().any(needs));
        with.flat_map(|package| ["--features".to_owned(), format!("{}/{TRACES_FEATURE}", package.name)])
    }

    /// The feature that turns on the tests of one engine, where a member keeps them apart: those of engines that are
    /// not to be had everywhere.
    pub(crate) fn engine_feature(&self, package: &str, engine: &str) -> Option<String> {
        let feature = format!("{engine}-tests");
        let has = self.package(package).is_some_and(|package| package.features.contains_key(&feature));
        has.then(|| format!("{package}/{feature}"))
    }

    /// The member of this name, if there is one.
    pub(crate) fn package(&self, name: &str) -> Option<&Package> {
        self.metadata.packages.iter().find(|package| package.name == name)
    }
}

impl Package {
    /// Its folder.
    pub(crate) fn folder(&self) -> &Path {
        self.manifest_path.parent().expect("a manifest is in a folder")
    }

    /// Its examples that hold tests, by name.
    fn tested_examples(&self) -> impl Iterator<Item = &str> {
        let is_example = |target: &&Target| target.kind.iter().any(|kind| kind == "example");
        self.targets.iter().filter(is_example).filter(|it| it.is_tested).map(|target| target.name.as_str())
    }

    /// Its integration tests that need no server, of those that are built with its default features, with those of traces
    /// and with what [`SERVER_FEATURE`] turns on.
    fn serverless_tests(&self) -> impl Iterator<Item = &Target> {
        let of = |feature| self.features.get(feature).map_or(&[][..], Vec::as_slice);
        let (by_default, with_servers) = (of("default"), of(SERVER_FEATURE));
        let is_test = |target: &&Target| target.kind.iter().any(|kind| kind == "test");
        let is_on =
            move |it: &String| it == TRACES_FEATURE || by_default.contains(it) || with_servers.contains(it);
        let is_built = move |target: &&Target| target.required_features.iter().all(is_on);
        self.targets.iter().filter(is_test).filter(is_built)
    }
}

impl Files {
    /// The Rust sources.
    pub(crate) fn rust(&self) -> impl Iterator<Item = &File> {
        self.0.iter().filter(|file| file.path.ends_with(".rs"))
    }

    /// The pages.
    pub(crate) fn markdown(&self) -> impl Iterator<Item = &File> {
        self.0.iter().filter(|file| file.path.ends_with(".md"))
    }

    /// The file at a path from the root.
    pub(crate) fn get(&self, path: &str) -> Option<&File> {
        self.0.iter().find(|file| file.path == path)
    }

    /// Whether there is a file or a folder at a path from the root.
    pub(crate) fn holds(&self, path: &str) -> bool {
        let folder = format!("{path}/");
        path.is_empty() || self.0.iter().any(|file| file.path == path || file.path.starts_with(&folder))
    }
}

#[cfg(test)]
impl Files {
    /// Made-up files, for the tests of the rules.
    pub(crate) fn of<const N: usize>(files: [(&str, &str); N]) -> Self {
        Self(files.map(|(path, text)| File { path: path.to_owned(), text: text.to_owned() }).into())
    }
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<File>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if entry.file_type()?.is_dir() {
            if !FOLDERS_SKIPPED.contains(&name.as_str()) {
                collect(root, &path, files)?;
            }
        } else if is_read(&name) {
            let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            let path = path.strip_prefix(root).expect("the walk starts at the root");
            files.push(File { path: path.to_string_lossy().replace('\\', "/"), text });
        }
    }
    Ok(())
}

fn is_read(name: &str) -> bool {
    let ending = name.rsplit('.').next().unwrap_or_default();
    let known = ENDINGS_READ.contains(&ending) || name.starts_with("LICENSE-");
    known && !FILES_SKIPPED.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_without_a_server_are_run_whichever_feature_that_is_on_they_need() {
        let target = |name: &str, needs: &[&str]| serde_json::json!({"name": name, "kind": ["test"], "required-features": needs});
        let targets = [
            target("plain", &[]),
            target("by_default", &["sqlite"]),
            target("with_servers", &["sqlite", "kafka"]),
            target("of_traces", &["opentelemetry"]),
            target("of_a_server", &["server-tests"]),
            target("of_another", &["vitess-tests"]),
        ];
        let features = serde_json::json!({"default": ["sqlite"], "server-tests": ["kafka"]});
        let package = serde_json::json!(
            {"name": "a", "manifest_path": "/a/Cargo.toml", "targets": targets, "features": features}
        );
        let package: Package = serde_json::from_value(package).expect("it has the form of cargo's");
        let names: Vec<_> = package.serverless_tests().map(|target| target.name.as_str()).collect();
        assert_eq!(names, ["plain", "by_default", "with_servers", "of_traces"]);
    }

    #[test]
    fn of_the_examples_those_with_tests_are_run() {
        let target = |name: &str, kind: &str, test: bool| serde_json::json!({"name": name, "kind": [kind], "test": test});
        let targets =
            [target("shown", "example", false), target("tried", "example", true), target("a", "lib", true)];
        let package = serde_json::json!({"name": "a", "manifest_path": "/a/Cargo.toml", "targets": targets, "features": {}});
        let package: Package = serde_json::from_value(package).expect("it has the form of cargo's");
        assert_eq!(package.tested_examples().collect::<Vec<_>>(), ["tried"]);
    }
}
