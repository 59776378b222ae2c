//! A claim from end to end: find, take, read. What its statements are is `claim.rs`'s business.

use std::collections::HashMap;

use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;
use taskqueue_core::clock::add;
use taskqueue_core::{Claim, State, Timestamp};
use taskqueue_sql::{Attempt, Claiming, Delta, Dialect as _, Failure, Owner, Row, TASK_COLUMNS, Total};

use crate::claim::TYPES_MAX;
use crate::dialect::SqliteDialect;
use crate::error::failure;
use crate::query::{Query, fields};

/// How often a claim looks that finds only what cannot be read.
const ROUNDS_MAX: usize = 20;

/// Claims; answers in claim order. What cannot be read becomes a dead letter: rolled back, it would be the first again, and
/// keep all that is behind it from being claimed. Where nothing could be read, what stands behind it comes next; after so many rounds
/// it comes with the next claim, so that others may write meanwhile.
pub(crate) async fn claim(
    dialect: &SqliteDialect,
    connection: &mut SqliteConnection,
    now: Timestamp,
    claiming: &Claiming,
) -> Attempt<Vec<Claim>> {
    for _ in 0..ROUNDS_MAX {
        let candidates = candidates(dialect, &mut *connection, claiming).await?;
        let taken = take(dialect, &mut *connection, now, claiming, &candidates).await?;
        let is_over = taken.is_empty();
        let mut claims = Vec::with_capacity(taken.len());
        for (seq, read) in taken {
            match read {
                Ok(claim) => claims.push(claim),
                Err(failure) => bury(dialect, &mut *connection, now, seq, failure).await?,
            }
        }
        if is_over || !claims.is_empty() {
            return Ok(claims);
        }
    }
    Ok(Vec::new())
}

/// Takes these; answers them in their order, each with its number.
async fn take(
    dialect: &SqliteDialect,
    connection: &mut SqliteConnection,
    now: Timestamp,
    claiming: &Claiming,
    candidates: &[Candidate],
) -> Attempt<Vec<(i64, Attempt<Claim>)>> {
    if candidates.is_empty() {
        return Ok(Vec::new());
    }
    let seqs: Vec<i64> = candidates.iter().map(|candidate| candidate.seq).collect();
    let rows = Query::constant(&dialect.sql.take)
        .bind(now.timestamp_micros())
        .bind(claiming.token.get())
        .bind(add(now, claiming.visibility_timeout).timestamp_micros())
        .bind(claiming.worker_id.as_str())
        .bind(serde_json::json!(seqs).to_string())
        .fetch_all(connection)
        .await
        .map_err(failure)?;
    read(&rows, candidates)
}

/// The rows to claim, in claim order. More types than one query takes are asked for in several, whose answers
/// are merged.
pub(crate) async fn candidates(
    dialect: &SqliteDialect,
    connection: &mut SqliteConnection,
    claiming: &Claiming,
) -> Attempt<Vec<Candidate>> {
    let mut found = Vec::new();
    for types in claiming.types.chunks(TYPES_MAX) {
        let sql = dialect.sql.candidates(types.len());
        let mut query = Query::rendered(&sql).bind(claiming.limit as i64);
        for task_type in types {
            query = query.bind(task_type.as_str());
        }
        for row in query.fetch_all(&mut *connection).await.map_err(failure)? {
            let mut row = fields(&row)?;
            // What is no time stands behind all times in the index, too, and the claim sets it anew.
            let ready_at = row.time(2).unwrap_or(Timestamp::MAX_UTC);
            found.push(Candidate { rank: row.integer(1)?, ready_at, seq: row.integer(0)? });
        }
    }
    found.sort_unstable();
    found.truncate(claiming.limit);
    Ok(found)
}

/// A ready task, in claim order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Candidate {
    rank: i64,
    ready_at: Timestamp,
    seq: i64,
}

/// The claimed rows, whose last field is the seq, in the order of the candidates: RETURNING has no order.
fn read(rows: &[SqliteRow], candidates: &[Candidate]) -> Attempt<Vec<(i64, Attempt<Claim>)>> {
    let mut claimed: HashMap<i64, Row> = HashMap::with_capacity(rows.len());
    for row in rows {
        let mut row = fields(row)?;
        claimed.insert(row.integer(TASK_COLUMNS.len())?, row);
    }
    let claim =
        |Candidate { seq, ready_at, .. }: &Candidate| Some((*seq, claimed.remove(seq)?.claim(*ready_at)));
    Ok(candidates.iter().filter_map(claim).collect())
}

/// Makes a dead letter of a task that has just been claimed and cannot be read.
async fn bury(
    dialect: &SqliteDialect,
    connection: &mut SqliteConnection,
    now: Timestamp,
    seq: i64,
    unreadable: Failure,
) -> Attempt<()> {
    let error = unreadable.of_unreadable_task(format_args!("number {seq}"));
    let bury = Query::constant(&dialect.sql.bury).bind(now.timestamp_micros()).bind(seq).bind(error);
    let row = bury.fetch_one(&mut *connection).await.map_err(failure)?;
    let task_type = fields(&row)?.text(0)?;
    let total = Total { task_type, state: State::DeadLetter, delta: Delta { tasks: 1, busy_us: 0 } };
    dialect.add_totals(connection, &[total], Owner::Queue).await
}
