//! docs/guarantees.md names only tests that exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The names in the last column of the page's tables.
fn named(page: &str) -> BTreeSet<&str> {
    let rows = page.lines().filter(|line| line.starts_with("| ") && line.contains('`'));
    let cells = rows.filter_map(|row| row.trim_end_matches(" |").rsplit_once(" | ")).map(|(_, tests)| tests);
    cells.flat_map(|tests| tests.split(", ")).map(|name| name.trim_matches('`')).collect()
}

fn sources_under(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            sources_under(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every function's name, and every test that the `caught!` table of the mutants makes.
fn written(source: &str) -> impl Iterator<Item = &str> {
    let functions = source.split("fn ").skip(1).filter_map(|rest| rest.split(['(', '<']).next());
    let caught = source.lines().filter_map(|line| line.trim().split_once(": ")).map(|(name, _)| name);
    functions.chain(caught)
}

#[test]
fn every_test_that_the_guarantees_name_exists() {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the crate is two folders deep");
    let page = fs::read_to_string(root.join("docs/guarantees.md")).expect("the page is there");
    let mut paths = Vec::new();
    sources_under(&root.join("crates"), &mut paths);
    sources_under(&root.join("tests"), &mut paths);
    let sources: Vec<String> =
        paths.iter().map(|path| fs::read_to_string(path).expect("it is text")).collect();
    let written: BTreeSet<&str> = sources.iter().flat_map(|source| written(source)).collect();
    let named = named(&page);
    assert!(named.len() > 100, "the page's tables were found");
    let missing: Vec<_> = named.iter().filter(|name| !written.contains(**name)).collect();
    assert!(missing.is_empty(), "docs/guarantees.md names tests that do not exist: {missing:#?}");
}
