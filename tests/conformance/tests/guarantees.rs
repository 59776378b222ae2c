//! docs/guarantees.md and docs/storage.md name only tests that exist. It knows no more of what these say.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The names in the last column of a page's tables.
fn named_in_tables(page: &str) -> BTreeSet<&str> {
    let rows = page.lines().filter(|line| line.starts_with("| ") && line.contains('`'));
    let cells = rows.filter_map(|row| row.trim_end_matches(" |").rsplit_once(" | ")).map(|(_, tests)| tests);
    cells.flat_map(|tests| tests.split(", ")).map(|name| name.trim_matches('`')).collect()
}

/// The names that follow `Test: ` or `Tests: ` in a page's lists, each up to the end of its item.
fn named_in_lists(page: &str) -> BTreeSet<&str> {
    let items = page.split("\n\n").flat_map(|paragraph| paragraph.split("\n- "));
    let tests = items.filter_map(|item| item.split_once("Test: `").or_else(|| item.split_once("Tests: `")));
    tests.flat_map(|(_, names)| names.split('`').step_by(2)).collect()
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
fn the_names_of_a_list_end_with_their_item() {
    let page = "- One of `them`.\n  Tests: `one`,\n  `two`.\n- `Two`. Test: `three`.\n\n`After`.\n";
    assert_eq!(Vec::from_iter(named_in_lists(page)), ["one", "three", "two"]);
}

#[test]
fn every_test_that_the_guarantees_and_the_page_of_storage_name_exists() {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the crate is two folders deep");
    let read = |page: &str| fs::read_to_string(root.join(page)).expect("the page is there");
    let (guarantees, storage) = (read("docs/guarantees.md"), read("docs/storage.md"));
    let mut paths = Vec::new();
    sources_under(&root.join("crates"), &mut paths);
    sources_under(&root.join("tests"), &mut paths);
    let sources: Vec<String> =
        paths.iter().map(|path| fs::read_to_string(path).expect("it is text")).collect();
    let written: BTreeSet<&str> = sources.iter().flat_map(|source| written(source)).collect();
    let (promised, stored) = (named_in_tables(&guarantees), named_in_lists(&storage));
    assert!(promised.len() > 100 && stored.len() > 80, "the names were found");
    let missing: Vec<_> = promised.union(&stored).filter(|name| !written.contains(**name)).collect();
    assert!(missing.is_empty(), "the pages name tests that do not exist: {missing:#?}");
}
