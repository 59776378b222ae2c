//! What SQLite and its driver say, in the queue's terms. The only place that looks at driver errors.

use taskqueue_core::ErrorKind;
use taskqueue_sql::Failure;

const ERROR: i32 = 1;
const BUSY: i32 = 5;
const LOCKED: i32 = 6;
const READONLY: i32 = 8;
const IO: i32 = 10;
const CORRUPT: i32 = 11;
const FULL: i32 = 13;
const CANNOT_OPEN: i32 = 14;
const CONSTRAINT: i32 = 19;
const NOT_A_DATABASE: i32 = 26;

/// Maps a driver error.
pub(crate) fn failure(error: sqlx::Error) -> Failure {
    let (kind, message) = match &error {
        sqlx::Error::Database(database) => {
            let code = database.code().and_then(|code| code.parse::<i32>().ok()).unwrap_or(ERROR) & 0xff;
            if code == BUSY || code == LOCKED {
                return Failure::Contention { source: Some(Box::new(error)) };
            }
            of_code(code, database.message())
        }
        sqlx::Error::PoolClosed => (ErrorKind::QueueClosed, "task queue is closed".to_owned()),
        sqlx::Error::PoolTimedOut => (
            ErrorKind::Unavailable,
            "all connections are in use; calls wait for each other too long".to_owned(),
        ),
        sqlx::Error::WorkerCrashed | sqlx::Error::Io(_) => {
            (ErrorKind::Unavailable, "the connection to the database is broken".to_owned())
        }
        other => (ErrorKind::Backend, format!("the database driver failed: {other}")),
    };
    Failure::Database { kind, message: message.into(), source: Some(Box::new(error)) }
}

/// The same for an error while opening the file at `path`.
pub(crate) fn open_failure(error: sqlx::Error, path: &str) -> Failure {
    match failure(error) {
        Failure::Database { kind, message, source } => {
            Failure::Database { kind, message: format!("{message} (database {path})").into(), source }
        }
        other => other,
    }
}

fn of_code(code: i32, message: &str) -> (ErrorKind, String) {
    match code {
        READONLY => {
            (ErrorKind::Backend, "the database file is not writable: check its permissions".to_owned())
        }
        CANNOT_OPEN => {
            let what = "cannot open the database file: check that its folder exists and may be written to";
            (ErrorKind::Backend, what.to_owned())
        }
        FULL => (ErrorKind::Unavailable, "the disk is full".to_owned()),
        IO => (ErrorKind::Unavailable, format!("reading or writing the database file failed: {message}")),
        CORRUPT => (ErrorKind::Backend, format!("the database file is damaged: {message}")),
        NOT_A_DATABASE => (ErrorKind::Backend, "the file is not an SQLite database".to_owned()),
        CONSTRAINT => {
            (ErrorKind::Backend, format!("the database refused a row that breaks an invariant: {message}"))
        }
        _ => of_message(message),
    }
}

/// SQLite has no code of its own for a missing table or column, so its text must be read.
fn of_message(message: &str) -> (ErrorKind, String) {
    if let Some(table) = message.strip_prefix("no such table: ") {
        (ErrorKind::NotMigrated, format!("the database has no table {table}: migrate it first"))
    } else if message.starts_with("no such column: ") || message.contains(" has no column named ") {
        let text = format!("the database's tables are of another version ({message}): migrate it first");
        (ErrorKind::NotMigrated, text)
    } else {
        (ErrorKind::Backend, format!("the database failed: {message}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_can_be_tried_again_and_a_damaged_file_cannot() {
        let error = |code| {
            let (kind, message) = of_code(code, "x");
            Failure::Database { kind, message: message.into(), source: None }.into_error("enqueue")
        };
        assert!(error(FULL).is_transient());
        assert!(!error(CORRUPT).is_transient());
        assert!(!error(READONLY).is_transient());
    }

    #[test]
    fn a_closed_pool_is_a_closed_queue() {
        let error = failure(sqlx::Error::PoolClosed).into_error("get");
        assert_eq!(error.kind(), ErrorKind::QueueClosed);
    }
}
