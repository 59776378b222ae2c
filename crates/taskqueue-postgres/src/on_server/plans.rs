//! Guards over the plans that a real PostgreSQL makes of the statements, on 100,000 finished tasks and a few others of
//! skewed types, with fresh statistics and with those from before the tasks were finished; and over what must hold
//! whatever the plan: no claim goes beyond its limit, and which updates are HOT.

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row};
use taskqueue_migrations::POSTGRES;
use taskqueue_sql::TableName;

use super::database::{Database, run};
use crate::claim::{Literal, Memory, Rank};
use crate::golden::texts;
use crate::stats::NEVER_SORT;

/// One task in a hundred is of the type `rare`. All are ready at first, as the statistics may remember them.
const FILL: &str = "ALTER TABLE tasks SET (autovacuum_enabled = false); \
     INSERT INTO tasks (shard, id, type, status, priority, queue_rank, queue_at, attempts, max_retries, reclaims, \
     lease_token, lease_number, scheduled_at, created_at, updated_at, payload) \
     SELECT 0, lpad(to_hex(n), 32, '0')::uuid, CASE WHEN n % 100 = 0 THEN 'rare' ELSE 'welcome' END, 0, 5, -5, \
     now() + n * interval '1 microsecond', 0, 3, 0, 0, 0, now(), now(), now(), '{}' \
     FROM generate_series(1, 102000) AS n; ANALYZE tasks";

/// Finished but for 1,000 ready, 500 delayed and 500 running ones; one finished in a thousand is a dead letter.
const AGE: &str = "UPDATE tasks SET queue_rank = CASE WHEN s = 2 THEN queue_rank END, status = s, \
     completed_at = CASE WHEN s IN (3, 5) THEN now() END, dead_at = CASE WHEN s = 5 THEN now() END, due_at = CASE WHEN s = 1 THEN now() END, started_at = now(), \
     lease_token = 7, lease_until = CASE WHEN s = 2 THEN now() END FROM (SELECT id AS of, CASE WHEN n > 101500 THEN 2 \
     WHEN n > 101000 THEN 1 WHEN n % 1000 = 7 THEN 5 ELSE 3 END AS s \
     FROM (SELECT id, ('x' || right(id::text, 8))::bit(32)::int AS n FROM tasks) AS numbered \
     WHERE n NOT BETWEEN 100001 AND 101000) AS aged WHERE id = of; \
     INSERT INTO tasks_leases SELECT lease_token, 0, now(), array_agg(id) FROM tasks WHERE status = 2 GROUP BY 1; \
     ANALYZE tasks_leases";

/// Statistics of a queue that was idle, and then a burst.
const BURST: &str = "CREATE TABLE burst AS SELECT * FROM tasks WHERE status <> 3; \
     DELETE FROM tasks WHERE status <> 3; ANALYZE tasks; INSERT INTO tasks SELECT * FROM burst; DROP TABLE burst";

/// Statistics of the leases from when many claims were due.
const DUE: &str = "INSERT INTO tasks_leases SELECT -n, 0, now(), ARRAY[gen_random_uuid()] FROM generate_series(1, 20000) AS n; \
     ANALYZE tasks_leases; DELETE FROM tasks_leases WHERE token < 0";

/// What is bound.
fn values(name: &str) -> &'static str {
    match name {
        "task" | "position" => ID_AND_SHARD,
        "claim" => "'welcome', 8, 'ada', 10, 1000000, 0::int2, false",
        "claim_many" | "claim_of_64" | "claim_more" => {
            "'{rare,welcome}', 8, 'ada', 10, 1000000, 0::int2, false"
        }
        "claim_ahead" => {
            "'welcome', 8, 'ada', 10, 1000000, 0::int2, false, '{-9,-5}', '{2000-01-01,2000-01-01}', 1000000"
        }
        "is_more_ready" => "'{rare,welcome}', 10, 0::int2",
        "claim_gaps" => "'{rare,welcome}', 8, 'ada', 10, 1000000, 0::int2, false, '{-9,-9}', '{0,0}'",
        "claim_many_ahead" | "claim_of_64_ahead" => {
            "'{rare,welcome}', 8, 'ada', 10, 1000000, 0::int2, false, '{-5,-5}', '{2000-01-01,2000-01-01}', 1000000"
        }
        "complete" | "complete_and_delete" | "complete_doubting" => {
            "ARRAY[uuid '00000000-0000-0000-0000-000000018d00'], '{7}', 0::int2, '{1,7}'"
        }
        "heartbeat" => "ARRAY[uuid '00000000-0000-0000-0000-000000018d00'], '{7}', 1000000, 0::int2",
        "settle" => {
            "ARRAY[uuid '00000000-0000-0000-0000-000000018d00'], '{7}', '{4}', '{5}', '{0}', '{f}', '{no}', '{0}', 0::int2"
        }
        "reclaim" => {
            "ARRAY[uuid '00000000-0000-0000-0000-000000018d00'], '{7}', '{f}', '{no}', '{0}', 0::int2"
        }
        "run_now" => "ARRAY[uuid '00000000-0000-0000-0000-000000000007'], '{0}', 0::int2",
        "redrive" => "ARRAY[uuid '00000000-0000-0000-0000-000000000007'], 0::int2",
        "ended" => "10, 0::int2, '2000-01-01'",
        "promote" => "10, 0::int2, '2000-01-01', '2000-01-01', '00000000-0000-0000-0000-000000000000'",
        "lock_due_claims" => "0::int2, '2000-01-01'",
        "check_claims" => "0::int2, '{7}'",
        "open_counts" | "oldest_pending" => "0::int2",
        "running_page" => "0::int2, NULL, NULL, NULL, 100, 0",
        "cleanup_edge" | "cleanup_dead_edge" => ID_THEN_SHARD,
        "cleanup" => {
            "'00000000-0000-0000-0000-000000000000', '00000000-0000-0000-0000-000000001388', 0, 10, 0::int2, '{3,5,6}'"
        }
        "cleanup_dead" => {
            "'00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff', 0, 10, 0::int2, '{5}'"
        }
        _ => "",
    }
}

const ID_THEN_SHARD: &str = "'00000000-0000-0000-0000-000000000001', 0::int2";
const ID_AND_SHARD: &str = "0, '00000000-0000-0000-0000-000000000001'";

/// The guarded statements. Listings and the redrive of any are guarded by `PORTABLE`, with their values in the text.
const LITERAL: [&str; 28] = [
    "claim",
    "claim_many",
    "claim_of_64",
    "claim_more",
    "claim_ahead",
    "claim_many_ahead",
    "claim_of_64_ahead",
    "claim_gaps",
    "is_more_ready",
    "complete",
    "complete_and_delete",
    "complete_doubting",
    "settle",
    "heartbeat",
    "ended",
    "reclaim",
    "lock_due_claims",
    "check_claims",
    "promote",
    "run_now",
    "redrive",
    "cleanup_edge",
    "cleanup",
    "cleanup_dead_edge",
    "cleanup_dead",
    "running_page",
    "open_counts",
    "oldest_pending",
];

const PORTABLE: [&str; 7] =
    ["task", "holder", "list", "list_dead_letters", "position", "dead_letters", "dead_letters_of_type"];

/// A database with tasks of all kinds.
async fn filled() -> Database {
    let database = empty().await;
    let mut connection = database.connect().await;
    run(&mut connection, FILL.to_owned()).await;
    run(&mut connection, AGE.to_owned()).await;
    database
}

async fn empty() -> Database {
    let database = Database::create().await;
    let mut connection = database.connect().await;
    run(&mut connection, POSTGRES.iter().map(|migration| migration.sql("tasks")).collect()).await;
    database
}

/// The text of a statement and the values that it is executed with.
fn statement(name: &str) -> (String, String) {
    let text = |name: &str| texts().into_iter().find(|(other, _)| *other == name).unwrap().1;
    let literal = Literal::new(&TableName::default(), Rank::Left, Memory::Trusted);
    match name {
        "claim_of_64" => (literal.claim_many.serving(64).to_owned(), values(name).to_owned()),
        "claim_of_64_ahead" => {
            (literal.ahead.unwrap().claim_many.serving(64).to_owned(), values(name).to_owned())
        }
        "list" => (text(name), "0, 100".to_owned()),
        "holder" => (text(name), "0, 'rare', 'k'".to_owned()),
        "dead_letters" => (text(name), "0, 0, 10".to_owned()),
        "dead_letters_of_type" => (text(name), "0, 0, 'rare', 10".to_owned()),
        "list_dead_letters" => {
            let list = text("list").replace(" ORDER BY", " AND dead_at IS NOT NULL ORDER BY");
            (list, "0, 100".to_owned())
        }
        _ => (text(name), values(name).to_owned()),
    }
}

async fn prepare(connection: &mut PgConnection, name: &str) -> String {
    let (text, values) = statement(name);
    run(connection, format!("DEALLOCATE ALL; PREPARE s AS {text}")).await;
    if values.is_empty() { "EXECUTE s".to_owned() } else { format!("EXECUTE s ({values})") }
}

async fn explain(connection: &mut PgConnection, execute: &str) -> Vec<String> {
    let rows = run(connection, format!("EXPLAIN (COSTS OFF) {execute}")).await;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Asserts that no guarded statement reads the whole table under these settings.
async fn guard(connection: &mut PgConnection, settings: &str) {
    run(connection, format!("RESET ALL; {settings}")).await;
    for name in LITERAL.into_iter().chain(PORTABLE) {
        let execute = prepare(connection, name).await;
        let is_stats = matches!(name, "open_counts" | "oldest_pending");
        // As `Access::Snapshot` begins.
        run(connection, format!("SET enable_seqscan = {}", if is_stats { "off" } else { "on" })).await;
        let never_sort = if name == "oldest_pending" { NEVER_SORT } else { "SET LOCAL enable_sort = on" };
        run(connection, never_sort.replace("LOCAL ", "")).await;
        let lines = explain(connection, &execute).await;
        let plan = lines.join("\n");
        let reads_all =
            |line: &String| line.contains("Seq Scan on tasks ") || line.ends_with("Seq Scan on tasks");
        assert!(!lines.iter().any(reads_all), "{name} reads the whole table ({settings}):\n{plan}");
        // Any order would do for it, but it must not read on to the end of the table.
        let sorts = lines.iter().any(|line| line.contains("Sort"));
        assert!(!name.ends_with("_edge") || !sorts, "{name} sorts the table ({settings}):\n{plan}");
        assert!(name != "oldest_pending" || !sorts, "{name} reads all ready tasks ({settings}):\n{plan}");
        let is_by_key = name != "holder" || plan.contains("tasks_unique");
        assert!(is_by_key, "{name} walks over other tasks ({settings}):\n{plan}");
        let walks_dead = !name.starts_with("cleanup_dead") || plan.contains("tasks_dead");
        assert!(walks_dead, "{name} walks over other tasks ({settings}):\n{plan}");
        // Those of a claim are named by its subquery.
        let by_name = |line: &&String| line.ends_with(" on tasks r") || line.ends_with(" on tasks t");
        let is_named = |line: &String| line.contains("Tid Scan") || line.contains("Update on");
        assert!(
            !name.starts_with("claim") || lines.iter().filter(by_name).all(is_named),
            "{name} looks for what it has found ({settings}):\n{plan}"
        );
        // All that are due have one time here.
        if matches!(name, "claim" | "claim_ahead" | "promote") {
            let indent = |line: &String| line.len() - line.trim_start().len();
            let lock = lines.iter().position(|line| line.contains("LockRows")).unwrap();
            let below = lines[lock + 1..].iter().take_while(|line| indent(line) > indent(&lines[lock]));
            assert!(
                !below.into_iter().any(|line| line.contains("Sort")),
                "{name} sorts what it locks:\n{plan}"
            );
        }
    }
}

#[tokio::test]
async fn no_statement_reads_the_finished_tasks_whatever_the_statistics() {
    let database = filled().await;
    let mut connection = database.connect().await;
    for statistics in ["SELECT 'from when all were ready'", "ANALYZE tasks", DUE, BURST] {
        run(&mut connection, statistics.to_owned()).await;
        guard(&mut connection, "SET plan_cache_mode = auto").await;
        guard(&mut connection, "SET plan_cache_mode = force_generic_plan").await;
    }
    database.drop().await;
}

#[tokio::test]
async fn a_claim_of_many_types_reads_of_each_no_more_than_it_takes() {
    let database = filled().await;
    let mut connection = database.connect().await;
    for mode in ["auto", "force_generic_plan"] {
        run(&mut connection, format!("SET plan_cache_mode = {mode}")).await;
        for name in ["claim_many", "claim_of_64", "claim_many_ahead", "claim_of_64_ahead"] {
            let execute = prepare(&mut connection, name).await;
            let plan = explain(&mut connection, &execute).await.join("\n");
            assert!(plan.contains("Merge Append"), "{name} reads all and sorts it ({mode}):\n{plan}");
        }
    }
    database.drop().await;
}

/// A queue that was filled a moment ago: nothing is known of the table.
#[tokio::test]
async fn the_oldest_ready_task_is_found_without_sorting_the_others_before_there_are_statistics() {
    let database = empty().await;
    let mut connection = database.connect().await;
    run(&mut connection, FILL.replace("; ANALYZE tasks", "")).await;
    run(&mut connection, format!("{}; {NEVER_SORT}", statement("snapshot").0)).await;
    let execute = prepare(&mut connection, "oldest_pending").await;
    let plan = explain(&mut connection, &execute).await.join("\n");
    assert!(!plan.contains("Sort"), "all ready tasks are read for each head:\n{plan}");
    database.drop().await;
}

#[tokio::test]
async fn the_server_compiles_no_statistics() {
    let database = filled().await;
    let mut connection = database.connect().await;
    run(&mut connection, statement("snapshot").0).await;
    let sums = "EXPLAIN (ANALYZE) SELECT type, status, sum(tasks) FROM tasks_totals GROUP BY type, status";
    let plan = run(&mut connection, sums.to_owned()).await;
    let compiled = plan.iter().any(|row| row.get::<String, _>(0).starts_with("JIT"));
    assert!(!compiled, "adding up a few rows takes as long as compiling how");
    run(&mut connection, "ROLLBACK".to_owned()).await;
    database.drop().await;
}

#[tokio::test]
async fn no_claim_goes_beyond_its_limit_whatever_the_plan() {
    let database = filled().await;
    let mut connection = database.connect().await;
    let kinds =
        ["hashjoin", "mergejoin", "nestloop", "indexscan", "bitmapscan", "tidscan", "seqscan", "material"];
    let off =
        |off: &[&str]| off.iter().map(|kind| format!("SET LOCAL enable_{kind} = off; ")).collect::<String>();
    let mut settings: Vec<String> = kinds.iter().map(|kind| off(&[kind])).collect();
    settings.extend([
        off(&["hashjoin", "mergejoin"]),
        off(&["hashjoin", "mergejoin", "indexscan", "bitmapscan"]),
        off(&["hashjoin", "mergejoin", "tidscan"]),
        off(&["nestloop", "mergejoin", "indexscan"]),
        // What is left is a nested loop that runs its inner side again for each outer row.
        off(&["hashjoin", "mergejoin", "tidscan", "material", "hashagg", "sort"]),
        "SET LOCAL plan_cache_mode = force_generic_plan; ".to_owned(),
        off(&["hashjoin", "mergejoin"]) + "SET LOCAL plan_cache_mode = force_generic_plan; ",
    ]);
    let limited = LITERAL.into_iter().filter(|name| {
        name.starts_with("claim") || matches!(*name, "cleanup" | "cleanup_dead" | "promote" | "ended")
    });
    for name in limited {
        let execute = prepare(&mut connection, name).await;
        for settings in &settings {
            run(&mut connection, format!("BEGIN; {settings}")).await;
            let done = sqlx::raw_sql(AssertSqlSafe(execute.clone()));
            let rows = match name {
                "promote" => done.fetch_one(&mut connection).await.unwrap().get::<i64, _>(0) as u64,
                _ => done.fetch_all(&mut connection).await.unwrap().len() as u64,
            };
            assert_eq!(rows, 10, "{name}: {settings}");
            run(&mut connection, "ROLLBACK".to_owned()).await;
        }
    }
    database.drop().await;
}

#[tokio::test]
async fn of_claim_and_completion_one_is_a_hot_update_and_a_heartbeat_always() {
    // Those of the rare type stand on pages of their own, so that there is room whatever has been pruned.
    const BATCH: i64 = 10;
    for (rank, hot) in [(Rank::Taken, [0, BATCH, BATCH]), (Rank::Left, [BATCH, BATCH, 0])] {
        let database = filled().await;
        let mut connection = database.connect().await;
        let literal = Literal::new(&TableName::default(), rank, Memory::Doubted);
        for (name, text) in
            [("claim", literal.claim), ("heartbeat", literal.heartbeat), ("complete", literal.complete)]
        {
            run(&mut connection, format!("PREPARE {name} AS {text}")).await;
        }
        let claim = format!("EXECUTE claim ('rare', 9, 'ada', {BATCH}, 60000000, 0::int2, false)");
        let (claimed, of_claim) = hot_updates(&mut connection, &claim).await;
        assert_eq!(claimed.len() as i64, BATCH);
        let mut ids: Vec<String> =
            claimed.iter().map(|row| row.get::<uuid::Uuid, _>(0).to_string()).collect();
        ids.sort_unstable();
        let leases = format!("'{{{}}}', '{{{}}}'", ids.join(","), vec!["9"; ids.len()].join(","));
        let heartbeat = format!("EXECUTE heartbeat ({leases}, 60000000, 0::int2)");
        let (extended, of_heartbeat) = hot_updates(&mut connection, &heartbeat).await;
        assert_eq!(extended.len() as i64, BATCH);
        let complete = format!("EXECUTE complete ({leases}, 0::int2, '{{}}')");
        let (completed, of_completion) = hot_updates(&mut connection, &complete).await;
        assert_eq!(completed[0].get::<Vec<uuid::Uuid>, _>(0).len() as i64, BATCH);
        let cause = "an index has a column that it changes, or the pages are too full";
        assert_eq!([of_claim, of_heartbeat, of_completion], hot, "{rank:?}: {cause}");
        database.drop().await;
    }
}

/// What a statement answers, and how many HOT updates it makes.
async fn hot_updates(connection: &mut PgConnection, execute: &str) -> (Vec<PgRow>, i64) {
    const COUNT: &str = "SELECT pg_stat_get_xact_tuples_hot_updated('tasks'::regclass)";
    run(connection, "BEGIN".to_owned()).await;
    let before: i64 = run(connection, COUNT.to_owned()).await[0].get(0);
    let rows = run(connection, execute.to_owned()).await;
    let after: i64 = run(connection, COUNT.to_owned()).await[0].get(0);
    run(connection, "COMMIT".to_owned()).await;
    (rows, after - before)
}
