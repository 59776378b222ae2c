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

/// Every test's name: of functions that are marked as one, of what stands by itself on a line of a macro's list (the
/// behaviours, the cases of an engine), and of what the `caught!` table of the mutants makes tests of.
fn written(source: &str) -> impl Iterator<Item = &str> {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    (0..lines.len()).filter_map(move |at| {
        let (line, next) = (lines[at], lines.get(at + 1).copied().unwrap_or_default());
        if let Some((_, function)) = line.split_once("fn ") {
            return function.split(['(', '<']).next().filter(|_| is_test(&lines[..at]));
        }
        match line.split_once(": ") {
            Some((name, _)) => Some(name).filter(|_| next.starts_with("by ")),
            None => Some(line.trim_end_matches(',')),
        }
    })
}

/// Whether the attributes above a function say that it is a test.
fn is_test(above: &[&str]) -> bool {
    let attributes = above.iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("//"));
    attributes.into_iter().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
}

#[test]
fn a_function_that_is_no_test_keeps_no_guarantee() {
    let source = "#[test]\nfn one() {}\nfn helper() {}\n#[tokio::test]\n#[cfg(unix)]\nasync fn two() {}\n\
        field: u32,\nthree: Fault\nby one\nlist! {\n    four\n    five,\n}\n";
    let written: BTreeSet<&str> = written(source).collect();
    assert!(["one", "two", "three", "four", "five"].iter().all(|name| written.contains(name)), "{written:?}");
    assert!(["helper", "field"].iter().all(|name| !written.contains(name)), "{written:?}");
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
