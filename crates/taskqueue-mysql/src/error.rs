//! What the driver's errors mean: the only place that reads them. It knows no statement.

use std::borrow::Cow;

use sqlx::mysql::MySqlDatabaseError;
use taskqueue_core::ErrorKind;
use taskqueue_sql::{Attempt, Failure};

/// Deadlock, lock wait timeout, a row that changed since it was read (MariaDB), a conflict seen at the commit (Group
/// Replication). The numbers, because the driver's code is the SQLSTATE, which is too coarse.
const CONTENTION: [u16; 4] = [1213, 1205, 1020, 3101];
/// Too many connections, a server that shuts down or is not ready (Galera), broken connections, killed connections, a
/// server or a transaction that became read-only after a failover.
const UNAVAILABLE: [u16; 11] = [1040, 1047, 1053, 1158, 1159, 1160, 1161, 1290, 1792, 1836, 1927];
/// No such table, no such column.
const NOT_MIGRATED: [u16; 2] = [1146, 1054];
const NO_SUCH_DATABASE: u16 = 1049;
const DUPLICATE_KEY: u16 = 1062;

/// The same for an error while connecting. The pool goes on trying where nobody listens, until its time is up.
pub(crate) fn connect_failure(error: sqlx::Error) -> Failure {
    let source = match error {
        sqlx::Error::PoolTimedOut => None,
        sqlx::Error::Io(error) => Some(error.into()),
        other => return failure(other),
    };
    let message = "no server answers at the host and port of the database URL".into();
    Failure::Database { kind: ErrorKind::Unavailable, message, source }
}

/// Makes a failure of what the driver said.
pub(crate) fn failure(error: sqlx::Error) -> Failure {
    let (kind, message): (ErrorKind, Cow<'static, str>) = match &error {
        sqlx::Error::Database(_) => return of_database(error),
        sqlx::Error::PoolTimedOut => (ErrorKind::Unavailable, "no connection became free in time".into()),
        sqlx::Error::PoolClosed => (ErrorKind::QueueClosed, "task queue is closed".into()),
        sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed | sqlx::Error::Protocol(_) => {
            (ErrorKind::Unavailable, "the connection to the database was lost".into())
        }
        sqlx::Error::Tls(_) => (ErrorKind::Unavailable, "no encrypted connection to the database".into()),
        // The source is left out: it can repeat the URL.
        sqlx::Error::Configuration(_) => {
            let message = "the database URL is not valid; expected mysql://USER@HOST:PORT/DATABASE".into();
            return Failure::Database { kind: ErrorKind::InvalidInput, message, source: None };
        }
        _ => (ErrorKind::Backend, "the database's answer was not understood".into()),
    };
    Failure::Database { kind, message, source: Some(error.into()) }
}

/// Whether a row collided with a key: its id, or a held unique key.
pub(crate) fn is_duplicate(error: &sqlx::Error) -> bool {
    number(error) == DUPLICATE_KEY
}

/// What was read in this transaction was changed by somebody else if fewer rows matched: repeat it.
pub(crate) fn changed(rows: u64, expected: usize) -> Attempt<()> {
    if rows == expected as u64 { Ok(()) } else { Err(Failure::Contention { source: None }) }
}

fn of_database(error: sqlx::Error) -> Failure {
    let number = number(&error);
    if CONTENTION.contains(&number) {
        return Failure::Contention { source: Some(error.into()) };
    }
    let said = error.as_database_error().map_or_else(String::new, |error| error.message().to_owned());
    let (kind, message) = match number {
        NO_SUCH_DATABASE => (ErrorKind::DatabaseNotFound, said),
        number if NOT_MIGRATED.contains(&number) => {
            (ErrorKind::NotMigrated, format!("the queue's tables are not there: migrate first ({said})"))
        }
        number if UNAVAILABLE.contains(&number) => {
            (ErrorKind::Unavailable, format!("the database cannot serve this now: {said}"))
        }
        _ => (ErrorKind::Backend, format!("the database refused ({number}): {said}")),
    };
    Failure::Database { kind, message: message.into(), source: Some(error.into()) }
}

fn number(error: &sqlx::Error) -> u16 {
    let database = error.as_database_error().and_then(|error| error.try_downcast_ref::<MySqlDatabaseError>());
    database.map_or(0, MySqlDatabaseError::number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_connection_can_be_tried_again() {
        let error = failure(sqlx::Error::WorkerCrashed).into_error("enqueue");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.is_transient());
    }

    #[test]
    fn a_closed_pool_is_a_closed_queue() {
        let error = failure(sqlx::Error::PoolClosed).into_error("get");
        assert_eq!(error.kind(), ErrorKind::QueueClosed);
    }

    #[test]
    fn a_malformed_url_is_not_repeated() {
        let error = failure(sqlx::Error::Configuration("mysql://ada:secret@".into())).into_error("connect");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    }
}
