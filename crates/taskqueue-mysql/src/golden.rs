//! Golden files of every text that this backend sends. `UPDATE_GOLDEN=1 cargo test -p taskqueue-mysql` writes them
//! anew.

use std::path::Path;

use taskqueue_sql::{Statements, TableName, samples};

use crate::claim::Literal;
use crate::config::NOW;
use crate::dialect::MysqlFlavour;

/// Every text, by name.
pub(crate) fn texts() -> Vec<(&'static str, String)> {
    let table = TableName::default();
    let literal = Literal::new(&table, NOW);
    let portable = samples(Statements::new(&MysqlFlavour::new(NOW), &table), ());
    let mut texts: Vec<_> = portable.into_iter().map(|(name, statement)| (name, statement.sql)).collect();
    texts.extend([
        ("insert", literal.insert(2)),
        ("heads", literal.heads(1)),
        ("heads_of_two", literal.heads(2)),
        ("take", literal.take.clone()),
        ("claim", literal.claim(2)),
        ("running", literal.running(2)),
        ("complete", literal.complete(2, 1)),
        ("settle", literal.settle.clone()),
        ("heartbeat", literal.heartbeat(2, 1)),
        ("ended", literal.ended.clone()),
        ("reclaim", literal.reclaim.clone()),
        ("waiting", literal.waiting.clone()),
        ("due", literal.due(2)),
        ("promote", literal.promote.clone()),
        ("redrive", literal.redrive),
    ]);
    texts
}

#[test]
fn every_statement_is_what_its_golden_file_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut names: Vec<String> = Vec::new();
    for (name, text) in texts() {
        let path = folder.join(format!("{name}.sql"));
        let text = text + "\n";
        if update {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(golden, text, "{name}: if the change is meant, run again with UPDATE_GOLDEN=1");
        names.push(format!("{name}.sql"));
    }
    let files =
        std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let stale: Vec<String> = files.filter(|file| !names.contains(file)).collect();
    assert_eq!(stale, [""; 0], "golden files of no statement");
}

/// Vitess finds the shard by it, and every other engine its index.
#[test]
fn every_statement_names_the_shard_of_the_tasks_that_it_touches() {
    for (name, text) in texts() {
        if text.contains("tasks_totals") || (text.contains("tasks_paused") && !text.contains("FROM tasks ")) {
            continue;
        }
        let touches =
            ["FROM tasks ", "FROM `tasks`", "UPDATE tasks ", "UPDATE `tasks`", "JOIN tasks ", "INTO tasks "];
        let touched: usize = touches.iter().map(|touch| text.matches(touch).count()).sum();
        let names = ["shard = 0", "`shard` = ?", "(0, "];
        let named: usize = names.iter().map(|name| text.matches(name).count()).sum();
        assert!(
            touched > 0 && named >= touched,
            "{name} touches tasks {touched} times, and names {named}: {text}"
        );
    }
}
