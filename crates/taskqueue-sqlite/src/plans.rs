//! Guards over the SQL: golden files of every text, and the plans that SQLite makes of them.
//!
//! `UPDATE_GOLDEN=1 cargo test -p taskqueue-sqlite` writes the golden files anew.

use std::path::Path;
use std::sync::Arc;

use sqlx::{AssertSqlSafe, Connection, Row, SqliteConnection};
use taskqueue_conformance::assert_golden;
use taskqueue_core::{Clock, ManualClock, Shard};
use taskqueue_migrations::SQLITE;
use taskqueue_sql::{Statements, TableName, samples};

use crate::SqliteFlavour;
use crate::claim::Sql;

/// Every text, by name.
fn texts() -> Vec<(&'static str, String)> {
    let table = TableName::default();
    let portable =
        samples(Statements::new(&SqliteFlavour, &table, Shard::FIRST), ManualClock::default().now());
    let sql = Sql::new(&table);
    let mut texts: Vec<_> = portable.into_iter().map(|(name, statement)| (name, statement.sql)).collect();
    let literal: [(&str, &Arc<str>); 8] = [
        ("take", &sql.take),
        ("complete", &sql.complete),
        ("settle", &sql.settle),
        ("heartbeat", &sql.heartbeat),
        ("ended", &sql.ended),
        ("reclaim", &sql.reclaim),
        ("promote", &sql.promote),
        ("redrive", &sql.redrive),
    ];
    texts.extend(literal.map(|(name, text)| (name, text.to_string())));
    texts.push(("insert", sql.insert(1).0.to_string()));
    texts.push(("insert_two", sql.insert(2).0.to_string()));
    texts.push(("candidates", sql.candidates(1)));
    texts.push(("candidates_of_three", sql.candidates(3)));
    texts
}

#[test]
fn every_statement_is_what_its_golden_file_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    assert_golden(&folder, texts());
}

async fn plan(connection: &mut SqliteConnection, text: &str) -> Vec<String> {
    let rows = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {text}"))).fetch_all(connection).await;
    rows.unwrap().iter().map(|row| row.get("detail")).collect()
}

async fn plans(names: &[&str]) -> Vec<(String, String)> {
    let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
    for migration in SQLITE {
        sqlx::raw_sql(AssertSqlSafe(migration.sql("tasks"))).execute(&mut connection).await.unwrap();
    }
    let mut plans = Vec::new();
    for (name, text) in texts() {
        if names.is_empty() || names.contains(&name) {
            plans.push((name.to_owned(), plan(&mut connection, &text).await.join("\n")));
        }
    }
    assert!(plans.len() >= names.len(), "every name is a statement's");
    plans
}

/// Whether a line of a plan reads a whole table or index of tasks.
fn scans_tasks(line: &str) -> bool {
    line.starts_with("SCAN tasks") || line.starts_with("SCAN held") || line.starts_with("SCAN holder")
}

#[tokio::test]
async fn no_statement_scans_the_task_table() {
    for (name, plan) in plans(&[]).await {
        let reads = |line: &str| {
            scans_tasks(line)
                && !line.starts_with("SCAN tasks_totals")
                && !line.starts_with("SCAN tasks_paused")
        };
        assert!(!plan.lines().any(reads), "{name}:\n{plan}");
    }
}

#[tokio::test]
async fn the_hot_path_sorts_nothing() {
    for (name, plan) in
        plans(&["insert", "candidates", "candidates_of_three", "take", "complete", "settle", "heartbeat"])
            .await
    {
        assert!(!plan.contains("TEMP B-TREE"), "{name}:\n{plan}");
    }
}

#[tokio::test]
async fn claims_read_the_ready_prefix_of_each_type_from_the_index_alone() {
    for (name, plan) in plans(&["candidates", "candidates_of_three"]).await {
        let prefix = "SEARCH tasks USING COVERING INDEX tasks_pos (shard=? AND status=? AND type=?)";
        let terms = if name == "candidates" { 1 } else { 3 };
        assert_eq!(plan.matches(prefix).count(), terms, "{name}:\n{plan}");
    }
}

#[tokio::test]
async fn leases_are_looked_up_by_id_one_by_one() {
    for (name, plan) in plans(&["complete", "settle", "heartbeat", "reclaim", "redrive"]).await {
        assert!(plan.starts_with("SCAN given VIRTUAL TABLE"), "{name}: the given leases come first\n{plan}");
        assert!(plan.contains("SEARCH held USING INDEX tasks_id (shard=? AND id=?)"), "{name}:\n{plan}");
    }
}

#[tokio::test]
async fn tasks_given_by_id_are_looked_up_by_id_however_many() {
    for (name, plan) in plans(&["standings", "remove", "dead_letters_of"]).await {
        assert!(plan.contains("SEARCH tasks USING INDEX tasks_id (shard=? AND id=?)"), "{name}:\n{plan}");
    }
}

#[tokio::test]
async fn open_tasks_are_counted_from_the_index_alone_and_promotion_reads_only_what_is_due() {
    let found = plans(&["open_counts", "promote"]).await;
    assert!(
        found.iter().any(|(_, plan)| plan.contains("COVERING INDEX tasks_pos (shard=? AND status=?)")),
        "{found:?}"
    );
    assert!(
        found.iter().any(|(_, plan)| plan.contains("COVERING INDEX tasks_due (shard=? AND due_at<?)")),
        "{found:?}"
    );
}
