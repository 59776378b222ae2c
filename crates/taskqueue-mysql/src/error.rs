//! What the driver's errors mean: the only place that reads them. It knows no statement.

use std::borrow::Cow;
use std::io;
use std::path::Path;

use sqlx::mysql::MySqlDatabaseError;
use taskqueue_core::ErrorKind;
use taskqueue_sql::Failure;

use crate::engine::Engine;

/// Deadlock, a row that changed since it was read (MariaDB), a conflict seen at the commit (Group Replication). The numbers,
/// because the driver's code is the SQLSTATE, which is too coarse.
const CONTENTION: [u16; 3] = [1213, 1020, 3101];
const LOCK_WAIT_TIMEOUT: u16 = 1205;
/// Of a server that cannot serve for now: too many connections (of all, of the user, of the user in an hour), too many
/// transactions, a statement that was killed or took too long (MySQL, MariaDB); out of prepared statements, of room on its
/// disk (two), of memory (three) or of room for locks; a statement that must be prepared anew.
const BUSY: [u16; 15] =
    [1040, 1203, 1226, 1637, 1317, 3024, 1969, 1461, 1021, 1114, 1037, 1038, 1041, 1206, 1615];
/// An error of the storage engine, whose own number stands in the text only.
const STORAGE: u16 = 1030;
/// How that text begins when the disk is full: the system's number for it is the same on all that the servers run on.
const DISK_FULL: &str = "Got error 28 ";
/// Of a connection that is of no further use: the server is not ready (Galera), goes down, is offline; the connection
/// broke, was killed, was idle for too long; the server became read-only after a failover, by its settings, by its
/// storage or by its group (Group Replication); a commit went wrong, as on a node that loses its majority meanwhile (Galera).
const GONE: [u16; 16] =
    [1047, 1053, 1077, 1158, 1159, 1160, 1161, 1180, 1927, 3032, 3168, 4031, 1290, 1836, 1874, 3100];
/// Of Vitess while a shard has no primary: vtgate has no number of its own for that, and vttablet passes on what the client
/// library says of its connection to MySQL.
const REPARENTING: [u16; 5] = [1105, 2002, 2003, 2006, 2013];
/// The session or the transaction is read-only.
const READ_ONLY_TRANSACTION: u16 = 1792;
/// The isolation level cannot be set inside a transaction: somebody left one open on this connection.
const INSIDE_TRANSACTION: u16 = 1568;
/// No such table, no such column.
const NOT_MIGRATED: [u16; 2] = [1146, 1054];
const NO_SUCH_DATABASE: u16 = 1049;
const DUPLICATE_KEY: u16 = 1062;
/// A statement is larger than `max_allowed_packet`. The server closes the connection.
const PACKET_TOO_LARGE: u16 = 1153;
/// A statement that this server, or its mode, does not have (MariaDB's Galera, Percona XtraDB Cluster).
const NOT_SUPPORTED: [u16; 2] = [1235, 1105];
/// What a file is that cannot be opened.
const FILE: &str = "a file that the database URL names (socket, ssl-ca, ssl-cert, ssl-key)";

/// The same for an error while connecting at first, when the settings may be wrong. The pool goes on trying where nobody
/// listens, until its time is up; where the socket is missing it gives up at once.
pub(crate) fn connect_failure(error: sqlx::Error, socket: Option<&Path>) -> Failure {
    let is_missing = socket.is_some_and(|socket| matches!(socket.try_exists(), Ok(false)));
    let source = match error {
        sqlx::Error::PoolTimedOut => None,
        sqlx::Error::Io(error) if is_of_file(&error) && !is_missing => {
            let message = format!("{FILE} cannot be opened").into();
            return Failure::Database { kind: ErrorKind::Backend, message, source: Some(error.into()) };
        }
        sqlx::Error::Io(error) if error.kind() != io::ErrorKind::InvalidData => Some(error.into()),
        other => return failure(other),
    };
    let message = match socket {
        Some(_) => "no server answers at the socket of the database URL",
        None => "no server answers at the host and port of the database URL",
    };
    Failure::Database { kind: ErrorKind::Unavailable, message: message.into(), source }
}

/// What the engine means by an error: on Vitess some are of a connection that broke behind it. Then nobody knows whether
/// the statement, or a commit, was done, and the transaction is gone.
pub(crate) fn of_engine(engine: Engine, error: sqlx::Error) -> sqlx::Error {
    match engine {
        Engine::Vitess if REPARENTING.contains(&number(&error)) => sqlx::Error::Io(io::Error::other(error)),
        _ => error,
    }
}

/// Makes a failure of what the driver said.
pub(crate) fn failure(error: sqlx::Error) -> Failure {
    let (kind, message): (ErrorKind, Cow<'static, str>) = match &error {
        sqlx::Error::Database(_) => return of_database(error),
        sqlx::Error::PoolTimedOut => (
            ErrorKind::Unavailable,
            "no connection could be had in time: the server does not answer, or all are in use".into(),
        ),
        sqlx::Error::PoolClosed => (ErrorKind::QueueClosed, "task queue is closed".into()),
        sqlx::Error::Io(error) => of_connection(error),
        sqlx::Error::WorkerCrashed | sqlx::Error::Protocol(_) => {
            (ErrorKind::Unavailable, "the connection to the database was lost".into())
        }
        sqlx::Error::Tls(said) => (
            ErrorKind::Backend,
            format!("no encrypted connection to the database, as ssl-mode and ssl-ca ask for: {said}").into(),
        ),
        // The source is left out: it can repeat the URL.
        sqlx::Error::Configuration(_) => {
            let message = "the database URL is not valid; expected mysql://USER@HOST:PORT/DATABASE".into();
            return Failure::Database { kind: ErrorKind::InvalidInput, message, source: None };
        }
        _ => (ErrorKind::Backend, "the database's answer was not understood".into()),
    };
    Failure::Database { kind, message, source: Some(error.into()) }
}

/// An input or output error. The TLS library reports a certificate that it refuses as invalid data. A file that is missing
/// was there when the queue connected: a server that shuts down removes its socket, and makes it again when it is back.
fn of_connection(error: &io::Error) -> (ErrorKind, Cow<'static, str>) {
    match error.kind() {
        io::ErrorKind::InvalidData => {
            let message = format!(
                "the database's certificate was refused ({error}); ssl-mode says what is checked, ssl-ca whose \
                 certificates are taken"
            );
            (ErrorKind::Backend, message.into())
        }
        _ if is_of_file(error) => (ErrorKind::Unavailable, format!("{FILE} cannot be opened now").into()),
        // What `of_engine` has wrapped.
        _ if error.get_ref().is_some_and(|said| said.is::<sqlx::Error>()) => {
            (ErrorKind::Unavailable, format!("the database cannot serve this now: {error}").into())
        }
        _ => (ErrorKind::Unavailable, "the connection to the database was lost".into()),
    }
}

/// Whether a file could not be opened: nothing that a network says.
fn is_of_file(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
}

/// Whether a row collided with a key: its id, or a held unique key.
pub(crate) fn is_duplicate(error: &sqlx::Error) -> bool {
    number(error) == DUPLICATE_KEY
}

/// Whether the server has nothing of what the statement asks for.
pub(crate) fn is_not_supported(error: &sqlx::Error) -> bool {
    NOT_SUPPORTED.contains(&number(error))
}

/// Whether the connection is of no further use, for whatever reason: it is to be closed.
pub(crate) fn is_unfit(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(_) => {
            let number = number(error);
            let ends = [INSIDE_TRANSACTION, READ_ONLY_TRANSACTION, PACKET_TOO_LARGE];
            GONE.contains(&number) || ends.contains(&number)
        }
        sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed | sqlx::Error::Protocol(_) => true,
        _ => false,
    }
}

/// Whether the answer was not there in time.
pub(crate) fn is_late(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(error) if error.kind() == io::ErrorKind::TimedOut)
}

fn of_database(error: sqlx::Error) -> Failure {
    let number = number(&error);
    if CONTENTION.contains(&number) {
        return Failure::Contention { source: Some(error.into()) };
    }
    if number == LOCK_WAIT_TIMEOUT {
        return Failure::LockWait { source: error.into() };
    }
    let said = error.as_database_error().map_or_else(String::new, |error| error.message().to_owned());
    let (kind, message) = match number {
        NO_SUCH_DATABASE => (ErrorKind::DatabaseNotFound, said),
        number if NOT_MIGRATED.contains(&number) => {
            (ErrorKind::NotMigrated, format!("the queue's tables are not there: migrate first ({said})"))
        }
        PACKET_TOO_LARGE => {
            (ErrorKind::InvalidPayload, format!("the task is larger than the server takes ({said})"))
        }
        number if is_passing(number, &said) => {
            (ErrorKind::Unavailable, format!("the database cannot serve this now ({number}): {said}"))
        }
        _ => (ErrorKind::Backend, format!("the database refused ({number}): {said}")),
    };
    Failure::Database { kind, message: message.into(), source: Some(error.into()) }
}

/// Whether the same can succeed later, with nothing but the server changed.
fn is_passing(number: u16, said: &str) -> bool {
    BUSY.contains(&number)
        || GONE.contains(&number)
        || number == READ_ONLY_TRANSACTION
        || (number == STORAGE && said.starts_with(DISK_FULL))
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
    fn a_socket_that_is_gone_is_a_server_that_is_and_can_be_tried_again() {
        let gone = || sqlx::Error::Io(io::ErrorKind::NotFound.into());
        let socket = Path::new("/nowhere/mysqld.sock");
        for failure in [failure(gone()), connect_failure(gone(), Some(socket))] {
            let error = failure.into_error("settle");
            assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Unavailable, true), "{error}");
            assert!(error.to_string().contains("socket"), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_missing_when_the_queue_connects_is_a_fault_of_the_settings() {
        let socket = std::env::current_exe().unwrap();
        for socket in [None, Some(&*socket)] {
            let error = sqlx::Error::Io(io::ErrorKind::NotFound.into());
            let error = connect_failure(error, socket).into_error("connect");
            assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Backend, false), "{error}");
        }
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
