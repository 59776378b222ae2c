//! A shelf of databases that tests take in turn, each with a clock that stands still until it is moved. It knows no
//! queue.
//!
//! A server makes a database in a second, and a suite takes hundreds: so they stay on the server, named after the
//! schema that is in them, and whoever takes one empties it first. Whose turn it is, a lock in the database says;
//! it ends with its connection, so that no process that died keeps one. The next run finds them again.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection};
use taskqueue_migrations::POSTGRES;
use taskqueue_postgres::Timestamp;

use crate::support::{direct, execute, say, server};

/// The databases that this process holds, by their places on the shelf.
static HELD: Mutex<BTreeSet<usize>> = Mutex::new(BTreeSet::new());

/// What a new database gets. `search_path` is set on the database, so that it also holds behind a pooler, which
/// passes no start-up options on. What these tests commit need not survive a crash of the server.
const SET_UP: &str = "CREATE SCHEMA manual; CREATE TABLE manual.clock (at timestamptz NOT NULL); \
     INSERT INTO manual.clock VALUES (now()); \
     CREATE FUNCTION manual.now() RETURNS timestamptz LANGUAGE sql STABLE AS $$ SELECT at FROM manual.clock $$; \
     ALTER DATABASE {name} SET search_path = manual, pg_catalog, public; \
     ALTER DATABASE {name} SET synchronous_commit = off";

/// Ends what the last holder's calls still do. A session that is idle has nothing left to do.
const END_OTHERS: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
     WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend' \
     AND state IS DISTINCT FROM 'idle'";

/// Tables are truncated: rows of equal times go by their place in the table, and the places of deleted rows are used
/// again in any order.
const EMPTY: &str = "DO $$ DECLARE names text; BEGIN \
     SELECT string_agg(format('manual.%I', tablename), ', ') INTO names FROM pg_tables \
     WHERE schemaname = 'manual' AND tablename <> 'clock' AND tablename NOT LIKE '%\\_migrations'; \
     IF names IS NOT NULL THEN EXECUTE 'TRUNCATE ' || names; END IF; \
     UPDATE manual.clock SET at = '2026-01-01T00:00:00Z'; END $$";

/// A database of the shelf, empty but for its schema, and nobody else's until it is dropped.
pub(crate) struct Database {
    place: Place,
    /// Holds the lock. Also moves the clock.
    session: tokio::sync::Mutex<PgConnection>,
}

impl Database {
    /// Takes the first that is free, and makes one where none is.
    pub(crate) async fn take() -> Self {
        loop {
            let place = Place::next();
            if let Some(mut session) = lock(&place.name()).await {
                make_ready(&mut session, &place.name()).await.expect("the database can be emptied");
                return Self { place, session: tokio::sync::Mutex::new(session) };
            }
            place.pass();
        }
    }

    /// Where a queue finds it.
    pub(crate) fn options(&self) -> PgConnectOptions {
        server().database(&self.place.name())
    }

    /// What its clock shows. Asked directly: a pooler parts a statement that is prepared from its execution.
    pub(crate) async fn now(&self) -> Timestamp {
        let now = sqlx::query_scalar("SELECT at FROM manual.clock");
        now.fetch_one(&mut *self.session.lock().await).await.expect("the server answers")
    }

    /// Moves its clock forward.
    pub(crate) async fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_micros()).expect("tests advance by hours");
        let moved = format!("UPDATE manual.clock SET at = at + {by} * interval '1 microsecond'");
        say(&mut *self.session.lock().await, moved).await.expect("the server answers");
    }
}

/// A place on the shelf, which this process holds until the value is dropped.
struct Place(Option<usize>);

impl Place {
    fn next() -> Self {
        let mut held = HELD.lock().expect("no holder panics");
        let free = (0..).find(|place| !held.contains(place)).expect("there are enough numbers");
        held.insert(free);
        Self(Some(free))
    }

    fn name(&self) -> String {
        let mut schema = DefaultHasher::new();
        SET_UP.hash(&mut schema);
        POSTGRES.iter().for_each(|migration| migration.sql("tasks").hash(&mut schema));
        let place = self.0.expect("it is held");
        format!("taskqueue_test_{:016x}_{place}", schema.finish())
    }

    /// Leaves it to another process, for as long as this one runs.
    fn pass(mut self) {
        self.0 = None;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(place) = self.0 {
            HELD.lock().expect("no holder panics").remove(&place);
        }
    }
}

/// A session that holds the lock of the database, which is made if it is not there; `None` when another process
/// holds it. The wait is for a session of this process that is just ending.
async fn lock(name: &str) -> Option<PgConnection> {
    let options = direct().database(name);
    let mut session = match options.connect().await {
        Err(error) if has_code(&error, "3D000") => {
            match execute(&direct(), format!("CREATE DATABASE {name}")).await {
                Err(error) if has_code(&error, "42P04") || has_code(&error, "23505") => {}
                made => made.expect("the server makes a database"),
            }
            options.connect().await.expect("the database was made")
        }
        session => session.expect("the server answers"),
    };
    let held = "SET lock_timeout = '2s'; SELECT pg_advisory_lock(7881)";
    match say(&mut session, held.to_owned()).await {
        // Who got it first has ended this session among others.
        Err(error) if has_code(&error, "55P03") || has_code(&error, "57P01") => None,
        held => held.map(|()| Some(session)).expect("the server answers"),
    }
}

async fn make_ready(session: &mut PgConnection, name: &str) -> sqlx::Result<()> {
    let is_set_up = sqlx::query_scalar("SELECT to_regclass('manual.clock') IS NOT NULL");
    if !is_set_up.fetch_one(&mut *session).await? {
        say(session, SET_UP.replace("{name}", name)).await?;
    }
    while sqlx::query_scalar::<_, i64>(AssertSqlSafe(END_OTHERS)).fetch_one(&mut *session).await? > 0 {
        tokio::task::yield_now().await;
    }
    say(session, EMPTY.to_owned()).await
}

fn has_code(error: &sqlx::Error, code: &str) -> bool {
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some(code))
}
