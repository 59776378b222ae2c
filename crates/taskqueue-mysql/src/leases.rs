//! The statements about claims whose tasks may be running: a row for each type that a claim has taken. The index has the tasks
//! of a claim side by side, under its time, and those that are completed stay there; so what runs is found from these rows, by
//! one look into the index a row, and never by a walk over what is completed. It knows no connection.
//!
//! A transaction that changes these rows and tasks changes these rows first, so that two that meet wait for each other
//! instead of deadlocking. A claim comes last: nobody knows its token yet. Rows are changed by their key: of a few the server
//! would rather read all, and wait for each claim that is under way.

use taskqueue_core::{Shard, TaskFilter};
use taskqueue_sql::{TASK_COLUMNS, TableName};

use crate::claim::marks;
use crate::engine::Engine;

/// How often `open_counts` names the shard.
pub(crate) const OPEN_SHARDS: usize = 5;
/// The most claims that one check looks at.
pub(crate) const CHECKED_MAX: usize = 1_000;

/// The statements for one table. Those without a list are rendered once.
#[derive(Debug, Clone)]
pub(crate) struct Leases {
    table: TableName,
    now: String,
    pub(crate) due: String,
    pub(crate) ended: String,
    pub(crate) open_counts: String,
}

impl Leases {
    pub(crate) fn new(table: &TableName, now: &str) -> Self {
        Self {
            table: table.clone(),
            now: now.to_owned(),
            due: due(table, now),
            ended: ended(table, now),
            open_counts: open_counts(table),
        }
    }

    /// For each row: the token, a type, the shard, the time of the claim, the end of its leases.
    pub(crate) fn hold(&self, types: usize) -> String {
        let Self { table, .. } = self;
        let rows = vec!["(?, ?, ?, ?, ?)"; types].join(", ");
        format!("INSERT INTO {table}_leases (token, type, shard, claimed_at, check_at) VALUES {rows}")
    }

    /// Forgets claims. All stands in the text, so that it can go with others. Vitess does not take a deletion with a hint.
    pub(crate) fn forget(&self, engine: Engine, shard: Shard, tokens: &[i64]) -> String {
        let (Self { table, .. }, shard) = (self, shard.number());
        let tokens = tokens.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
        let from = match engine {
            Engine::Vitess => format!("FROM {table}_leases"),
            Engine::Mysql | Engine::Mariadb => {
                format!("l FROM {table}_leases AS l FORCE INDEX (PRIMARY)")
            }
        };
        format!("DELETE {from} WHERE token IN ({tokens}) AND shard = {shard}")
    }

    /// The tokens, the shard. The token of each row that nobody else has locked, locked. Whoever changes a claim changes all its
    /// rows, so that a claim of which one is free is free, or will be in a moment.
    pub(crate) fn free(&self, tokens: usize) -> String {
        let Self { table, .. } = self;
        format!(
            "SELECT token FROM {table}_leases FORCE INDEX (PRIMARY) WHERE token IN ({}) AND shard = ? \
             ORDER BY token FOR UPDATE SKIP LOCKED",
            marks(tokens)
        )
    }

    /// The shard, the tokens, the shard. Those of these claims under which a task runs.
    pub(crate) fn held(&self, tokens: usize) -> String {
        let Self { table, .. } = self;
        format!(
            "SELECT DISTINCT l.token FROM {table}_leases AS l FORCE INDEX (PRIMARY) STRAIGHT_JOIN {} \
             WHERE l.token IN ({}) AND l.shard = ?",
            running(table),
            marks(tokens)
        )
    }

    /// The shard, the tokens, the shard. Of each of these claims: its token, the first end of a lease of a task that runs under it,
    /// or NULL, and now.
    pub(crate) fn first_ends(&self, tokens: usize) -> String {
        let Self { table, now, .. } = self;
        format!(
            "SELECT l.token, MIN(t.lease_until), {now} FROM {table}_leases AS l FORCE INDEX (PRIMARY) LEFT JOIN {} \
             WHERE l.token IN ({}) AND l.shard = ? GROUP BY l.token",
            running(table),
            marks(tokens)
        )
    }

    /// The shard, the ids, the tokens, then a visibility timeout in us. The token of each task that runs under one of these and whose
    /// lease ends later than that.
    pub(crate) fn shortened(&self, ids: usize, tokens: usize) -> String {
        let Self { table, now, .. } = self;
        format!(
            "SELECT lease_token FROM {table} FORCE INDEX (PRIMARY) WHERE shard = ? AND id IN ({}) \
             AND lease_token IN ({}) AND status = 2 AND lease_until > {now} + INTERVAL ? MICROSECOND ORDER BY id",
            marks(ids),
            marks(tokens)
        )
    }

    /// A visibility timeout in us, the shard, then the ids. Those that are running and that nobody else has locked, locked in key
    /// order: id, lease token, whether the lease ends later than that.
    pub(crate) fn extendable(&self, ids: usize) -> String {
        let Self { table, now, .. } = self;
        format!(
            "SELECT id, lease_token, CAST(lease_until > {now} + INTERVAL ? MICROSECOND AS SIGNED) FROM {table} \
             FORCE INDEX (PRIMARY) WHERE shard = ? AND id IN ({}) AND status = 2 ORDER BY id FOR UPDATE SKIP LOCKED",
            marks(ids)
        )
    }

    /// A visibility timeout in us, the tokens, the shard. For claims of which a heartbeat shortens a lease.
    pub(crate) fn check_sooner(&self, tokens: usize) -> String {
        let Self { table, now, .. } = self;
        format!(
            "UPDATE {table}_leases FORCE INDEX (PRIMARY) \
             SET check_at = LEAST(check_at, {now} + INTERVAL ? MICROSECOND) WHERE token IN ({}) AND shard = ?",
            marks(tokens)
        )
    }

    /// The time, the tokens, the shard. Claims that were due are checked again then.
    pub(crate) fn check_later(&self, tokens: usize) -> String {
        let Self { table, now, .. } = self;
        format!(
            "UPDATE {table}_leases FORCE INDEX (PRIMARY) SET check_at = ? \
             WHERE token IN ({}) AND shard = ? AND check_at <= {now}",
            marks(tokens)
        )
    }
}

/// The shard twice, then what the filter has of type, region and last id, the limit, the offset. A page of running tasks, as
/// `TASK_COLUMNS`, highest id first.
pub(crate) fn page(table: &TableName, filter: &TaskFilter) -> String {
    let columns = TASK_COLUMNS.map(|column| format!("t.{}", column.name())).join(", ");
    let conditions = [
        (filter.task_type.is_some(), " AND l.type = ?"),
        (filter.region.is_some(), " AND t.region = ?"),
        (filter.after.is_some(), " AND t.id < ?"),
    ];
    let conditions = conditions.iter().filter(|(is_set, _)| *is_set).map(|(_, condition)| *condition);
    format!(
        "SELECT {columns} FROM {table}_leases AS l STRAIGHT_JOIN {} WHERE l.shard = ?{} \
         ORDER BY t.id DESC LIMIT ? OFFSET ?",
        running(table),
        conditions.collect::<String>()
    )
}

/// The shard. The claims that are to be checked, those first that are due first: token.
fn due(table: &TableName, now: &str) -> String {
    format!(
        "SELECT token FROM {table}_leases FORCE INDEX ({table}_leases_check) \
         WHERE shard = ? AND check_at <= {now} GROUP BY token ORDER BY MIN(check_at), token LIMIT {CHECKED_MAX}"
    )
}

/// The running tasks `t` of the rows `l`: the shard.
fn running(table: &TableName) -> String {
    format!(
        "{table} AS t FORCE INDEX ({table}_pos) ON t.shard = ? AND t.listed = 2 AND t.type = l.type \
         AND t.queue_rank = 0 AND t.queue_at = l.claimed_at AND t.lease_token = l.token AND t.status = 2"
    )
}

/// The shard twice and the limit. Running tasks whose lease has ended, earliest end first, of claims that are to be checked, as `d`.
/// `lease_until` is in no index, so that a heartbeat writes one page.
fn ended(table: &TableName, now: &str) -> String {
    format!(
        "SELECT t.id, t.type, t.lease_token, t.worker_id, t.attempts, t.max_retries, t.reclaims FROM ({}) AS d \
         STRAIGHT_JOIN {table}_leases AS l ON l.token = d.token STRAIGHT_JOIN {} \
         WHERE t.lease_until <= {now} ORDER BY t.lease_until, t.id LIMIT ?",
        due(table, now),
        running(table)
    )
}

/// The shard [`OPEN_SHARDS`] times. How many unfinished tasks there are: status, type, tasks. What waits is read from the index
/// alone, each state by itself: of several at once the server may read the whole index.
fn open_counts(table: &TableName) -> String {
    let waiting = [0, 1, 4].map(|state| {
        format!(
            "SELECT {state}, type, COUNT(*) FROM {table} FORCE INDEX ({table}_pos) \
             WHERE shard = ? AND listed = {state} GROUP BY type"
        )
    });
    format!(
        "{} UNION ALL \
         SELECT 2, l.type, COUNT(*) FROM {table}_leases AS l STRAIGHT_JOIN {} WHERE l.shard = ? GROUP BY l.type",
        waiting.join(" UNION ALL "),
        running(table)
    )
}
