//! The statements whose form decides PostgreSQL's plan, written out: insert, claim, settle, reclaim, promote, run now. It knows
//! no connection; `docs/storage.md` says why they are so.

use taskqueue_sql::TableName;

use crate::claimed::CLAIMED;
use crate::cleanup::Cleaning;
use crate::leases::{self, CHECKS_MAX, Checks};
use crate::ready::{self, ByNumber};
use crate::stats;
use crate::totals::Totals;

/// What a claim does with the rank of a task, and so with its place in the claim index. Only one of claim and completion can
/// be a HOT update, which writes no index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rank {
    /// It takes it away: the completion is a HOT update.
    Taken,
    /// It leaves it until the task ends or waits again: the claim is a HOT update, which is of use where a completion deletes
    /// the row.
    Left,
}

/// How far what an instance remembers of its settles can be relied on when a claim leaves the leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// It is told of each new connection, and so of a server that took over and may not know of them all.
    Trusted,
    /// It is not: the tasks of the claim are looked at first.
    Doubted,
}

/// The claims that start from known places of the index.
#[derive(Debug, Clone)]
pub(crate) struct Ahead {
    pub(crate) claim: String,
    /// By places.
    pub(crate) claim_many: ByNumber,
    /// In the ranks between places.
    pub(crate) claim_gaps: String,
}

/// The literal statements for one table, rendered once.
#[derive(Debug, Clone)]
pub(crate) struct Literal {
    /// The name of the engine.
    pub(crate) name: &'static str,
    /// Asks for the server's version.
    pub(crate) version: &'static str,
    /// Begins a transaction that sees one moment throughout.
    pub(crate) snapshot: &'static str,
    /// Whether claims are told that they are extra.
    pub(crate) takes_extra_claims: bool,
    pub(crate) insert: String,
    pub(crate) insert_one: String,
    /// As `insert_one`, or nothing where it collides.
    pub(crate) insert_one_or_none: String,
    pub(crate) insert_plain: String,
    /// As `insert_plain`, with one type, priority, number of retries and metadata for all.
    pub(crate) insert_alike: String,
    pub(crate) claim: String,
    /// By types.
    pub(crate) claim_many: ByNumber,
    /// Whether more is ready than such a claim reads.
    pub(crate) is_more_ready: String,
    /// None where claims always start at the start of the index.
    pub(crate) ahead: Option<Ahead>,
    pub(crate) complete: String,
    pub(crate) complete_and_delete: String,
    pub(crate) settle: String,
    pub(crate) heartbeat: String,
    pub(crate) ended: String,
    pub(crate) reclaim: String,
    pub(crate) checks: Checks,
    pub(crate) promote: String,
    pub(crate) run_now: String,
    pub(crate) redrive: String,
    pub(crate) running_page: String,
    pub(crate) open_counts: String,
    pub(crate) oldest_pending: String,
    /// What is said in its transaction before it.
    pub(crate) before_oldest_pending: Option<&'static str>,
    pub(crate) totals: Totals,
    pub(crate) cleaning: Cleaning,
}

impl Literal {
    pub(crate) fn new(table: &TableName, rank: Rank, memory: Memory) -> Self {
        let claim = |ready: &str| claim(table, ready, rank);
        Self {
            name: "postgres",
            version: "SELECT current_setting('server_version')",
            // Statistics from before most tasks were finished would have stats read them all. A table without an index
            // is then taken for one that costs 10,000,000,000, and its statement is compiled: for 0.2 s to 0.9 s.
            snapshot: "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL enable_seqscan = off; \
                       SET LOCAL jit = off",
            takes_extra_claims: true,
            insert: insert(table),
            insert_one: insert_one(table, "now()"),
            insert_one_or_none: insert_one_or_none(table),
            insert_plain: insert_plain(table, OF_EACH),
            insert_alike: insert_plain(table, OF_ALL),
            claim: claim(&ready::one_type()),
            claim_many: ready::many_types().map(claim),
            is_more_ready: ready::is_more(table),
            ahead: Some(Ahead {
                claim: claim(&ready::one_type_ahead()),
                claim_many: ready::many_places().map(claim),
                claim_gaps: claim(&ready::gaps()),
            }),
            complete: complete(table, memory),
            complete_and_delete: complete_and_delete(table, memory),
            settle: settle(table),
            heartbeat: leases::heartbeat(table),
            ended: ended(table),
            reclaim: reclaim(table),
            checks: leases::checks(table),
            promote: promote(table),
            run_now: run_now(table),
            redrive: redrive(table),
            running_page: stats::running_page(table),
            open_counts: stats::open_counts(table),
            oldest_pending: stats::oldest_pending(table),
            before_oldest_pending: Some(stats::NEVER_SORT),
            totals: Totals::new(table),
            cleaning: Cleaning::new(table),
        }
    }
}

/// $1 ids, $2 types, $3 priorities, $4 payloads, $5 scheduled at, $6 delay in us, $7 max retries, $8 unique keys,
/// $9 regions, $10 metadata, $11 place of the first, $12 shard.
///
/// `ON CONFLICT DO NOTHING` covers the id and the held unique key; of rows of one statement that collide with each
/// other the first stays. The insert is ordered by place for that reason.
fn insert(table: &TableName) -> String {
    format!(
        "INSERT INTO {table} AS t (shard, id, type, status, priority, queue_rank, queue_at, due_at, attempts, \
         max_retries, reclaims, lease_token, lease_number, scheduled_at, created_at, updated_at, unique_key, \
         unique_held, region, metadata, payload) \
         SELECT $12::int2, u.id, u.type, CASE WHEN w.at > now() THEN 1 ELSE 0 END, u.priority, \
         CASE WHEN w.at > now() THEN NULL ELSE -u.priority::bigint END, \
         w.at + ($11::bigint + u.place - 1) * interval '1 microsecond', \
         CASE WHEN w.at > now() THEN w.at END, 0, u.max_retries, 0, 0, 0, w.at, now(), now(), u.unique_key, \
         CASE WHEN u.unique_key IS NOT NULL THEN 1 END, u.region, u.metadata, u.payload \
         FROM unnest($1::uuid[], $2::text[], $3::int4[], $4::text[], $5::timestamptz[], $6::int8[], $7::int4[], \
         $8::text[], $9::text[], $10::text[]) WITH ORDINALITY \
         AS u(id, type, priority, payload, at, delay, max_retries, unique_key, region, metadata, place) \
         CROSS JOIN LATERAL (SELECT coalesce(u.at, now() + coalesce(u.delay, 0) * interval '1 microsecond') AS at) AS w \
         ORDER BY u.place ON CONFLICT DO NOTHING RETURNING t.id"
    )
}

/// $1 id, $2 type, $3 priority, $4 payload, $5 max retries, $6 metadata, $7 shard. As [`insert_plain`], of one task: to
/// unnest arrays of one takes the server 0.03 ms of a call of 0.5.
fn insert_one(table: &TableName, queue_at: &str) -> String {
    format!(
        "INSERT INTO {table} (shard, id, type, status, priority, queue_rank, queue_at, attempts, max_retries, \
         reclaims, lease_token, lease_number, scheduled_at, created_at, updated_at, metadata, payload) \
         VALUES ($7::int2, $1::uuid, $2, 0, $3::int4, -$3::int4::bigint, {queue_at}, 0, $5::int4, 0, 0, 0, now(), now(), \
         now(), $6, $4)"
    )
}

/// As [`insert_one`], and $8 place: inside of a transaction, which a violation would end.
fn insert_one_or_none(table: &TableName) -> String {
    let insert = insert_one(table, "now() + $8::bigint * interval '1 microsecond'");
    format!("{insert} ON CONFLICT DO NOTHING")
}

/// Type, priority, most retries and metadata of each of the tasks.
const OF_EACH: [&str; 4] =
    ["unnest($2::text[])", "unnest($3::int4[])", "unnest($5::int4[])", "unnest($6::text[])"];

/// The same of all of them at once.
const OF_ALL: [&str; 4] = ["$2::text", "$3::int4", "$5::int4", "$6::text"];

/// $1 ids, $2 types, $3 priorities, $4 payloads, $5 max retries, $6 metadata, $7 shard. Tasks that are ready now and hold no
/// unique key; all of them, or none with a unique violation.
///
/// `ON CONFLICT` inserts each row tentatively first and confirms it after: 11 us a row of the server's time instead of
/// 7, and 6 without what these tasks have not. Arrays that are unnested side by side in a select list are read as they
/// are; in FROM each row would be stored in between.
fn insert_plain(table: &TableName, [task_type, priority, max_retries, metadata]: [&str; 4]) -> String {
    format!(
        "INSERT INTO {table} (shard, id, type, status, priority, queue_rank, queue_at, attempts, max_retries, \
         reclaims, lease_token, lease_number, scheduled_at, created_at, updated_at, metadata, payload) \
         SELECT $7::int2, u.id, u.type, 0, u.priority, -u.priority::bigint, u.at, 0, u.max_retries, 0, 0, 0, now(), now(), \
         now(), u.metadata, u.payload \
         FROM (SELECT unnest($1::uuid[]) AS id, {task_type} AS type, {priority} AS priority, \
         {max_retries} AS max_retries, {metadata} AS metadata, unnest($4::text[]) AS payload, \
         generate_series(now(), now() + (cardinality($1::uuid[]) - 1) * interval '1 microsecond', \
         interval '1 microsecond') AS at) AS u"
    )
}

/// $1 type or types, $2 token, $3 worker, $4 limit, $5 visibility timeout in us, $6 shard, $7 whether it is extra. In no order.
///
/// The one extra claim that may be on its way holds the row of the shards; others look for nothing.
///
/// `= ANY(ARRAY(…))` evaluates the locking subquery once: joined or `IN`, a nested loop may run it again and claim
/// beyond the limit. `status + 0` keeps stale statistics of the status from changing the plan. The lease's end is a
/// subquery so that it is computed once, not for each row.
fn claim(table: &TableName, ready: &str, rank: Rank) -> String {
    let rank = match rank {
        Rank::Taken => "queue_rank = NULL, ",
        Rank::Left => "",
    };
    let (ready, shards) = (ready.replace("{table}", table.as_str()), table.shards());
    format!(
        "WITH u AS (UPDATE {table} AS t SET status = 2, {rank}attempts = least(t.attempts, 2147483646) + 1, \
         lease_token = $2, lease_number = least(t.lease_number, 9223372036854775806) + 1, \
         lease_until = (SELECT now() + $5::bigint * interval '1 microsecond'), heartbeat_at = now(), worker_id = $3, \
         started_at = now(), updated_at = now() \
         WHERE t.ctid = ANY(CASE WHEN NOT $7 OR EXISTS (SELECT 1 FROM {shards} FOR UPDATE SKIP LOCKED) \
         THEN ARRAY({ready}) END) AND t.status + 0 = 0 RETURNING {CLAIMED}), \
         l AS (INSERT INTO {table}_leases (token, shard, check_at, ids) \
         SELECT $2, $6::int2, now() + $5::bigint * interval '1 microsecond', array_agg(id) FROM u HAVING count(*) > 0) \
         SELECT * FROM u"
    )
}

/// The tasks of the ids $1, in ascending order, that run under their tokens $2, in the shard $3. Each token is found at the place of its
/// id, so that the ids are one scan of the key's index: joined with the leases each would be a scan of its own. No plan
/// can take another task's token for it.
const HELD: &str = "t.shard = $3 AND t.id = ANY($1::uuid[]) \
     AND t.lease_token = ($2::int8[])[width_bucket(t.id, $1::uuid[])] AND t.status + 0 = 2";

/// $1 ids in ascending order, $2 tokens, $3 shard, $4 tokens of claims whose tasks are all settled. The rank is there still if
/// the claim left it.
fn complete(table: &TableName, memory: Memory) -> String {
    let change = format!(
        "UPDATE {table} AS t SET status = 3, queue_rank = NULL, completed_at = now(), lease_until = NULL, \
         unique_held = NULL, updated_at = now() WHERE {HELD}"
    );
    completed(table, &change, memory)
}

/// As [`complete`]. Completes tasks whose rows are not kept.
fn complete_and_delete(table: &TableName, memory: Memory) -> String {
    completed(table, &format!("DELETE FROM {table} AS t WHERE {HELD}"), memory)
}

/// Answers the ids that this change completes, in one array: a row for each costs both sides more. What it finishes is
/// counted in the same statement: how long tasks ran is summed up before it becomes a number. What was settled before
/// leaves the leases.
pub(crate) fn completed(table: &TableName, change: &str, memory: Memory) -> String {
    let unless_held = match memory {
        Memory::Trusted => String::new(),
        Memory::Doubted => format!(
            " AND (SELECT min(r.lease_until) FROM {table} AS r WHERE r.shard = l.shard AND r.id = ANY(l.ids) \
             AND r.lease_token = l.token AND r.status + 0 = 2) IS NULL"
        ),
    };
    format!(
        "WITH s AS ({change} RETURNING t.id, t.type, now() - t.started_at AS busy), \
         c AS (INSERT INTO {table}_totals (type, status, tasks, busy_us) \
         SELECT type, 3, count(*), (extract(epoch FROM sum(busy)) * 1000000)::bigint FROM s GROUP BY type), \
         g AS (DELETE FROM {table}_leases AS l WHERE l.token = ANY($4::int8[]){unless_held}) \
         SELECT coalesce(array_agg(id), '{{}}'::uuid[]) FROM s"
    )
}

/// $1 ids, $2 tokens, $3 new states, $4 delays in us, $5 attempts given back, $6 whether
/// `scheduled_at` moves with the delay, $7 errors, $8 places of those that become ready, $9
/// shard.
fn settle(table: &TableName) -> String {
    format!(
        "WITH s AS (UPDATE {table} AS t SET status = u.status, \
         queue_rank = CASE WHEN u.status = 0 THEN -t.priority::bigint END, \
         queue_at = CASE WHEN u.status = 0 THEN now() + u.place * interval '1 microsecond' ELSE t.queue_at END, \
         due_at = CASE WHEN u.status IN (1, 4) THEN now() + u.delay * interval '1 microsecond' END, \
         scheduled_at = CASE WHEN u.moves THEN now() + u.delay * interval '1 microsecond' ELSE t.scheduled_at END, \
         attempts = t.attempts - u.given_back, \
         completed_at = CASE WHEN u.status = 5 THEN now() END, dead_at = CASE WHEN u.status = 5 THEN now() END, \
         last_error = coalesce(u.error, t.last_error), lease_until = NULL, \
         unique_held = CASE WHEN u.status = 5 THEN NULL ELSE t.unique_held END, updated_at = now() \
         FROM unnest($1::uuid[], $2::int8[], $3::int2[], $4::int8[], $5::int4[], $6::bool[], $7::text[], $8::int8[]) \
         AS u(id, token, status, delay, given_back, moves, error, place) \
         WHERE t.shard = $9 AND t.id = u.id AND t.lease_token = u.token AND t.status + 0 = 2 \
         RETURNING t.id, t.type, t.status), \
         c AS (INSERT INTO {table}_totals (type, status, tasks, busy_us) \
         SELECT type, status, count(*), 0 FROM s WHERE status = 5 GROUP BY type, status) \
         SELECT coalesce(array_agg(id), '{{}}'::uuid[]) FROM s"
    )
}

/// $1 limit, $2 shard, $3 check of the first claim. Running tasks whose lease has ended, locked, earliest end first: id, type, token, worker,
/// attempts, most attempts, reclaims. Candidates come from the claims whose check is due, not from an index over running tasks: that
/// one would end HOT settles.
///
/// They are named by arrays: a join would read all tasks where statistics remember many claims that were due. That a task's token
/// is of another one of these claims changes nothing: its own row says that it runs and that its lease has ended.
fn ended(table: &TableName) -> String {
    format!(
        "WITH due AS MATERIALIZED (SELECT token, ids FROM {table}_leases \
         WHERE shard = $2 AND check_at >= $3 AND check_at <= now() ORDER BY check_at LIMIT {CHECKS_MAX}) \
         SELECT t.id, t.type, t.lease_token, t.worker_id, t.attempts, t.max_retries, t.reclaims FROM {table} AS t \
         WHERE t.shard = $2 AND t.id = ANY(ARRAY(SELECT unnest(ids) FROM due)) \
         AND t.lease_token = ANY(ARRAY(SELECT token FROM due)) AND t.status + 0 = 2 AND t.lease_until <= now() \
         ORDER BY t.lease_until, t.queue_at, t.id LIMIT $1 FOR UPDATE OF t SKIP LOCKED"
    )
}

/// $1 ids, $2 tokens, $3 which are dead letters, $4 errors, $5 places of those that become ready, $6 shard.
fn reclaim(table: &TableName) -> String {
    format!(
        "UPDATE {table} AS t SET status = CASE WHEN u.dead THEN 5 ELSE 0 END, \
         queue_rank = CASE WHEN u.dead THEN NULL ELSE -t.priority::bigint END, \
         queue_at = CASE WHEN u.dead THEN t.queue_at ELSE now() + u.place * interval '1 microsecond' END, \
         completed_at = CASE WHEN u.dead THEN now() END, dead_at = CASE WHEN u.dead THEN now() END, \
         unique_held = CASE WHEN u.dead THEN NULL ELSE t.unique_held END, \
         last_error = u.error, reclaims = least(t.reclaims, 2147483646) + 1, \
         lease_token = 0, lease_until = NULL, updated_at = now() \
         FROM unnest($1::uuid[], $2::int8[], $3::bool[], $4::text[], $5::int8[]) AS u(id, token, dead, error, place) \
         WHERE t.shard = $6 AND t.id = u.id AND t.lease_token = u.token AND t.status + 0 = 2 \
         RETURNING t.id"
    )
}

/// $1 limit, $2 shard, $3 to $5 the place where it begins: a time, a queue time, an id. Answers how many it promoted, how many it
/// found, now, and the place of the last one.
fn promote(table: &TableName) -> String {
    format!(
        "WITH due AS MATERIALIZED (SELECT ctid AS at, due_at, queue_at, id FROM {table} \
         WHERE shard = $2 AND due_at <= now() \
         AND (due_at, queue_at, id) >= ($3::timestamptz, $4::timestamptz, $5::uuid) \
         ORDER BY due_at, queue_at, id LIMIT $1 FOR UPDATE SKIP LOCKED), \
         plan AS MATERIALIZED (SELECT at, row_number() OVER (ORDER BY due_at, queue_at, id) - 1 AS place FROM due), \
         done AS (UPDATE {table} AS t SET status = 0, queue_rank = -t.priority::bigint, \
         queue_at = now() + plan.place * interval '1 microsecond', due_at = NULL, updated_at = now() \
         FROM plan WHERE t.ctid = plan.at AND t.status IN (1, 4) RETURNING 1) \
         {PROMOTED}"
    )
}

/// What a promotion answers, in one row.
pub(crate) const PROMOTED: &str = "SELECT (SELECT count(*) FROM done), (SELECT count(*) FROM due), now(), \
     last.due_at, last.queue_at, last.id FROM (SELECT 1) AS one \
     LEFT JOIN (SELECT due_at, queue_at, id FROM due ORDER BY due_at DESC, queue_at DESC, id DESC LIMIT 1) AS last ON true";

/// $1 ids, $2 places, $3 shard. What does not wait is neither changed nor waited for, whoever has locked it.
fn run_now(table: &TableName) -> String {
    format!(
        "UPDATE {table} AS t SET status = 0, queue_rank = -t.priority::bigint, \
         queue_at = now() + u.place * interval '1 microsecond', due_at = NULL, \
         scheduled_at = least(t.scheduled_at, now()), updated_at = now() \
         FROM unnest($1::uuid[], $2::int8[]) AS u(id, place) \
         WHERE t.shard = $3 AND t.id = u.id AND t.status + 0 IN (1, 4)"
    )
}

/// $1 ids, in order, $2 shard.
fn redrive(table: &TableName) -> String {
    format!(
        "UPDATE {table} AS t SET status = 0, queue_rank = -t.priority::bigint, \
         queue_at = now() + (u.place - 1) * interval '1 microsecond', attempts = 0, reclaims = 0, completed_at = NULL, \
         dead_at = NULL, lease_token = 0, unique_held = CASE WHEN t.unique_key IS NOT NULL THEN 1 END, updated_at = now() \
         FROM unnest($1::uuid[]) WITH ORDINALITY AS u(id, place) \
         WHERE t.shard = $2 AND t.id = u.id AND t.status + 0 = 5 RETURNING t.id"
    )
}
