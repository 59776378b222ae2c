//! CockroachDB (from 24.1.5 on) where it is not PostgreSQL: its statements and its way to migrate. It knows no pool.
//!
//! Written after CockroachDB's documentation and never run on it: the conformance suite has run these statements on
//! PostgreSQL, with the index hints left out. What CockroachDB asks for: rows are named by key, since there is no ctid;
//! no statement changes a table twice, which it refuses; a claim names its index, since a plan that sorts would lock
//! all that it sorts; ids out of an array column are joined, since only a join looks them up by key.

use sqlx::{AssertSqlSafe, PgConnection};
use taskqueue_migrations::{COCKROACH, Migration};
use taskqueue_sql::{Attempt, TableName};

use crate::claim::{Literal, Memory, PROMOTED, Rank, completed};
use crate::claimed::CLAIMED;
use crate::cleanup::{Cleaning, Way};
use crate::error::failure;
use crate::leases::{CHECKS_MAX, Checks, heartbeat_of, lock_due};
use crate::migrate::{applied, create_schema, record, refuse_table_of_others};
use crate::ready::ByNumber;
use crate::stats;
use crate::totals::{FOLD_MIN, Totals};

/// How many rows one fold takes away at most. They come to the client, and an answer must be small for the server to
/// repeat its statement by itself.
const FOLD_MAX: usize = 2_000;

/// The literal statements for one table. `hints`: whether claims name their index.
pub(crate) fn literal(table: &TableName, hints: bool) -> Literal {
    let ready = if hints { format!("{table}@{}_ready", table.name()) } else { table.to_string() };
    let postgres = Literal::new(table, Rank::Taken, Memory::Trusted);
    Literal {
        name: "cockroach",
        version: "SELECT ltrim(split_part(version(), ' ', 3), 'v')",
        snapshot: "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY",
        // To be measured on CockroachDB, too.
        takes_extra_claims: false,
        claim: claim(table, &one_type(table, &ready)),
        claim_many: ByNumber::any(claim(table, &many_types(table, &ready))),
        is_more_ready: is_more_ready(table, &ready),
        complete: complete(table),
        complete_and_delete: complete_and_delete(table),
        heartbeat: heartbeat_of(
            table,
            &held(table),
            "FROM held WHERE t.shard = $4 AND t.id = held.id AND t.lease_token = held.token AND t.status + 0 = 2",
        ),
        // To be measured on CockroachDB before it is used there.
        ahead: None,
        ended: ended(table),
        checks: Checks { lock: lock_due(table), check: vec![forget_leases(table), postpone_leases(table)] },
        promote: promote(table),
        running_page: stats::page_of(&running(table)),
        open_counts: open_counts(table),
        oldest_pending: oldest_pending(table),
        before_oldest_pending: None,
        totals: Totals { fold: fold(&table.totals()), ..postgres.totals },
        cleaning: Cleaning::with(table, remove),
        ..postgres
    }
}

/// The ready tasks of the one type $1, in claim order.
fn one_type(table: &TableName, ready: &str) -> String {
    format!(
        "SELECT id FROM {ready} WHERE shard = $6 AND queue_rank IS NOT NULL AND type = $1 \
         AND NOT EXISTS (SELECT 1 FROM {table}_paused AS p WHERE p.type = $1) \
         ORDER BY queue_rank, queue_at LIMIT $4 FOR UPDATE SKIP LOCKED"
    )
}

/// The heads of the types $1, merged. The heads are read without locks; of those, more than the limit may be locked,
/// until the claim ends. What another claim took in between is skipped or fails the state's recheck.
fn many_types(table: &TableName, ready: &str) -> String {
    format!(
        "SELECT r.id FROM {table} AS r JOIN (\
         SELECT h.id FROM unnest($1::text[]) AS k(type) CROSS JOIN LATERAL (\
         SELECT id, queue_rank, queue_at FROM {ready} WHERE shard = $6 AND queue_rank IS NOT NULL AND type = k.type \
         ORDER BY queue_rank, queue_at LIMIT $4 + 512) AS h \
         WHERE NOT EXISTS (SELECT 1 FROM {table}_paused AS p WHERE p.type = k.type) \
         ORDER BY h.queue_rank, h.queue_at LIMIT $4 + 512) AS heads ON r.id = heads.id \
         WHERE r.shard = $6 AND r.queue_rank IS NOT NULL \
         ORDER BY r.queue_rank, r.queue_at LIMIT $4 FOR UPDATE OF r SKIP LOCKED"
    )
}

/// $1 types, $2 limit, $3 shard. As PostgreSQL's.
fn is_more_ready(table: &TableName, ready: &str) -> String {
    format!(
        "SELECT 1 FROM unnest($1::text[]) AS k(type) CROSS JOIN LATERAL (\
         SELECT id FROM {ready} WHERE shard = $3 AND queue_rank IS NOT NULL AND type = k.type \
         ORDER BY queue_rank, queue_at LIMIT $2 + 513) AS h \
         WHERE NOT EXISTS (SELECT 1 FROM {table}_paused AS p WHERE p.type = k.type) LIMIT 1 OFFSET $2 + 512"
    )
}

/// $1 type or types, $2 token, $3 worker, $4 limit, $5 visibility timeout in us, $6 shard. The state is checked again: a lock
/// that is lost, as CockroachDB's may be, then costs a repetition and no second claim.
fn claim(table: &TableName, ready: &str) -> String {
    format!(
        "WITH h AS MATERIALIZED ({ready}), \
         u AS (UPDATE {table} AS t SET status = 2, queue_rank = NULL, \
         attempts = least(t.attempts, 2147483646) + 1, \
         lease_token = $2::int8, lease_number = least(t.lease_number, 9223372036854775806) + 1, \
         lease_until = now() + $5::int8 * interval '1 microsecond', heartbeat_at = now(), worker_id = $3, \
         started_at = now(), updated_at = now() \
         FROM h WHERE t.shard = $6 AND t.id = h.id AND t.status = 0 AND t.queue_rank IS NOT NULL \
         RETURNING {CLAIMED}), \
         l AS (INSERT INTO {table}_leases (token, shard, check_at, ids) \
         SELECT $2::int8, $6::int2, now() + $5::int8 * interval '1 microsecond', array_agg(id) FROM u \
         HAVING count(*) > 0) \
         SELECT * FROM u"
    )
}

/// The leases of the ids $1 and tokens $2 in the shard $3, joined with their tasks by key.
const HELD: &str = "unnest($1::uuid[], $2::int8[]) AS u(id, token) \
     WHERE t.shard = $3 AND t.id = u.id AND t.lease_token = u.token AND t.status + 0 = 2";

fn complete(table: &TableName) -> String {
    let change = format!(
        "UPDATE {table} AS t SET status = 3, completed_at = now(), lease_until = NULL, unique_held = NULL, \
         updated_at = now() FROM {HELD}"
    );
    completed(table, &change, Memory::Trusted)
}

fn complete_and_delete(table: &TableName) -> String {
    completed(table, &format!("DELETE FROM {table} AS t USING {HELD}"), Memory::Trusted)
}

/// $1 limit, $2 shard, $3 check of the first claim. As PostgreSQL's.
fn ended(table: &TableName) -> String {
    format!(
        "WITH due AS MATERIALIZED (SELECT l.token, k.id FROM (SELECT token, ids FROM {table}_leases \
         WHERE shard = $2 AND check_at >= $3 AND check_at <= now() ORDER BY check_at LIMIT {CHECKS_MAX}) AS l \
         CROSS JOIN LATERAL unnest(l.ids) AS k(id)) \
         SELECT t.id, t.type, t.lease_token, t.worker_id, t.attempts, t.max_retries, t.reclaims \
         FROM {table} AS t JOIN due ON t.id = due.id AND t.lease_token = due.token \
         WHERE t.shard = $2 AND t.status = 2 AND t.lease_until <= now() \
         ORDER BY t.lease_until, t.queue_at, t.id LIMIT $1 FOR UPDATE OF t SKIP LOCKED"
    )
}

/// $1 ids, $2 tokens, $4 shard. What a heartbeat extends.
fn held(table: &TableName) -> String {
    format!(
        "SELECT h.id, h.lease_token AS token, h.lease_until AS until FROM {table} AS h \
         JOIN unnest($1::uuid[], $2::int8[]) AS u(id, token) ON h.id = u.id AND h.lease_token = u.token \
         WHERE h.shard = $4 AND h.status + 0 = 2"
    )
}

/// $1 shard, $2 tokens. Claims, with the time when the first of their leases ends; none when nothing runs under them.
fn seen_leases(table: &TableName) -> String {
    format!(
        "WITH seen AS MATERIALIZED (SELECT l.token, min(t.lease_until) AS until FROM {table}_leases AS l \
         CROSS JOIN LATERAL unnest(l.ids) AS k(id) LEFT JOIN {table} AS t ON t.shard = $1 AND t.id = k.id \
         AND t.lease_token = l.token AND t.status = 2 WHERE l.token = ANY($2::int8[]) GROUP BY l.token)"
    )
}

fn forget_leases(table: &TableName) -> String {
    let seen = seen_leases(table);
    format!(
        "{seen} DELETE FROM {table}_leases AS l USING seen WHERE l.token = seen.token AND seen.until IS NULL"
    )
}

/// What has ended is left as it is: it is to be taken back.
fn postpone_leases(table: &TableName) -> String {
    let seen = seen_leases(table);
    format!(
        "{seen} UPDATE {table}_leases AS l SET check_at = seen.until FROM seen \
         WHERE l.token = seen.token AND seen.until > now()"
    )
}

/// As PostgreSQL's, in the order of the index over due tasks: what is locked is no more than the limit.
fn promote(table: &TableName) -> String {
    format!(
        "WITH due AS MATERIALIZED (SELECT id, due_at, queue_at FROM {table} WHERE shard = $2 AND due_at <= now() \
         AND (due_at, queue_at, id) >= ($3::timestamptz, $4::timestamptz, $5::uuid) \
         ORDER BY due_at, queue_at, id LIMIT $1 FOR UPDATE SKIP LOCKED), \
         placed AS MATERIALIZED (SELECT id, row_number() OVER (ORDER BY due_at, queue_at, id) - 1 AS place FROM due), \
         done AS (UPDATE {table} AS t SET status = 0, queue_rank = -t.priority::int8, \
         queue_at = now() + placed.place * interval '1 microsecond', due_at = NULL, updated_at = now() \
         FROM placed WHERE t.shard = $2 AND t.id = placed.id AND t.status IN (1, 4) RETURNING 1) \
         {PROMOTED}"
    )
}

/// Each running task `r` of the lease rows `l`, by its key.
fn running(table: &TableName) -> String {
    format!(
        "{table}_leases AS l CROSS JOIN LATERAL unnest(l.ids) AS k(id) \
         JOIN {table} AS r ON r.shard = $1 AND r.id = k.id AND r.lease_token = l.token AND r.status = 2"
    )
}

/// $1 shard. Status, type, tasks.
fn open_counts(table: &TableName) -> String {
    format!(
        "SELECT 0::int2, type, count(*) FROM {table} WHERE shard = $1 AND queue_rank IS NOT NULL GROUP BY type \
         UNION ALL \
         SELECT status, type, count(*) FROM {table} WHERE shard = $1 AND due_at IS NOT NULL GROUP BY status, type \
         UNION ALL \
         SELECT 2::int2, r.type, count(*) FROM {} WHERE l.shard = $1 GROUP BY r.type",
        running(table)
    )
}

/// $1 shard. As PostgreSQL's, from all ready tasks.
fn oldest_pending(table: &TableName) -> String {
    format!("SELECT min({}) FROM {table} WHERE shard = $1 AND queue_rank IS NOT NULL", stats::READY_AT)
}

/// The caller adds what the taken rows sum up to, in the same transaction: one statement may not do both here.
fn fold(totals: &str) -> String {
    format!(
        "WITH few AS MATERIALIZED (SELECT id FROM {totals} \
         WHERE (SELECT count(*) FROM (SELECT 1 FROM {totals} LIMIT {FOLD_MIN}) AS first) = {FOLD_MIN} \
         LIMIT {FOLD_MAX} FOR UPDATE SKIP LOCKED) \
         DELETE FROM {totals} AS t USING few WHERE t.id = few.id RETURNING t.type, t.status, t.tasks, t.busy_us"
    )
}

/// $1 first id, $2 last id, $3 age in us, $4 limit, $5 shard, $6 states. As PostgreSQL's, by key.
fn remove(table: &TableName, way: Way) -> String {
    let old = |of: &str| {
        format!(
            "{of}.status = ANY($6::int2[]) AND {of}.completed_at <= now() - $3::int8 * interval '1 microsecond'"
        )
    };
    let (locked, gone, this_way) = (old("o"), old("t"), way.condition("o."));
    format!(
        "WITH old AS MATERIALIZED (SELECT o.id FROM {table} AS o WHERE o.shard = $5 AND o.id >= $1 AND o.id <= $2{this_way} \
         AND {locked} ORDER BY o.id LIMIT $4 FOR UPDATE SKIP LOCKED), \
         gone AS (DELETE FROM {table} AS t USING old WHERE t.shard = $5 AND t.id = old.id AND {gone} \
         RETURNING t.id, t.type, t.status, CASE WHEN t.status = 3 \
         THEN (extract(epoch FROM t.completed_at - t.started_at) * 1000000)::int8 ELSE 0 END AS busy_us), \
         c AS (INSERT INTO {table}_totals (type, status, tasks, busy_us) \
         SELECT type, status, -count(*), -sum(busy_us)::int8 FROM gone GROUP BY type, status) \
         SELECT id FROM gone"
    )
}

/// There are no advisory locks, and a schema change in a transaction with others may be committed in parts. So every
/// statement is a transaction by itself and can be repeated, migrators at once repeat one another's, and a version is
/// recorded last: what was cut short runs again.
pub(crate) async fn migrate(connection: &mut PgConnection, table: &TableName) -> Attempt<()> {
    if let Some(schema) = table.schema() {
        create_schema(connection, schema).await?;
    }
    refuse_table_of_others(connection, table).await?;
    let applied = applied(connection, table).await?;
    for migration in COCKROACH.iter().filter(|migration| migration.version > applied) {
        for statement in statements(migration, table) {
            sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *connection).await.map_err(failure)?;
        }
        record(connection, table, migration).await?;
    }
    Ok(())
}

fn statements(migration: &Migration, table: &TableName) -> Vec<String> {
    if migration.is_nothing() {
        return Vec::new();
    }
    migration
        .sql(table.as_str())
        .split(";\n")
        .map(str::trim)
        .filter(|sql| !sql.is_empty())
        .map(String::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_statement_of_a_migration_is_one_that_can_be_repeated() {
        for migration in COCKROACH {
            let statements = statements(migration, &TableName::default());
            assert_eq!(statements.is_empty(), migration.is_nothing(), "version {}", migration.version);
            for statement in statements {
                assert_eq!(statement.matches("CREATE ").count(), 1, "{statement}");
                assert_eq!(statement.matches("IF NOT EXISTS").count(), 1, "{statement}");
                for refused in [" WITH (", "fillfactor", "autovacuum", " integer"] {
                    let without_comments = statement.lines().filter(|line| !line.starts_with("--"));
                    assert!(without_comments.clone().all(|line| !line.contains(refused)), "{statement}");
                }
            }
        }
    }
}
