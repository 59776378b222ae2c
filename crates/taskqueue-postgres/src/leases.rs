//! The statements that keep the times at which claims are checked: none is behind the first end of a lease of its claim. It knows
//! which locks that takes; it knows no connection.

use taskqueue_sql::TableName;

/// How many claims one look checks at most.
pub(crate) const CHECKS_MAX: usize = 1_000;

/// The statements of one look at the claims whose check is due, in one transaction that sees in each what is committed by then.
#[derive(Debug, Clone)]
pub(crate) struct Checks {
    /// $1 shard, $2 check of the first claim. Locks them; answers their tokens, the check of the last, and now.
    pub(crate) lock: String,
    /// $1 shard, $2 those tokens. Claims are forgotten when none of their tasks runs under them, else checked again when the first of
    /// their leases ends; left as they are where one has ended and is to be taken back.
    pub(crate) check: Vec<String>,
}

/// The checks of PostgreSQL.
///
/// A heartbeat that shortens a lease has its claim locked until it is committed. So what is read once the claim is locked
/// holds; what the locking statement itself reads may be from before.
pub(crate) fn checks(table: &TableName) -> Checks {
    let check = format!(
        "WITH seen AS MATERIALIZED (SELECT l.token, (SELECT min(t.lease_until) FROM {table} AS t WHERE t.shard = $1 \
         AND t.id = ANY(l.ids) AND t.lease_token = l.token AND t.status + 0 = 2) AS until \
         FROM {table}_leases AS l WHERE l.token = ANY($2::int8[])), \
         gone AS (DELETE FROM {table}_leases AS l USING seen WHERE l.token = seen.token AND seen.until IS NULL) \
         UPDATE {table}_leases AS l SET check_at = seen.until FROM seen \
         WHERE l.token = seen.token AND seen.until > now()"
    );
    Checks { lock: lock_due(table), check: vec![check] }
}

pub(crate) fn lock_due(table: &TableName) -> String {
    format!(
        "SELECT coalesce(array_agg(token), '{{}}'::int8[]), max(check_at), now() FROM \
         (SELECT token, check_at FROM {table}_leases WHERE shard = $1 AND check_at >= $2 AND check_at <= now() \
         ORDER BY check_at LIMIT {CHECKS_MAX} FOR UPDATE SKIP LOCKED) AS due"
    )
}

/// $1 ids, $2 tokens, $3 visibility timeout in us, $4 shard. What others have locked is passed over: one task of a transaction that
/// stays open must not cost all the others their leases.
pub(crate) fn heartbeat(table: &TableName) -> String {
    let held = format!(
        "SELECT h.ctid AS at, h.lease_token AS token, h.lease_until AS until FROM {table} AS h \
         JOIN unnest($1::uuid[], $2::int8[]) AS u(id, token) ON h.id = u.id AND h.lease_token = u.token \
         WHERE h.shard = $4 AND h.status + 0 = 2 FOR UPDATE OF h SKIP LOCKED"
    );
    heartbeat_of(table, &held, "WHERE t.ctid = ANY(ARRAY(SELECT at FROM held)) AND t.status + 0 = 2")
}

/// Extends the leases of `tasks`, which are those that `held` finds, with the token and the end of the lease before. Where that
/// shortens one, its claim is checked sooner, and waits until then: a check that is under way has read the end of before. No other
/// heartbeat waits for a check, which may be made by somebody who stands still.
pub(crate) fn heartbeat_of(table: &TableName, held: &str, tasks: &str) -> String {
    const END: &str = "now() + $3::bigint * interval '1 microsecond'";
    format!(
        "WITH held AS MATERIALIZED ({held}), \
         sooner AS (UPDATE {table}_leases SET check_at = least(check_at, {END}) \
         WHERE token = ANY($2) AND token IN (SELECT token FROM held WHERE until > {END})) \
         UPDATE {table} AS t SET lease_until = {END}, heartbeat_at = now() {tasks} RETURNING t.id, t.lease_token"
    )
}
