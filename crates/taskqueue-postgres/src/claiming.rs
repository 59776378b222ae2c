//! A claim from end to end: ahead of the cursors, and from the start of the index where that does not do. What its
//! statements are is `claim.rs`'s business, where the cursors stand is `cursor.rs`'s.

use std::time::Duration;

use sqlx::postgres::PgRow;
use sqlx::{Decode, PgConnection, Postgres, Row as _, Type};
use taskqueue_core::{
    Claim, Lease, LeaseToken, Priority, RawPayload, Shard, Status, Task, TaskId, TaskType, Timestamp, clock,
};
use taskqueue_sql::{Attempt, Claiming, Failure, read_metadata};
use tokio::time::Instant;
use uuid::Uuid;

use crate::arguments::{integer, micros};
use crate::claim::Ahead;
use crate::dialect::PostgresDialect;
use crate::error::failure;
use crate::query::Query;
use taskqueue_sql::cursor::{AheadOf, Gap, LOOK_BACK, Look, Places, Scan};

/// Claims; answers in claim order.
pub(crate) async fn claim(
    dialect: &PostgresDialect,
    connection: &mut PgConnection,
    shard: Shard,
    claiming: &Claiming,
) -> Attempt<Vec<Claim>> {
    let Some(ahead) = &dialect.literal().ahead else {
        return Ok(claims(everywhere(dialect, connection, shard, claiming).await?));
    };
    let (cursors, types, began) = (dialect.cursors(), &claiming.types, Instant::now());
    let Look::From(places) = cursors.look(shard, types, began, claiming.is_extra) else {
        return Ok(claims(scan(dialect, connection, shard, claiming).await?));
    };
    let start = |back| Start { statements: ahead, places: &places, back };
    let back = if claiming.is_extra { Duration::ZERO } else { cursors.look_back(shard, types, began) };
    let claimed = from(dialect, &mut *connection, shard, claiming, start(back)).await?;
    if is_turned_away(claiming, &claimed) {
        return Ok(Vec::new());
    }
    let is_enough = claimed.len() == claiming.limit;
    let look_back_took = (!back.is_zero()).then(|| began.elapsed());
    cursors.advance(shard, types, &AheadOf { claimed: &places_of(&claimed), is_enough, look_back_took });
    if is_enough || claiming.is_extra {
        return Ok(claims(claimed));
    }
    let late = late(dialect, connection, shard, &rest(claiming, &claimed), start(back)).await;
    join(dialect, claimed, late).map(claims)
}

/// Looks for what is not ahead of the cursors.
async fn late(
    dialect: &PostgresDialect,
    connection: &mut PgConnection,
    shard: Shard,
    claiming: &Claiming,
    start: Start<'_>,
) -> Attempt<Vec<Claimed>> {
    let (cursors, types) = (dialect.cursors(), &claiming.types);
    if cursors.may_scan(shard, types, Instant::now()) {
        return scan(dialect, connection, shard, claiming).await;
    }
    let late = if start.back.is_zero() {
        from(dialect, &mut *connection, shard, claiming, Start { back: LOOK_BACK, ..start }).await?
    } else {
        Vec::new()
    };
    let gaps = cursors.gaps(shard, types);
    if gaps.is_empty() || late.len() == claiming.limit {
        return Ok(late);
    }
    let found = between(dialect, connection, shard, &rest(claiming, &late), (start.statements, &gaps)).await;
    join(dialect, late, found)
}

/// Whether it may not have looked at all: then it says nothing of where ready tasks are.
fn is_turned_away(claiming: &Claiming, claimed: &[Claimed]) -> bool {
    claiming.is_extra && claimed.is_empty()
}

/// Whether more may be ready where it looked. Of several types what comes first is read and then locked, as far as no other claim
/// has locked it: less than was asked for need not be all there is.
fn is_cut_off(claiming: &Claiming, claimed: &[Claimed]) -> bool {
    claimed.len() == claiming.limit || (claiming.types.len() > 1 && !claimed.is_empty())
}

/// What is left to claim after some was.
fn rest(claiming: &Claiming, claimed: &[Claimed]) -> Claiming {
    Claiming {
        limit: claiming.limit - claimed.len(),
        // A token is one claim's: its row among the leases names the tasks once for all.
        token: if claimed.is_empty() { claiming.token } else { LeaseToken::generate() },
        ..claiming.clone()
    }
}

/// Adds what a second statement claimed.
fn join(
    dialect: &PostgresDialect,
    mut claimed: Vec<Claimed>,
    late: Attempt<Vec<Claimed>>,
) -> Attempt<Vec<Claimed>> {
    match late {
        Ok(late) => claimed.extend(late),
        // What was claimed ahead is committed by now.
        Err(_) if !claimed.is_empty() && dialect.is_read_committed() => {}
        Err(failure) => return Err(failure),
    }
    sort(&mut claimed);
    Ok(claimed)
}

/// Where a claim ahead of the cursors looks.
#[derive(Clone, Copy)]
struct Start<'a> {
    statements: &'a Ahead,
    places: &'a Places,
    /// How far back from now it looks besides.
    back: Duration,
}

/// A claim, and when its task became ready.
struct Claimed {
    claim: Claim,
    at: Timestamp,
}

fn claims(claimed: Vec<Claimed>) -> Vec<Claim> {
    claimed.into_iter().map(|claimed| claimed.claim).collect()
}

/// The last place of each kind.
fn places_of(claimed: &[Claimed]) -> Places {
    let mut places = Places::new();
    for Claimed { claim: Claim { task, .. }, at } in claimed {
        let place = places.entry((-i64::from(task.priority.0), task.task_type.clone())).or_insert(*at);
        *place = (*at).max(*place);
    }
    places
}

/// Claims from the start of the index, and tells the cursors.
async fn scan(
    dialect: &PostgresDialect,
    connection: &mut PgConnection,
    shard: Shard,
    claiming: &Claiming,
) -> Attempt<Vec<Claimed>> {
    let began = Instant::now();
    let claimed = everywhere(dialect, connection, shard, claiming).await?;
    if is_turned_away(claiming, &claimed) {
        return Ok(claimed);
    }
    let scan = Scan {
        claimed: &places_of(&claimed),
        is_cut_off: is_cut_off(claiming, &claimed),
        began,
        ended: Instant::now(),
    };
    dialect.cursors().scanned(shard, &claiming.types, &scan);
    Ok(claimed)
}

async fn everywhere(
    dialect: &PostgresDialect,
    connection: &mut PgConnection,
    shard: Shard,
    claiming: &Claiming,
) -> Attempt<Vec<Claimed>> {
    let query = match claiming.types.as_slice() {
        [task_type] => dialect.query(&dialect.literal().claim).bind(task_type.as_str()),
        types => {
            let types: Vec<&str> = types.iter().map(TaskType::as_str).collect();
            dialect.query(dialect.literal().claim_many.serving(types.len())).bind(types)
        }
    };
    fetch(dialect, connection, shard, claiming, bind(dialect, query, shard, claiming)).await
}

async fn from(
    dialect: &PostgresDialect,
    connection: &mut PgConnection,
    shard: Shard,
    claiming: &Claiming,
    Start { statements, places, back }: Start<'_>,
) -> Attempt<Vec<Claimed>> {
    let query = match claiming.types.as_slice() {
        [task_type] => dialect.query(&statements.claim).bind(task_type.as_str()),
        _ => {
            let types: Vec<&str> = places.keys().map(|(_, task_type)| task_type.as_str()).collect();
            dialect.query(statements.claim_many.serving(types.len())).bind(types)
        }
    };
    let query = bind(dialect, query, shard, claiming)
        .bind(places.keys().map(|(rank, _)| *rank).collect::<Vec<i64>>())
        .bind(places.values().copied().collect::<Vec<Timestamp>>())
        .bind(micros(back));
    fetch(dialect, connection, shard, claiming, query).await
}

/// Claims in the gaps, and tells the cursors.
async fn between(
    dialect: &PostgresDialect,
    connection: &mut PgConnection,
    shard: Shard,
    claiming: &Claiming,
    (statements, gaps): (&Ahead, &[Gap]),
) -> Attempt<Vec<Claimed>> {
    let query = dialect.query(&statements.claim_gaps);
    let query = query.bind(gaps.iter().map(|gap| gap.task_type.as_str()).collect::<Vec<&str>>());
    let query = bind(dialect, query, shard, claiming)
        .bind(gaps.iter().map(|gap| gap.above).collect::<Vec<i64>>())
        .bind(gaps.iter().map(|gap| gap.below).collect::<Vec<i64>>());
    let claimed = fetch(dialect, connection, shard, claiming, query).await?;
    let is_cut_off = is_cut_off(claiming, &claimed);
    dialect.cursors().filled(shard, &claiming.types, &places_of(&claimed), is_cut_off);
    Ok(claimed)
}

fn bind<'q>(dialect: &PostgresDialect, query: Query<'q>, shard: Shard, claiming: &Claiming) -> Query<'q> {
    let query = query
        .bind(claiming.token.get())
        .bind(claiming.worker_id.as_str().to_owned())
        .bind(integer(claiming.limit))
        .bind(micros(claiming.visibility_timeout))
        .bind(shard.number());
    if dialect.literal().takes_extra_claims { query.bind(claiming.is_extra) } else { query }
}

/// Into claim order. The server would sort whole rows, and after it has locked and changed them.
fn sort(claimed: &mut [Claimed]) {
    claimed.sort_by_key(|claimed| (-i64::from(claimed.claim.task.priority.0), claimed.at));
}

async fn fetch(
    dialect: &PostgresDialect,
    connection: &mut PgConnection,
    shard: Shard,
    claiming: &Claiming,
    query: Query<'_>,
) -> Attempt<Vec<Claimed>> {
    let rows = query.fetch_all(connection).await.map_err(failure)?;
    let Some(first) = rows.first() else { return Ok(Vec::new()) };
    dialect.unsettled().claimed(shard, claiming.token, rows.len());
    let claimed_at = get(first, CLAIMED_AT)?;
    let times = (claimed_at, clock::add(claimed_at, claiming.visibility_timeout));
    let mut claimed = rows.iter().map(|row| read(row, claiming, times)).collect::<Attempt<Vec<Claimed>>>()?;
    sort(&mut claimed);
    Ok(claimed)
}

/// The place of the time of the claim in a row: one moment in all rows of one statement.
const CLAIMED_AT: usize = 5;

/// Reads a row of `CLAIMED`, of a claim made and ending at these times. What the claim itself has set is not sent back.
fn read(row: &PgRow, claiming: &Claiming, (claimed_at, until): (Timestamp, Timestamp)) -> Attempt<Claimed> {
    let id = TaskId::from(get::<Uuid>(row, 0)?);
    let name: &str = get(row, 1)?;
    let task_type = match claiming.types.iter().find(|known| known.as_str() == name) {
        Some(known) => known.clone(),
        None => return Err(Failure::malformed(format!("the task {id} was claimed with its type {name:?}"))),
    };
    let task = Task {
        id,
        task_type,
        status: Status::Running,
        priority: Priority(get(row, 2)?),
        payload: RawPayload::from_stored(get::<&str>(row, 3)?),
        scheduled_at: get(row, 4)?,
        started_at: Some(claimed_at),
        completed_at: None,
        attempts: count(row, 6)?,
        max_retries: count(row, 7)?,
        retry_after: None,
        last_error: get(row, 8)?,
        created_at: get(row, 9)?,
        updated_at: claimed_at,
        region: get(row, 10)?,
        worker_id: Some(claiming.worker_id.clone()),
        unique_key: get(row, 11)?,
        reclaims: count(row, 12)?,
        metadata: read_metadata(get(row, 13)?)?,
    };
    let lease = Lease {
        task_id: id,
        task_type: task.task_type.clone(),
        token: claiming.token,
        number: get(row, 14)?,
        attempt: task.attempts,
        max_retries: task.max_retries,
        claimed_at,
        until,
    };
    Ok(Claimed { claim: Claim { task, lease }, at: get(row, 15)? })
}

fn get<'r, T: Decode<'r, Postgres> + Type<Postgres>>(row: &'r PgRow, place: usize) -> Attempt<T> {
    row.try_get(place).map_err(failure)
}

fn count(row: &PgRow, place: usize) -> Attempt<u32> {
    let number: i32 = get(row, place)?;
    u32::try_from(number)
        .map_err(|_| Failure::malformed(format!("a task was claimed with the count {number}")))
}
