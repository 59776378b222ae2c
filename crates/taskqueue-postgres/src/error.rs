//! What the driver's errors mean: the only place that reads them. It knows no statement.

use std::borrow::Cow;

use sqlx::postgres::PgDatabaseError;
use taskqueue_core::ErrorKind;
use taskqueue_sql::Failure;

/// SQLSTATEs of transactions that others were in the way of: serialization failure, deadlock.
const CONTENTION: [&str; 2] = ["40001", "40P01"];
/// Of a lock that others held for longer than `lock_wait_timeout`. NOWAIT, which has the same, is in no statement.
const LOCK_TIMEOUT: &str = "55P03";
/// Of a server that takes no writes, as a replica does, or of a transaction that takes none.
const READ_ONLY: &str = "25006";
/// Of servers that are going away or starting; of a statement or transaction that took too long for
/// the server's settings or was cancelled by hand; of ranges and nodes of CockroachDB that do not answer; and of a commit whose
/// outcome is unknown, which is safe to repeat since ids and tokens are the client's.
const UNAVAILABLE: [&str; 10] =
    ["57P01", "57P02", "57P03", "57P05", "57014", "25P03", "25P04", "58C00", "58C01", "40003"];
/// The classes of lost connections, and of a server that is out of connections, memory or room on its disk.
const UNAVAILABLE_CLASSES: [&str; 2] = ["08", "53"];

/// Of tables, columns and schemas that are not there.
const NOT_MIGRATED: [&str; 3] = ["42P01", "42703", "3F000"];
const NO_TLS: &str = "no TLS connection to PostgreSQL";
const IN_FAILED_TRANSACTION: &str = "25P02";
/// Of a setting: unknown, a value that this system cannot have, reserved to others.
const REFUSED_SETTING: [&str; 3] = ["42704", "22023", "42501"];
const NO_SUCH_DATABASE: &str = "3D000";
/// Of prepared statements that are not there, or are there already: another session's.
const OF_OTHERS: [&str; 2] = ["26000", "42P05"];

/// Whether something with the same id or key is there already.
pub(crate) fn is_duplicate(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}

/// Whether a statement was refused because the transaction that is open has failed.
pub(crate) fn is_in_failed_transaction(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == IN_FAILED_TRANSACTION)
}

/// Whether a setting is not known, not possible on this system or not allowed.
pub(crate) fn is_refused_setting(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(|error| error.code())
        .is_some_and(|code| REFUSED_SETTING.contains(&code.as_ref()))
}

/// What an error while connecting at first means, when the settings may be wrong: then it is of no use to go on trying. The pool
/// does where nobody listens, until its time is up.
pub(crate) fn connect_failure(error: sqlx::Error) -> Failure {
    let for_good = |message: String, error: sqlx::Error| Failure::Database {
        kind: ErrorKind::Backend,
        message: message.into(),
        source: Some(error.into()),
    };
    let source = match error {
        sqlx::Error::PoolTimedOut => None,
        sqlx::Error::Io(ref io) if is_tls(io) => return for_good(format!("{NO_TLS}: {io}"), error),
        sqlx::Error::Tls(ref reason) => return for_good(format!("{NO_TLS}: {reason}"), error),
        // A server that cannot start one more process says so before it knows of TLS, by an error that the driver does not read.
        sqlx::Error::Protocol(ref said) if !said.contains("0x45") => {
            return for_good(
                "what answers at the host and port of the database URL is no PostgreSQL".to_owned(),
                error,
            );
        }
        sqlx::Error::Io(error) => Some(error.into()),
        other => return failure(other),
    };
    let message = "no PostgreSQL server answers at the host and port of the database URL".into();
    Failure::Database { kind: ErrorKind::Unavailable, message, source }
}

/// Makes a failure of what the driver said.
pub(crate) fn failure(error: sqlx::Error) -> Failure {
    let (kind, message): (ErrorKind, Cow<'static, str>) = match &error {
        sqlx::Error::Database(database) => return of_database(database.code().map(Cow::into_owned), error),
        sqlx::Error::PoolTimedOut => (ErrorKind::Unavailable, "no connection became free in time".into()),
        sqlx::Error::PoolClosed => (ErrorKind::QueueClosed, "task queue is closed".into()),
        sqlx::Error::Io(io) if is_tls(io) => (ErrorKind::Unavailable, format!("{NO_TLS}: {io}").into()),
        sqlx::Error::Tls(reason) => (ErrorKind::Unavailable, format!("{NO_TLS}: {reason}").into()),
        sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed | sqlx::Error::Protocol(_) => {
            (ErrorKind::Unavailable, "the connection to PostgreSQL was lost".into())
        }
        sqlx::Error::Configuration(_) => {
            return Failure::Database {
                kind: ErrorKind::InvalidInput,
                message: "the database URL is not valid; expected postgres://USER@HOST:PORT/DATABASE".into(),
                source: None,
            };
        }
        _ => (ErrorKind::Backend, "PostgreSQL's answer was not understood".into()),
    };
    Failure::Database { kind, message, source: Some(error.into()) }
}

/// Whether a handshake failed: the TLS library speaks through errors of this kind, and nothing else does.
fn is_tls(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::InvalidData
}

fn of_database(code: Option<String>, error: sqlx::Error) -> Failure {
    let code = code.unwrap_or_default();
    if CONTENTION.contains(&code.as_str()) {
        return Failure::Contention { source: Some(error.into()) };
    }
    if code == LOCK_TIMEOUT {
        return Failure::LockWait { source: error.into() };
    }
    let said = said(&error);
    let (kind, message) = match code.as_str() {
        NO_SUCH_DATABASE => (ErrorKind::DatabaseNotFound, said),
        state if NOT_MIGRATED.contains(&state) => {
            (ErrorKind::NotMigrated, format!("the queue's tables are not there: migrate first ({said})"))
        }
        state if OF_OTHERS.contains(&state) => {
            let cause = "a pooler in transaction mode gives this session's prepared statements to others";
            (
                ErrorKind::Backend,
                format!("{cause}: set PostgresConfig's pooler to what stands there ({said})"),
            )
        }
        READ_ONLY => (
            ErrorKind::Unavailable,
            format!("PostgreSQL takes no writes here, as a replica or where it is set read-only: {said}"),
        ),
        state if is_unavailable(state) => {
            (ErrorKind::Unavailable, format!("PostgreSQL cannot serve this now: {said}"))
        }
        _ => (ErrorKind::Backend, format!("PostgreSQL refused ({code}): {said}")),
    };
    Failure::Database { kind, message: message.into(), source: Some(error.into()) }
}

fn is_unavailable(state: &str) -> bool {
    UNAVAILABLE.contains(&state) || UNAVAILABLE_CLASSES.iter().any(|class| state.starts_with(class))
}

fn said(error: &sqlx::Error) -> String {
    let database = error.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    database.map_or_else(String::new, |error| error.message().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_that_the_server_ended_for_its_time_is_unavailable() {
        assert!(["25P03", "25P04"].into_iter().all(is_unavailable));
    }

    #[test]
    fn ranges_and_nodes_of_cockroach_that_do_not_answer_are_unavailable() {
        assert!(["58C00", "58C01"].into_iter().all(is_unavailable));
    }

    #[test]
    fn a_file_that_the_server_cannot_read_is_no_reason_to_try_again() {
        assert!(!is_unavailable("58030"));
    }
}
