//! The pages: links that lead somewhere, an index that is whole, an example that compiles, tables that say a thing once.

use std::collections::BTreeSet;

use super::Violation;
use crate::workspace::{File, Files};

/// The program that the README's first Rust block shows; cargo compiles it.
const EXAMPLE: &str = "crates/taskqueue-cli/examples/welcome.rs";

/// The annotated file of `work --config`, and the page that shows it.
const HANDLERS_FILE: &str = "crates/taskqueue-cli/examples/handlers.toml";
const HANDLERS_PAGE: &str = "docs/handlers.md";

/// Where metrics are named, and where they are explained.
const METRICS_SOURCE: &str = "crates/taskqueue-core/src/metrics.rs";
const METRICS_PAGE: &str = "docs/metrics.md";
/// Whose tables have each thing once, in the first column.
const TABLE_PAGES: [&str; 4] =
    ["docs/README.md", "docs/failure-modes.md", "docs/guarantees.md", "docs/metrics.md"];
/// What a metric's name ends in.
const METRIC_ENDINGS: [&str; 5] = ["_total", "_seconds", "_size", "_depth", "_active"];

/// `changelog`: users read there what changed for them.
pub(super) fn changelog(files: &Files) -> Vec<Violation> {
    let is_there = files
        .get("CHANGELOG.md")
        .is_some_and(|file| file.text.lines().any(|line| line.trim_end() == "## [Unreleased]"));
    let message = "no section `## [Unreleased]`";
    if is_there { Vec::new() } else { vec![Violation::new("changelog", "CHANGELOG.md", 1, message)] }
}

/// `licences`: a crate that says MIT OR Apache-2.0 comes with both texts.
pub(super) fn licences(files: &Files) -> Vec<Violation> {
    let texts = [("LICENSE-MIT", "MIT License"), ("LICENSE-APACHE", "Apache License")];
    let missing = texts.into_iter().filter(|(path, title)| {
        !files.get(path).is_some_and(|file| file.text.trim_start().starts_with(title))
    });
    missing
        .map(|(path, _)| Violation::new("licences", path, 1, "the text of the licence is missing"))
        .collect()
}

/// `docs-index`: every page under docs/ can be found from docs/README.md.
pub(super) fn index(files: &Files) -> Vec<Violation> {
    const INDEX: &str = "docs/README.md";
    let linked: BTreeSet<String> = files.get(INDEX).map(targets).unwrap_or_default();
    let pages = files.markdown().filter(|file| file.path.starts_with("docs/") && file.path != INDEX);
    let unlinked = pages.filter(|page| !linked.contains(&page.path));
    unlinked
        .map(|page| {
            Violation::new("docs-index", &page.path, 1, format!("{INDEX} does not link to this page"))
        })
        .collect()
}

/// `metrics-page`: every metric that the core records is explained.
pub(super) fn metrics_page(files: &Files) -> Vec<Violation> {
    let page = files.get(METRICS_PAGE).map_or("", |file| &file.text);
    let recorded = files.get(METRICS_SOURCE).map_or("", |file| &file.text);
    let mut violations = Vec::new();
    for (line, text) in (1..).zip(recorded.lines()).filter(|(_, text)| !text.trim_start().starts_with("//")) {
        let quoted = text.split('"').skip(1).step_by(2);
        let unexplained = quoted.filter(|name| is_metric(name) && !page.contains(&format!("`{name}`")));
        violations.extend(unexplained.map(|name| {
            let message = format!("{METRICS_PAGE} does not explain `{name}`");
            Violation::new("metrics-page", METRICS_SOURCE, line, message)
        }));
    }
    violations
}

/// `links`: a link to a file of ours leads to a file, and to a heading where it names one.
pub(super) fn links(files: &Files) -> Vec<Violation> {
    let mut violations = Vec::new();
    for file in files.markdown() {
        for (line, target) in destinations(&file.text) {
            if let Some(message) = broken(files, file, target) {
                violations.push(Violation::new("links", &file.path, line, message));
            }
        }
    }
    violations
}

/// `table-rows`: no two rows of a table in these pages are about the same, as a merge may leave them.
pub(super) fn table_rows(files: &Files) -> Vec<Violation> {
    let mut violations = Vec::new();
    for page in files.markdown().filter(|file| TABLE_PAGES.contains(&file.path.as_str())) {
        let mut seen = BTreeSet::new();
        for (line, text) in (1..).zip(page.text.lines()) {
            let Some(row) = text.strip_prefix('|') else {
                seen.clear();
                continue;
            };
            let first = row.split('|').next().unwrap_or_default().trim();
            if !seen.insert(first) {
                let message = format!("the table has a row of {first:?} already");
                violations.push(Violation::new("table-rows", &page.path, line, message));
            }
        }
    }
    violations
}

/// `readme-example`: the README's first Rust block is the example that cargo compiles, without its opening
/// comment.
pub(super) fn readme_example(files: &Files) -> Vec<Violation> {
    let compiled = files.get(EXAMPLE).map(|file| {
        let code = file.text.lines().skip_while(|line| line.starts_with("//!") || line.is_empty());
        code.collect::<Vec<_>>().join("\n")
    });
    shown("readme-example", files, ("README.md", "```rust"), (EXAMPLE, compiled))
}

/// `handlers-example`: the page's first block of TOML is the file that a test makes every handler of.
pub(super) fn handlers_example(files: &Files) -> Vec<Violation> {
    let tried = files.get(HANDLERS_FILE).map(|file| file.text.trim_end().to_owned());
    shown("handlers-example", files, (HANDLERS_PAGE, "```toml"), (HANDLERS_FILE, tried))
}

/// Whether the first block of a page that begins with this fence is what stands in a file.
fn shown(
    rule: &'static str,
    files: &Files,
    (page, fence): (&str, &str),
    (path, expected): (&str, Option<String>),
) -> Vec<Violation> {
    match (files.get(page).and_then(|file| block(&file.text, fence)), expected) {
        (Some((_, shown)), Some(expected)) if shown == expected => Vec::new(),
        (shown, _) => {
            let line = shown.map_or(1, |(line, _)| line);
            vec![Violation::new(
                rule,
                page,
                line,
                format!("the first {fence} block is not what stands in {path}"),
            )]
        }
    }
}

fn is_metric(name: &str) -> bool {
    METRIC_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// The first block with this fence, and the line on which its code begins.
fn block(text: &str, fence: &str) -> Option<(usize, String)> {
    let begin = text.lines().position(|line| line == fence)? + 1;
    let code: Vec<&str> = text.lines().skip(begin).take_while(|line| *line != "```").collect();
    Some((begin + 1, code.join("\n")))
}

/// The files that a page links to, as paths from the root.
fn targets(file: &File) -> BTreeSet<String> {
    let paths = destinations(&file.text).map(|(_, target)| target.split('#').next().unwrap_or_default());
    paths.map(|path| resolve(&file.path, path)).collect()
}

/// The destinations `](…)` of a page with their lines; blocks of code have none.
fn destinations(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_block = false;
    let lines = (1..).zip(text.lines()).filter(move |(_, line)| {
        let is_fence = line.trim_start().starts_with("```");
        in_block ^= is_fence;
        !in_block && !is_fence
    });
    lines.flat_map(|(number, line)| {
        line.split("](").skip(1).filter_map(move |rest| Some((number, rest.split_once(')')?.0)))
    })
}

fn broken(files: &Files, from: &File, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, heading) = target.split_once('#').unwrap_or((target, ""));
    let path = if path.is_empty() { from.path.clone() } else { resolve(&from.path, path) };
    if !files.holds(&path) {
        return Some(format!("{target} leads nowhere: there is no {path}"));
    }
    let has_heading =
        |file: &File| file.text.lines().any(|line| line.starts_with('#') && anchor(line) == heading);
    let is_found = heading.is_empty() || files.get(&path).is_some_and(has_heading);
    (!is_found).then(|| format!("{target} leads nowhere: {path} has no such heading"))
}

/// `path` as seen from the page `from`, as a path from the root.
fn resolve(from: &str, path: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// A heading's anchor: lower case, spaces as hyphens, other punctuation gone.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().chars().filter_map(|c| match c {
        ' ' => Some('-'),
        '-' | '_' => Some(c),
        c if c.is_alphanumeric() => Some(c),
        _ => None,
    });
    kept.collect::<String>().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(violations: Vec<Violation>) -> Vec<String> {
        violations.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_changelog_needs_its_unreleased_section() {
        assert_eq!(changelog(&Files::of([("CHANGELOG.md", "# Changelog\n\n## [Unreleased]\n")])), []);
        assert_eq!(changelog(&Files::of([("CHANGELOG.md", "# Changelog\n")])).len(), 1);
        assert_eq!(changelog(&Files::of([])).len(), 1);
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        let page = "# A page\n[ok](../README.md) [ok](#a-page) [ok](https://example.org/x) [ok](../crates)\n\
            [gone](gone.md)\n[gone](../README.md#no)\n```\n[code](not-a-link)\n```\n[ok](../README.md#what-it-is)\n";
        let files =
            Files::of([("README.md", "## What it is?\n"), ("docs/page.md", page), ("crates/a.rs", "")]);
        assert_eq!(
            messages(links(&files)),
            [
                "docs/page.md:3: links: gone.md leads nowhere: there is no docs/gone.md",
                "docs/page.md:4: links: ../README.md#no leads nowhere: README.md has no such heading",
            ]
        );
    }

    #[test]
    fn a_page_that_the_index_forgets_is_found() {
        let files = Files::of([("docs/README.md", "[a](a.md#x)\n"), ("docs/a.md", ""), ("docs/b.md", "")]);
        assert_eq!(
            messages(index(&files)),
            ["docs/b.md:1: docs-index: docs/README.md does not link to this page"]
        );
    }

    #[test]
    fn two_rows_of_a_table_that_are_about_the_same_are_found() {
        let page =
            "| a | b |\n|---|---|\n| x | 1 |\n| y | 2 |\n| x | 3 |\n\n| a | b |\n|---|---|\n| x | 1 |\n";
        let files = Files::of([("docs/metrics.md", page), ("docs/engines.md", page)]);
        let expected = "docs/metrics.md:5: table-rows: the table has a row of \"x\" already";
        assert_eq!(messages(table_rows(&files)), [expected]);
    }

    #[test]
    fn a_metric_without_an_explanation_is_found() {
        let source = "// \"old_total\"\ncounter(\"a_total\", \"type\");\ngauge(\"b_depth\");\n";
        let files = Files::of([(METRICS_SOURCE, source), (METRICS_PAGE, "| `a_total` |\n")]);
        let found = messages(metrics_page(&files));
        assert_eq!(
            found,
            [format!("{METRICS_SOURCE}:3: metrics-page: {METRICS_PAGE} does not explain `b_depth`")]
        );
    }

    #[test]
    fn a_readme_that_shows_other_code_than_the_example_is_found() {
        let example = (EXAMPLE, "//! An example.\n\nfn main() {}\n");
        assert_eq!(
            readme_example(&Files::of([("README.md", "# x\n```rust\nfn main() {}\n```\n"), example])),
            []
        );
        let found = readme_example(&Files::of([("README.md", "# x\n```rust\nfn old() {}\n```\n"), example]));
        assert_eq!(found[0].line, 3);
        assert_eq!(readme_example(&Files::of([("README.md", "# x\n"), example])).len(), 1);
    }

    #[test]
    fn a_page_that_shows_another_file_of_handlers_than_the_tried_one_is_found() {
        let tried = (HANDLERS_FILE, "# All.\n[store]\n");
        let page = |text| handlers_example(&Files::of([(HANDLERS_PAGE, text), tried]));
        assert_eq!(page("# x\n```toml\n# All.\n[store]\n```\n"), []);
        assert_eq!(page("# x\n```toml\n[store]\n```\n")[0].line, 3);
    }

    #[test]
    fn a_missing_licence_is_found() {
        let files = Files::of([("LICENSE-MIT", "MIT License\n"), ("LICENSE-APACHE", "\n  Apache License\n")]);
        assert_eq!(licences(&files), []);
        assert_eq!(licences(&Files::of([("LICENSE-MIT", "MIT License\n")]))[0].path, "LICENSE-APACHE");
    }
}
