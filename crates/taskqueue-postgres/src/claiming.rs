//! A claim from end to end: ahead of the cursors, and from the start of the index where that does not do. What its
//! statements are is `claim.rs`'s business, where the cursors stand is `cursor.rs`'s.

use std::sync::atomic::Ordering;
use std::time::Duration;

use sqlx::PgConnection;
use taskqueue_core::clock::micros;
use taskqueue_core::{Claim, LeaseToken, Shard, TaskType};
use taskqueue_sql::cursor::{AheadOf, Gap, LOOK_BACK, Look, Places, Scan};
use taskqueue_sql::{Attempt, Claiming, Failure, integer};
use tokio::time::Instant;

use crate::claim::Ahead;
use crate::claimed::{Reader, places_of, sort};
use crate::dialect::PostgresDialect;
use crate::error::failure;
use crate::moment::Moment;
use crate::query::Query;

/// Claims; answers in claim order.
pub(crate) async fn claim(
    dialect: &PostgresDialect,
    connection: &mut PgConnection,
    shard: Shard,
    claiming: &Claiming,
) -> Attempt<Vec<Claim>> {
    // An extra claim is made beside another one.
    let _turn = if claiming.is_extra { None } else { dialect.turns.take().await };
    let claimed = find(dialect, connection, shard, claiming).await?;
    if is_turned_away(claiming, &claimed) {
        dialect.turns.turned_away();
    } else if !claiming.is_extra && claimed.len() < claiming.limit {
        dialect.turns.reached_the_end();
    }
    Ok(claimed)
}

/// Claims nothing, by each statement that claims of one type are made with.
pub(crate) async fn claim_nothing(
    dialect: &PostgresDialect,
    connection: &mut PgConnection,
    claiming: &Claiming,
) -> Attempt<()> {
    everywhere(dialect, &mut *connection, Shard::FIRST, claiming).await?;
    if let Some(statements) = &dialect.literal().ahead {
        let start = Start { statements, places: &Places::new(), back: Duration::ZERO };
        from(dialect, connection, Shard::FIRST, claiming, start).await?;
    }
    Ok(())
}

async fn find(
    dialect: &PostgresDialect,
    connection: &mut PgConnection,
    shard: Shard,
    claiming: &Claiming,
) -> Attempt<Vec<Claim>> {
    let Some(ahead) = &dialect.literal().ahead else {
        let claimed = everywhere(dialect, &mut *connection, shard, claiming).await?;
        return with_behind_locked(dialect, connection, shard, claiming, claimed).await;
    };
    let (cursors, types, began) = (dialect.cursors(), &claiming.types, Instant::now());
    let Look::From(places) = cursors.look(shard, types, began, claiming.is_extra) else {
        return scan(dialect, connection, shard, claiming).await;
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
        return Ok(claimed);
    }
    let late = late(dialect, connection, shard, &rest(claiming, &claimed), start(back)).await;
    join(dialect, claimed, late)
}

/// Looks for what is not ahead of the cursors.
async fn late(
    dialect: &PostgresDialect,
    connection: &mut PgConnection,
    shard: Shard,
    claiming: &Claiming,
    start: Start<'_>,
) -> Attempt<Vec<Claim>> {
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
fn is_turned_away(claiming: &Claiming, claimed: &[Claim]) -> bool {
    claiming.is_extra && claimed.is_empty()
}

/// Whether more may be ready where it looked. Of several types what comes first is read and then locked, as far as no other claim
/// has locked it: less than was asked for need not be all there is.
fn is_cut_off(claiming: &Claiming, claimed: &[Claim]) -> bool {
    claimed.len() == claiming.limit || (claiming.types.len() > 1 && !claimed.is_empty())
}

/// What is left to claim after some was.
fn rest(claiming: &Claiming, claimed: &[Claim]) -> Claiming {
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
    mut claimed: Vec<Claim>,
    late: Attempt<Vec<Claim>>,
) -> Attempt<Vec<Claim>> {
    let failure = match late {
        Ok(late) => {
            claimed.extend(late);
            sort(&mut claimed);
            return Ok(claimed);
        }
        Err(failure) => failure,
    };
    // What was claimed ahead is committed by now, unless a transaction is open.
    if claimed.is_empty() || !dialect.runs_single_statements() {
        return Err(failure);
    }
    tracing::debug!(?failure, "a part of a claim failed");
    let late = if let Failure::Partly(late) = failure { late } else { Vec::new() };
    Err(Failure::Partly(Claim::merge(claimed, late).collect()))
}

/// Where a claim ahead of the cursors looks.
#[derive(Clone, Copy)]
struct Start<'a> {
    statements: &'a Ahead,
    places: &'a Places,
    /// How far back from now it looks besides.
    back: Duration,
}

/// Claims from the start of the index, and tells the cursors.
async fn scan(
    dialect: &PostgresDialect,
    connection: &mut PgConnection,
    shard: Shard,
    claiming: &Claiming,
) -> Attempt<Vec<Claim>> {
    let began = Instant::now();
    let claimed = everywhere(dialect, &mut *connection, shard, claiming).await?;
    if is_turned_away(claiming, &claimed) {
        return Ok(claimed);
    }
    let (places, number) = (places_of(&claimed), claimed.len());
    let (mut is_cut_off, ended) = (is_cut_off(claiming, &claimed), Instant::now());
    // The cursors hear of what is behind that it is there, not where: of other types there may be more before it.
    let claimed = with_behind_locked(dialect, connection, shard, claiming, claimed).await;
    is_cut_off |= claimed.as_ref().is_ok_and(|claimed| claimed.len() > number);
    let scan = Scan { claimed: &places, is_cut_off, began, ended };
    dialect.cursors().scanned(shard, &claiming.types, &scan);
    claimed
}

/// Adds to what a claim of several types found at the start of the index what is behind tasks that others have locked.
async fn with_behind_locked(
    dialect: &PostgresDialect,
    connection: &mut PgConnection,
    shard: Shard,
    claiming: &Claiming,
    claimed: Vec<Claim>,
) -> Attempt<Vec<Claim>> {
    if claiming.types.len() == 1 || claiming.is_extra || claimed.len() == claiming.limit {
        return Ok(claimed);
    }
    let more = behind_locked(dialect, connection, shard, &rest(claiming, &claimed)).await;
    join(dialect, claimed, more)
}

/// Claims type by type, if more is ready than a claim of several types reads before it locks: a claim of one type walks over
/// what is locked, for as long as others keep it. It begins with another type each time, so that none waits for ever behind one
/// that has enough.
async fn behind_locked(
    dialect: &PostgresDialect,
    connection: &mut PgConnection,
    shard: Shard,
    claiming: &Claiming,
) -> Attempt<Vec<Claim>> {
    let mut claimed = Vec::new();
    if !is_more_ready(dialect, &mut *connection, shard, claiming).await? {
        return Ok(claimed);
    }
    let first = dialect.looks_behind.fetch_add(1, Ordering::Relaxed) % claiming.types.len();
    let (last_types, first_types) = claiming.types.split_at(first);
    for task_type in first_types.iter().chain(last_types) {
        let of_type = Claiming { types: vec![task_type.clone()], ..rest(claiming, &claimed) };
        let more = everywhere(dialect, &mut *connection, shard, &of_type).await;
        claimed = join(dialect, claimed, more)?;
        if claimed.len() == claiming.limit {
            break;
        }
    }
    Ok(claimed)
}

async fn is_more_ready(
    dialect: &PostgresDialect,
    connection: &mut PgConnection,
    shard: Shard,
    claiming: &Claiming,
) -> Attempt<bool> {
    let query = dialect.query(&dialect.literal().is_more_ready).bind(names(&claiming.types));
    let query = query.bind(integer(claiming.limit)).bind(shard.number());
    Ok(query.fetch_optional(connection).await.map_err(failure)?.is_some())
}

fn names(types: &[TaskType]) -> Vec<&str> {
    types.iter().map(TaskType::as_str).collect()
}

async fn everywhere(
    dialect: &PostgresDialect,
    connection: &mut PgConnection,
    shard: Shard,
    claiming: &Claiming,
) -> Attempt<Vec<Claim>> {
    let query = match claiming.types.as_slice() {
        [task_type] => dialect.query(&dialect.literal().claim).bind(task_type.as_str()),
        types => dialect.query(dialect.literal().claim_many.serving(types.len())).bind(names(types)),
    };
    fetch(dialect, connection, shard, claiming, bind(dialect, query, shard, claiming)).await
}

async fn from(
    dialect: &PostgresDialect,
    connection: &mut PgConnection,
    shard: Shard,
    claiming: &Claiming,
    Start { statements, places, back }: Start<'_>,
) -> Attempt<Vec<Claim>> {
    let query = match claiming.types.as_slice() {
        [task_type] => dialect.query(&statements.claim).bind(task_type.as_str()),
        _ => {
            let types: Vec<&str> = places.keys().map(|(_, task_type)| task_type.as_str()).collect();
            dialect.query(statements.claim_many.serving(types.len())).bind(types)
        }
    };
    let query = bind(dialect, query, shard, claiming)
        .bind(places.keys().map(|(rank, _)| *rank).collect::<Vec<i64>>())
        .bind(places.values().copied().map(Moment).collect::<Vec<Moment>>())
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
) -> Attempt<Vec<Claim>> {
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

async fn fetch(
    dialect: &PostgresDialect,
    connection: &mut PgConnection,
    shard: Shard,
    claiming: &Claiming,
    query: Query<'_>,
) -> Attempt<Vec<Claim>> {
    let mut reader = Reader::new(claiming);
    let mut claimed = query.fetch_read(connection, |row| reader.read(row)).await?;
    if !claimed.is_empty() {
        dialect.unsettled().claimed(shard, claiming.token, claimed.len());
    }
    sort(&mut claimed);
    Ok(claimed)
}
