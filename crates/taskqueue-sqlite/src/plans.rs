//! Guards over the SQL: golden files of every text, and the plans that SQLite makes of them.
//!
//! `UPDATE_GOLDEN=1 cargo test -p taskqueue-sqlite` writes the golden files anew.

use std::path::Path;
use std::sync::Arc;

use sqlx::{AssertSqlSafe, Connection, Row, SqliteConnection};
use taskqueue_conformance::assert_golden;
use taskqueue_core::{Clock, ManualClock, NewTask, Queue as _, Shard, Status, TaskFilter, TaskId, TaskType};
use taskqueue_migrations::SQLITE;
use taskqueue_sql::{Statements, TableName, samples};
use uuid::Uuid;

use crate::calls::{FEW, list_of_few};
use crate::claim::Sql;
use crate::{SqliteFlavour, SqliteQueue};

/// Every text, by name.
fn texts() -> Vec<(&'static str, String)> {
    let table = TableName::default();
    let statements = Statements::new(&SqliteFlavour, &table, Shard::FIRST);
    let portable = samples(statements, ManualClock::default().now());
    let sql = Sql::new(&table);
    let mut texts: Vec<_> = portable.into_iter().map(|(name, statement)| (name, statement.sql)).collect();
    let literal: [(&str, &Arc<str>); 10] = [
        ("take", &sql.take),
        ("complete", &sql.complete),
        ("settle", &sql.settle),
        ("heartbeat", &sql.heartbeat),
        ("ended", &sql.ended),
        ("reclaim", &sql.reclaim),
        ("promote", &sql.promote),
        ("run_now", &sql.run_now),
        ("redrive", &sql.redrive),
        ("oldest_pending", &sql.oldest_pending),
    ];
    texts.extend(literal.map(|(name, text)| (name, text.to_string())));
    let of_status = TaskFilter { status: Some(Status::Pending), ..TaskFilter::default() };
    let of_type = TaskFilter {
        task_type: Some(TaskType::new("welcome").expect("the name is valid")),
        after: Some(TaskId::from(Uuid::from_u128(7))),
        ..of_status.clone()
    };
    texts.push(("list_of_few", list_of_few(&statements, &of_status).sql));
    texts.push(("list_of_few_of_type", list_of_few(&statements, &of_type).sql));
    texts.push(("more_than", statements.more_than(FEW, &of_status).sql));
    texts.push(("more_than_of_type", statements.more_than(FEW, &of_type).sql));
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

/// Whether a line of a plan reads a whole table or index of tasks. The shard is always the same, so that a search for nothing else
/// is a scan.
fn scans_tasks(line: &str) -> bool {
    line.starts_with("SCAN tasks")
        || line.starts_with("SCAN held")
        || line.starts_with("SCAN holder")
        || line.ends_with("(shard=?)")
}

#[tokio::test]
async fn no_statement_scans_the_task_table() {
    for (name, plan) in plans(&[]).await {
        if name == "list" {
            // Every task is on its pages.
            continue;
        }
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
async fn the_task_that_has_waited_longest_is_found_from_head_to_head() {
    let (_, plan) = plans(&["oldest_pending"]).await.remove(0);
    for head in ["", " AND type=? AND queue_rank>?", " AND type>?"] {
        let search = format!("SEARCH next USING COVERING INDEX tasks_pos (shard=? AND status=?{head})");
        assert!(plan.contains(&search) && !plan.contains("TEMP B-TREE"), "{plan}");
    }
}

#[tokio::test]
async fn few_tasks_of_a_status_are_found_by_their_status() {
    for (name, plan) in plans(&["list_of_few", "list_of_few_of_type"]).await {
        assert!(plan.contains("SEARCH tasks USING INDEX tasks_pos (shard=? AND status=?"), "{name}:\n{plan}");
        assert!(plan.starts_with("SEARCH tasks USING INTEGER PRIMARY KEY (rowid=?)"), "{name}:\n{plan}");
    }
    for (name, plan) in plans(&["more_than", "more_than_of_type"]).await {
        assert!(plan.contains("COVERING INDEX tasks_pos (shard=? AND status=?"), "{name}:\n{plan}");
    }
}

/// So many ready tasks whose ids are below those of today.
const OLDER: &str = "WITH RECURSIVE numbers (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM numbers WHERE n < ?) \
    INSERT INTO tasks (shard, id, type, status, priority, queue_rank, queue_at, attempts, max_retries, reclaims, lease_token, \
    lease_number, scheduled_at, created_at, updated_at, payload) \
    SELECT 0, CAST(char(0) || printf('%015d', n) AS BLOB), 'welcome', 0, 5, -5, n, 0, 3, 0, 0, 0, n, n, n, '1' FROM numbers";

#[tokio::test]
async fn a_long_backlog_is_walked_from_its_end_and_shows_the_same_page() {
    let queue = SqliteQueue::connect("sqlite::memory:").await.unwrap();
    queue.migrate().await.unwrap();
    let tasks: Vec<NewTask> = (0..10).map(|_| NewTask::raw("welcome", "1").unwrap()).collect();
    let mut ids: Vec<TaskId> = tasks.iter().map(|task| task.id).collect();
    ids.sort_unstable_by(|one, other| other.cmp(one));
    queue.enqueue_many(tasks).await.unwrap();
    let older = OLDER.replace('?', &(FEW - 9).to_string());
    sqlx::raw_sql(AssertSqlSafe(older)).execute(&queue.sql.dialect().writer).await.unwrap();
    let filter = TaskFilter { status: Some(Status::Pending), limit: 3, ..TaskFilter::default() };
    let filter = TaskFilter { offset: 1, after: Some(ids[0]), ..filter };

    for (are_few, newest) in [(false, 2), (true, 3)] {
        let dialect = queue.sql.dialect();
        let mut connection = dialect.readers.acquire().await.unwrap();
        assert_eq!(dialect.are_few(&mut connection, &filter).await.unwrap(), are_few);
        drop(connection);
        let page = queue.list(&filter).await.unwrap().tasks;
        let shown: Vec<TaskId> = page.iter().map(|task| task.id).collect();
        assert_eq!(shown, ids[newest..newest + 3]);
        queue.cancel(ids[1]).await.unwrap();
    }
}

#[tokio::test]
async fn leases_are_looked_up_by_id_one_by_one() {
    for (name, plan) in plans(&["complete", "settle", "heartbeat", "reclaim", "run_now", "redrive"]).await {
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
async fn the_task_that_holds_a_key_is_found_by_the_index_of_keys() {
    let (_, plan) = plans(&["holder"]).await.remove(0);
    assert_eq!(plan, "SEARCH holder USING INDEX tasks_unique (shard=? AND type=? AND unique_key=?)");
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
