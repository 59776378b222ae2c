//! `cargo xtask handlers-table`: the table in docs/handlers.md of what tests showed of each task type, and against
//! which server. It runs no test and knows none.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::workspace::Workspace;

const PAGE: &str = "docs/handlers.md";
const BEGIN: &str = "<!-- what the tests showed -->";
const END: &str = "<!-- end of what the tests showed -->";
/// Every task type, in the order of the page.
const TYPES: [&str; 9] = [
    "cleanup",
    "lifecycle",
    "event",
    "restore",
    "federation_discovery",
    "federation_ingest",
    "replication",
    "audit_log",
    "webhook",
];

/// What is done with the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Write,
    Check,
}

impl Mode {
    /// By the flag `--check`.
    pub(crate) fn of(check: bool) -> Self {
        if check { Self::Check } else { Self::Write }
    }
}

/// What one test showed.
#[derive(Debug, Deserialize)]
struct Line {
    #[serde(rename = "type")]
    task_type: String,
    shows: String,
    server: String,
    outcome: String,
}

/// Makes the table of `file`, and writes it or holds it against the page. Answers whether the page shows it and nothing
/// failed.
pub(crate) fn run(workspace: &Workspace, file: &Path, mode: Mode) -> Result<bool> {
    let lines = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let table = table(&lines)?;
    let path = workspace.root.join(PAGE);
    let page = fs::read_to_string(&path).with_context(|| format!("read {PAGE}"))?;
    let renewed = renewed(&page, &table)?;
    if mode == Mode::Write {
        fs::write(&path, &renewed).with_context(|| format!("write {PAGE}"))?;
    } else if renewed != page {
        eprintln!("{PAGE} does not show what the tests showed; this is it:\n{table}");
        return Ok(false);
    }
    Ok(!table.contains("**failed**"))
}

/// A row for each type, what was shown and server; a row that failed once has failed.
fn table(lines: &str) -> Result<String> {
    let mut rows = BTreeMap::new();
    for line in lines.lines() {
        let Line { task_type, shows, server, outcome } =
            serde_json::from_str(line).with_context(|| format!("{line:?} is no line of a test"))?;
        let Some(place) = TYPES.iter().position(|known| *known == task_type) else {
            bail!("there is no task type {task_type}")
        };
        let passed = rows.entry((place, shows, server)).or_insert(true);
        *passed &= outcome == "passed";
    }
    if let Some(missing) = (0..TYPES.len()).find(|place| !rows.keys().any(|(of, ..)| of == place)) {
        bail!("no test showed anything of the task type {}", TYPES[missing]);
    }
    let row = |((place, shows, server), passed): ((usize, String, String), bool)| {
        let outcome = if passed { "passed" } else { "**failed**" };
        format!("| `{}` | {shows} | {server} | {outcome} |\n", TYPES[place])
    };
    let rows: String = rows.into_iter().map(row).collect();
    Ok(format!("| task type | what was shown | against | outcome |\n|---|---|---|---|\n{rows}"))
}

/// The page with this table between its marks.
fn renewed(page: &str, table: &str) -> Result<String> {
    let parts = page.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let Some((before, after)) = parts else { bail!("{PAGE} has not the marks {BEGIN} and {END}") };
    Ok(format!("{before}{BEGIN}\n{table}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(task_type: &str, outcome: &str) -> String {
        format!(
            "{{\"type\":\"{task_type}\",\"shows\":\"it works\",\"server\":\"s 1\",\"outcome\":\"{outcome}\"}}\n"
        )
    }

    fn of_every_type() -> String {
        TYPES.iter().map(|task_type| line(task_type, "passed")).collect()
    }

    #[test]
    fn types_stand_in_the_order_of_the_page_and_repetitions_are_one_row() {
        let table = table(&(of_every_type() + &of_every_type())).expect("it is whole");
        assert_eq!(table.lines().count(), 2 + TYPES.len());
        assert_eq!(table.lines().nth(2), Some("| `cleanup` | it works | s 1 | passed |"));
        assert_eq!(table.lines().last(), Some("| `webhook` | it works | s 1 | passed |"));
    }

    #[test]
    fn a_row_that_failed_once_has_failed() {
        let lines = line("event", "failed") + &of_every_type();
        assert!(table(&lines).expect("it is whole").contains("| `event` | it works | s 1 | **failed** |"));
    }

    #[test]
    fn a_type_of_which_nothing_was_shown_and_one_that_does_not_exist_are_refused() {
        assert!(table(&line("event", "passed")).is_err());
        assert!(table(&(of_every_type() + &line("lifecycles", "passed"))).is_err());
    }

    #[test]
    fn the_table_stands_between_the_marks_and_nothing_else_changes() {
        let page = format!("# Handlers\n{BEGIN}\nold\n{END}\nrest\n");
        let renewed = renewed(&page, "new\n").expect("the marks are there");
        assert_eq!(renewed, format!("# Handlers\n{BEGIN}\nnew\n{END}\nrest\n"));
        assert!(super::renewed("# Handlers\n", "new\n").is_err());
    }
}
