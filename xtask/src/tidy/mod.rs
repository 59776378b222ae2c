//! `cargo xtask tidy`: the rules of the house, each in one function that turns sources into violations. This
//! file owns what a violation is and the list of rules; each rule's reason is its module's.

mod backends;
mod docs;
mod layers;
mod lengths;
mod words;

use std::fmt;

use anyhow::Result;

use crate::process;
use crate::workspace::{Files, Workspace};

/// A place that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    path: String,
    /// From 1.
    line: usize,
    rule: &'static str,
    message: String,
}

/// A rule that reads the files.
type Rule = fn(&Files) -> Vec<Violation>;

/// Every rule but the layers, which reads `cargo tree` as well.
const RULES: [(&str, Rule); 17] = [
    ("file-length", lengths::files),
    ("function-length", lengths::functions),
    ("module-docs", words::module_docs),
    ("vocabulary", words::vocabulary),
    ("no-ignored-tests", words::ignored_tests),
    ("no-sleeps", words::sleeps),
    ("no-unfinished-code", words::unfinished),
    ("no-hosts", words::hosts),
    ("backend-files", backends::file_names),
    ("changelog", docs::changelog),
    ("links", docs::links),
    ("docs-index", docs::index),
    ("metrics-page", docs::metrics_page),
    ("table-rows", docs::table_rows),
    ("readme-example", docs::readme_example),
    ("handlers-example", docs::handlers_example),
    ("licences", docs::licences),
];

/// Checks every rule and prints the violations. Answers whether there are none.
pub(crate) fn run(workspace: &Workspace) -> Result<bool> {
    let files = workspace.files()?;
    let tree = process::output(process::cargo().args(layers::TREE))?;
    let mut violations = layers::check(&tree, &files);
    violations.extend(RULES.iter().flat_map(|(_, rule)| rule(&files)));
    violations.sort();
    for violation in &violations {
        println!("{violation}");
    }
    println!("tidy: {} rules, {} files, {} violations", RULES.len() + 1, files.0.len(), violations.len());
    Ok(violations.is_empty())
}

impl Violation {
    /// The place `path:line` breaks `rule`.
    fn new(rule: &'static str, path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, rule, message: message.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, rule, message } = self;
        write!(f, "{path}:{line}: {rule}: {message}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_reads_like_a_compiler_message() {
        let violation = Violation::new("file-length", "a/b.rs", 401, "too long");
        assert_eq!(violation.to_string(), "a/b.rs:401: file-length: too long");
    }

    #[test]
    fn every_rule_reports_under_its_listed_name() {
        let broken = Files::of([
            ("crates/taskqueue-sqlite/src/lib.rs", "#[ignore]\nfn a() { thread::sleep(x); todo!() }\n"),
            ("xtask/src/tidy/words.rs", ""),
            ("crates/taskqueue-core/src/job.rs", "//! Jobs.\n"),
            ("docs/README.md", "[gone](gone.md)\n\n| a |\n|---|\n| a |\n"),
            ("docs/alone.md", "[host](https://index.example.org)\n"),
            ("README.md", "no example\n"),
            ("crates/taskqueue-core/src/metrics.rs", "//! Metrics.\ncounter(\"a_total\");\n"),
            ("crates/long/src/long.rs", &format!("//! Long.\nfn long() {{\n{}}}\n", "a();\n".repeat(500))),
        ]);
        for (name, rule) in RULES {
            let violations = rule(&broken);
            assert!(!violations.is_empty(), "{name} finds nothing");
            assert!(violations.iter().all(|violation| violation.rule == name), "{name}: {violations:?}");
        }
    }
}
