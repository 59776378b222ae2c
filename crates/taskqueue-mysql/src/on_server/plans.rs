//! Guards over the plans that the real engines make of the hot statements, on 100,000 tasks of skewed types. A
//! statement that locks must read one prefix of one index in its order: what it scans, it locks.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use sqlx::mysql::MySqlRow;
use sqlx::{AssertSqlSafe, Connection, MySqlConnection, Row};
use taskqueue_core::TaskId;
use taskqueue_migrations::MYSQL;

use crate::golden::texts;

/// One task in a hundred is of the type `rare`, one in seventy is running, the others are spread over the states.
const FILL: &str = "INSERT INTO tasks (shard, id, type, status, priority, queue_rank, queue_at, due_at, attempts, max_retries, \
     reclaims, lease_token, lease_number, scheduled_at, created_at, updated_at, completed_at, lease_until, payload) \
     SELECT 0, UNHEX(LPAD(HEX(n), 32, '0')), IF(n % 100 = 0, 'rare', 'welcome'), s, 5, IF(s = 0, -5, 0), \
     UTC_TIMESTAMP(6) + INTERVAL n - 50000 SECOND, IF(s IN (1, 4), UTC_TIMESTAMP(6) + INTERVAL n - 50000 SECOND, NULL), \
     0, 3, 0, IF(s = 2, n, 0), 0, UTC_TIMESTAMP(6), UTC_TIMESTAMP(6), UTC_TIMESTAMP(6), \
     IF(s = 3, UTC_TIMESTAMP(6), '1000-01-01'), IF(s = 2, UTC_TIMESTAMP(6) + INTERVAL 1 HOUR, '1000-01-01'), '{}' \
     FROM (SELECT n, CASE WHEN n % 70 = 6 THEN 2 ELSE ELT(1 + n % 5, 0, 1, 3, 4, 3) END AS s FROM \
     (SELECT a.d + 10 * b.d + 100 * c.d + 1000 * e.d + 10000 * f.d AS n FROM digits a, digits b, digits c, digits e, digits f) \
     AS numbers) AS filled";

/// A claim of its own for each running task, due to be checked.
const HOLD: &str = "INSERT INTO tasks_leases (token, type, shard, claimed_at, check_at) \
     SELECT lease_token, type, shard, queue_at, UTC_TIMESTAMP(6) FROM tasks WHERE status = 2";

/// A key for one waiting task in ten. One that is asked for must be there: else no table is in the plan.
const KEYS: &str = "INSERT INTO tasks_keys (shard, type, unique_key, id) \
     SELECT shard, type, HEX(id), id FROM tasks WHERE status = 0 AND priority = 5 AND CRC32(id) % 10 = 0 \
     UNION ALL SELECT shard, type, 'a', id FROM tasks WHERE shard = 0 AND id = 0x00000000000000000000000000000005";

/// One line of a plan.
#[derive(Debug)]
struct Step {
    table: String,
    access: String,
    key: String,
    extra: String,
}

fn step(row: &MySqlRow) -> Step {
    let text = |name: &str| {
        let bytes: Option<Vec<u8>> = row.try_get_unchecked(name).unwrap();
        String::from_utf8(bytes.unwrap_or_default()).unwrap()
    };
    Step { table: text("table"), access: text("type"), key: text("key"), extra: text("Extra") }
}

/// The plans of all literal statements, with values in the place of what is bound.
async fn plans(variable: &str) -> Vec<(&'static str, Vec<Step>)> {
    let url =
        std::env::var(variable).unwrap_or_else(|_| panic!("no server: set {variable} to the URL of one"));
    let name = format!("tq_{}", TaskId::generate().as_uuid().simple());
    let mut connection = MySqlConnection::connect(&url).await.unwrap();
    let mut run = async |sql: String| sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut connection).await;
    run(format!("CREATE DATABASE {name}; USE {name}")).await.unwrap();
    run(MYSQL.iter().map(|migration| migration.sql("tasks")).collect()).await.unwrap();
    let digits = (0..10).map(|digit| format!("({digit})")).collect::<Vec<_>>().join(", ");
    run(format!("CREATE TABLE digits (d int NOT NULL); INSERT INTO digits VALUES {digits}")).await.unwrap();
    run(format!("{FILL}; {HOLD}; {KEYS}; ANALYZE TABLE tasks; ANALYZE TABLE tasks_leases, tasks_keys"))
        .await
        .unwrap();
    let mut plans = Vec::new();
    for (name, text) in texts() {
        let Some(values) = values(name) else { continue };
        let mut sql = text;
        for value in values {
            sql = sql.replacen('?', value, 1);
        }
        assert!(!sql.contains('?'), "{name}: {sql}");
        let rows = run(format!("EXPLAIN FORMAT = TRADITIONAL {sql}")).await.unwrap();
        plans.push((name, rows.iter().map(step).collect()));
    }
    run(format!("DROP DATABASE {name}")).await.unwrap();
    plans
}

/// What is bound, for the statements whose plan is guarded.
fn values(name: &str) -> Option<&'static [&'static str]> {
    const ONE: &str = "0x00000000000000000000000000000001";
    const TWO: &str = "0x00000000000000000000000000000002";
    Some(match name {
        "heads" => &["0", "'welcome'", "'welcome'", "500", "500"],
        "heads_of_two" => &["0", "'welcome'", "'welcome'", "500", "0", "'rare'", "'rare'", "500", "500"],
        "heads_of_two_in_ranges" => &[
            "0",
            "'welcome'",
            "-5",
            "-5",
            "NOW(6)",
            "1000",
            "-4",
            "9",
            "NOW(6)",
            "0",
            "'welcome'",
            "500", //
            "0",
            "'rare'",
            "-5",
            "-5",
            "NOW(6)",
            "1000",
            "-5",
            "-5",
            "NOW(6)",
            "1000",
            "'rare'",
            "500",
            "500",
        ],
        "take" => &["0", "'rare'", "500"],
        "take_of_two" => &["0", "'rare'", "500", "0", "'welcome'", "0"],
        "take_in_range" => &["0", "'rare'", "-5", "-5", "NOW(6)", "1000", "500"],
        "take_in_ranges" => &["0", "'rare'", "-5", "-5", "NOW(6)", "1000", "-4", "9", "NOW(6)", "0", "500"],
        "claim" => &["NOW(6)", "7", "NOW(6)", "NOW(6)", "'ada'", "NOW(6)", "NOW(6)", "0", ONE, TWO],
        "bury" => &["NOW(6)", "NOW(6)", "'no'", "NOW(6)", "0", ONE],
        "running" | "free_due" | "free_ended" | "free_finished" | "remove" => &["0", ONE, TWO],
        "undo_insert" => &["0", ONE],
        "complete" => &["NOW(6)", "NOW(6)", "0", ONE, TWO, "7"],
        "complete_and_delete" => &["0", ONE, TWO, "7"],
        "heartbeat" => &["1000", "0", ONE, TWO, "7"],
        "settle" | "reclaim" | "promote" | "run_now" | "redrive" => &["'[]'", "0"],
        "forget" => &[],
        "free_claims" => &["7", "8", "0"],
        "held_claims" | "first_ends" => &["0", "7", "8", "0"],
        "shortened" => &["0", ONE, TWO, "7", "1000"],
        "extendable" => &["1000", "0", ONE, TWO],
        "check_sooner" => &["1000", "7", "8", "0"],
        "check_later" => &["NOW(6)", "7", "8", "0"],
        "running_page" => &["0", "0", "100", "0"],
        "list_of_few" => &["0", "100", "0", "0"],
        "list_of_few_of_type" => &["0", "'welcome'", "'eu'", TWO, "100", "0", "0"],
        "more_than" => &["0", "100000"],
        "more_than_of_type" => &["0", "'welcome'", "100000"],
        "ended" => &["0", "0", "500"],
        "open_counts" => &["0", "0", "0", "0", "0"],
        "due_claims" | "waiting" | "oldest_head" => &["0"],
        "oldest_ready_at" => &["0", "'rare'", "-5", "NOW(6)"],
        "hold_keys_again" | "keys_of_tasks" | "free_keys_of_tasks" | "let_keys_of_tasks_go" => {
            &["0", ONE, TWO]
        }
        "holders" | "holders_now" | "let_keys_go" | "keys_without_task" => &["0", "'welcome'", "'a'", "'b'"],
        "holder" => &["0", "'welcome'", "'a'"],
        "due" => &["0", "1", "'welcome'", "500", "0", "4", "'rare'", "500", "500"],
        _ => return None,
    })
}

/// Whether it changes what is known of claims, or is about to: it locks the rows.
fn locks_leases(name: &str) -> bool {
    matches!(name, "forget" | "free_claims" | "check_sooner" | "check_later")
}

async fn guard(variable: &str) {
    let plans = plans(variable).await;
    assert_eq!(plans.len(), 52, "every literal statement but the insert is guarded");
    for (name, steps) in plans {
        if name.starts_with("list_of_few") {
            guard_page(name, &steps);
            continue;
        }
        for step in steps.iter().filter(|step| matches!(step.table.as_str(), "tasks" | "t")) {
            assert_ne!(step.access, "ALL", "{name} reads the whole table: {steps:#?}");
            assert_ne!(step.access, "index", "{name} reads a whole index: {steps:#?}");
            let key = match name {
                "running_page" | "more_than" | "more_than_of_type" | "due_claims" | "held_claims"
                | "first_ends" | "ended" | "open_counts" | "waiting" | "due" | "oldest_head"
                | "oldest_ready_at" => "tasks_pos",
                looks if looks.starts_with("heads") || looks.starts_with("take") => "tasks_pos",
                _ => "PRIMARY",
            };
            assert_eq!(step.key, key, "{name}: {steps:#?}");
            // The one reads without locks and is to hold keys in their order, the other has one row a kind.
            let sorts = matches!(name, "hold_keys_again" | "oldest_head");
            assert_eq!(step.extra.contains("filesort"), sorts, "{name} sorts: {steps:#?}");
        }
        for step in steps.iter().filter(|step| step.table == "tasks_leases" || locks_leases(name)) {
            let key = if locks_leases(name) { "PRIMARY" } else { "tasks_leases_check" };
            assert_eq!(step.key, key, "{name} reads other claims: {steps:#?}");
            assert!(!locks_leases(name) || step.access == "range", "{name} locks other claims: {steps:#?}");
        }
        for step in steps.iter().filter(|step| matches!(step.table.as_str(), "k" | "tasks_keys" | "holder")) {
            assert_eq!(
                step.key,
                if name == "hold_keys_again" { "" } else { "PRIMARY" },
                "{name} reads other keys: {steps:#?}"
            );
        }
        let finds =
            |step: &Step| matches!((&*step.table, &*step.access), ("holder" | "tasks", "const" | "eq_ref"));
        assert!(name != "holder" || steps.iter().filter(|step| finds(step)).count() == 2, "{steps:#?}");
        let groups = steps.iter().any(|step| step.extra.contains("Using index for group-by"));
        let jumps = matches!(name, "waiting" | "oldest_head");
        assert_eq!(groups, jumps, "{name}: only the kinds are jumped over: {steps:#?}");
    }
}

/// Of the index a page takes ids alone, and sorts those; rows are read by their key.
fn guard_page(name: &str, steps: &[Step]) {
    let step = |table| steps.iter().find(|step| step.table == table).unwrap();
    let (ids, rows) = (step("tasks"), step("t"));
    assert_eq!((&*ids.key, &*ids.access), ("tasks_pos", "range"), "{name}: {steps:#?}");
    // A region is in no index.
    let reads_rows = name == "list_of_few_of_type";
    assert_eq!(ids.extra.contains("Using index;"), !reads_rows, "{name}: {steps:#?}");
    assert_eq!((&*rows.key, &*rows.access), ("PRIMARY", "eq_ref"), "{name}: {steps:#?}");
}

#[tokio::test]
async fn mysql_sorts_and_scans_nothing_that_it_locks() {
    guard("TASKQUEUE_MYSQL_URL").await;
}

#[tokio::test]
async fn mariadb_sorts_and_scans_nothing_that_it_locks() {
    guard("TASKQUEUE_MARIADB_URL").await;
}
