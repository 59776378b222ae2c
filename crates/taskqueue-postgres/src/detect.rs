//! What is at the other end: which server, which version, and whether a pooler stands in between. It owns the
//! questions and what their answers mean; it knows no queue.

use std::pin::pin;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{Connection as _, PgPool, Row};
use taskqueue_core::{Error, ErrorKind, Result};
use tokio::time::timeout;

use crate::config::{Engine, Pooler, PostgresConfig};
use crate::error::connect_failure;

/// The oldest PostgreSQL.
const POSTGRES_MIN: u32 = 14;
/// The oldest CockroachDB: before 24.1, READ COMMITTED was a preview, and up to 24.1.4 SKIP LOCKED with a LIMIT went
/// wrong under it (cockroachdb/cockroach#127718).
const COCKROACH_MIN: (u32, u32, u32) = (24, 1, 5);
/// The oldest one of the next release, in which that was mended later.
const COCKROACH_24_2_MIN: (u32, u32, u32) = (24, 2, 3);
/// How often the pooler is given the chance to show itself. Once is enough on an idle one.
const ROUNDS: usize = 3;
/// How long a server of one's own may take to say which process it is.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(1);
/// So long all answers together may take, however short the wait for a connection is to be: three late ones, and some thirty
/// round trips to a server that is far away.
const ANSWERS_TIME_MIN: Duration = Duration::from_secs(10);

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) engine: Engine,
    /// Never `Detect`.
    pub(crate) pooler: Pooler,
}

/// Asks the server what it is and seeks a pooler, as far as the settings do not say. A server that is still starting is
/// waited for as the queue's pool would.
pub(crate) async fn detect(config: &PostgresConfig) -> Result<Found> {
    if let (Some(engine), true) = (config.dialect, config.pooler != Pooler::Detect) {
        return Ok(Found { engine, pooler: config.pooler });
    }
    let pool = PgPoolOptions::new().max_connections(2).acquire_timeout(config.acquire_timeout);
    let options = PgConnectOptions::clone(&config.connect_options());
    let pool = pool.test_before_acquire(false).connect_lazy_with(options);
    let found = find(&pool, config).await;
    pool.close().await;
    found
}

async fn find(pool: &PgPool, config: &PostgresConfig) -> Result<Found> {
    let failed = |error| connect_failure(error).into_error("connect");
    // Not the pool's any more: it would wait for the answer to a question that was given up.
    let first = pool.acquire().await.map_err(failed)?.detach();
    let second = match config.pooler {
        Pooler::Detect => Some(pool.acquire().await.map_err(failed)?.detach()),
        _ => None,
    };
    let answers = timeout(config.acquire_timeout.max(ANSWERS_TIME_MIN), ask(first, second, config));
    answers.await.unwrap_or_else(|_| {
        let message = "the server of the database URL does not say in time what it is";
        Err(Error::new(ErrorKind::Unavailable, "connect", message).transient(true))
    })
}

async fn ask(
    mut first: PgConnection,
    mut second: Option<PgConnection>,
    config: &PostgresConfig,
) -> Result<Found> {
    let failed = |error| connect_failure(error).into_error("connect");
    let engine = match config.dialect {
        Some(engine) => engine,
        None => engine_of(&text(&mut first, "SELECT version()").await.map_err(failed)?)?,
    };
    let pooler = match &mut second {
        Some(second) => seek_pooler(&mut first, second).await.map_err(failed)?,
        None => config.pooler,
    };
    for connection in [Some(first), second].into_iter().flatten() {
        let _ = connection.close().await;
    }
    Ok(Found { engine, pooler })
}

/// Between transactions, a pooler in transaction mode gives a session's server process to another session. So one
/// session asks for its process, a second one begins a transaction, most likely on the process that just became free,
/// and the first one asks again: without such a pooler, each has its own process throughout. One that takes the process that has been
/// free for longest shows itself to a session that asks twice.
///
/// A pooler whose processes are all with second sessions, as when several queues are opened at once, lets the first ones wait,
/// each for another's transaction: these end when an answer is late. One that is late so often is taken for a pooler's; an
/// answer that was late says nothing of who is there, and only so many in time one after the other say that nobody is.
async fn seek_pooler(first: &mut PgConnection, second: &mut PgConnection) -> sqlx::Result<Pooler> {
    let (mut late, mut in_time) = (0, 0);
    while late < ROUNDS && in_time < ROUNDS {
        match round(first, second).await? {
            Round::Shared => return Ok(Pooler::Transaction),
            Round::Late => (late, in_time) = (late + 1, 0),
            Round::InTime => in_time += 1,
        }
    }
    Ok(if late == ROUNDS { Pooler::Transaction } else { Pooler::Direct })
}

/// What a pooler made of its chance.
enum Round {
    /// It gave away the process of a session.
    Shared,
    /// Nothing, and an answer was late.
    Late,
    /// Nothing.
    InTime,
}

async fn round(first: &mut PgConnection, second: &mut PgConnection) -> sqlx::Result<Round> {
    const PROCESS: &str = "SELECT pg_backend_pid()::text";
    let before = text(first, PROCESS).await?;
    if text(first, PROCESS).await? != before {
        return Ok(Round::Shared);
    }
    sqlx::raw_sql("BEGIN").execute(&mut *second).await?;
    let others = text(second, PROCESS).await?;
    let mut again = pin!(text(first, PROCESS));
    let in_time = timeout(ANSWER_TIME_MAX, &mut again).await;
    sqlx::raw_sql("ROLLBACK").execute(&mut *second).await?;
    let is_late = in_time.is_err();
    let after = match in_time {
        Ok(after) => after?,
        Err(_) => again.await?,
    };
    Ok(match others == before || after != before {
        true => Round::Shared,
        false if is_late => Round::Late,
        false => Round::InTime,
    })
}

/// The simple protocol: nothing is prepared.
async fn text(connection: &mut PgConnection, sql: &'static str) -> sqlx::Result<String> {
    sqlx::raw_sql(sql).fetch_one(connection).await?.try_get(0)
}

/// The engine of a `version()`, unless it is too old.
fn engine_of(version: &str) -> Result<Engine> {
    let refused = |message: String| Err(Error::new(ErrorKind::Backend, "connect", message));
    if let Some(version) = version.strip_prefix("PostgreSQL ") {
        return match leading_number(version) {
            Some(major) if major >= POSTGRES_MIN => Ok(Engine::Postgres),
            _ => refused(format!(
                "PostgreSQL {} is too old: from {POSTGRES_MIN} on it can be used",
                version.split_whitespace().next().unwrap_or_default()
            )),
        };
    }
    if version.starts_with("CockroachDB ") {
        let number = version.split_whitespace().find_map(cockroach_number);
        return match number {
            Some(number) if can_be_used(number) => Ok(Engine::Cockroach),
            Some((year, release, patch)) => refused(format!(
                "CockroachDB {year}.{release}.{patch} is too old: from 24.1.5 on it can be used, of 24.2 from 24.2.3 on"
            )),
            None => refused("the server says that it is CockroachDB, but not which version".to_owned()),
        };
    }
    let shown: String = version.chars().take(60).collect();
    refused(format!(
        "the server says that it is {shown:?}, which is not known; expected PostgreSQL or CockroachDB"
    ))
}

fn can_be_used(number: (u32, u32, u32)) -> bool {
    number >= COCKROACH_MIN && ((number.0, number.1) != (24, 2) || number >= COCKROACH_24_2_MIN)
}

/// Year, release and patch of a word like `v24.1.5`.
fn cockroach_number(word: &str) -> Option<(u32, u32, u32)> {
    let (year, rest) = word.strip_prefix('v')?.split_once('.')?;
    let (release, patch) = rest.split_once('.')?;
    Some((year.parse().ok()?, release.parse().ok()?, leading_number(patch)?))
}

fn leading_number(text: &str) -> Option<u32> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_version_that_can_be_used_is_known() {
        for version in [
            "PostgreSQL 14.0 on x86_64-pc-linux-gnu, compiled by gcc, 64-bit",
            "PostgreSQL 17.2 (Debian 17.2-1.pgdg120+1) on aarch64",
            "PostgreSQL 19devel on x86_64",
            "PostgreSQL 15.2-YB-2.25.0.0-b0 on x86_64",
        ] {
            assert_eq!(engine_of(version).expect(version), Engine::Postgres);
        }
        for version in [
            "CockroachDB CCL v24.1.5 (x86_64-pc-linux-gnu, built 2024/09/10 21:45:44, go1.22.5)",
            "CockroachDB CCL v24.2.3 (x86_64-pc-linux-gnu)",
            "CockroachDB CCL v24.3.0 (x86_64-pc-linux-gnu)",
            "CockroachDB OSS v25.3.0-alpha.1 (aarch64-unknown-linux-gnu)",
        ] {
            assert_eq!(engine_of(version).expect(version), Engine::Cockroach);
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name() {
        for (version, expected) in [
            ("PostgreSQL 13.18 on x86_64", "PostgreSQL 13.18 is too old"),
            ("PostgreSQL 8.0.2 on i686, Redshift 1.0", "PostgreSQL 8.0.2 is too old"),
            (
                "CockroachDB CCL v23.2.12 (x86_64-pc-linux-gnu, built 2024/09/10)",
                "CockroachDB 23.2.12 is too old",
            ),
            ("CockroachDB CCL v24.1.4 (x86_64-pc-linux-gnu)", "CockroachDB 24.1.4 is too old"),
            ("CockroachDB CCL v24.2.2 (x86_64-pc-linux-gnu)", "CockroachDB 24.2.2 is too old"),
            ("CockroachDB CCL (x86_64-pc-linux-gnu)", "not which version"),
            ("MaterializeDB 1", "MaterializeDB"),
        ] {
            let error = engine_of(version).expect_err(version);
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
