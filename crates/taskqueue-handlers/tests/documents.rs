//! Documents in folders, and in SQLite.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod support;

use support::documents::behaves;
use taskqueue_handlers::documents::FolderDocuments;

#[tokio::test]
async fn documents_are_kept_in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    for kind in ["notification", "federation"] {
        std::fs::create_dir_all(folder.path().join("documents").join(kind)).unwrap();
    }
    behaves(FolderDocuments::new(folder.path().join("documents"))).await;
}

#[cfg(feature = "sql")]
mod sql {
    use std::time::Duration;

    use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
    use sqlx::{ConnectOptions, Executor};
    use taskqueue_handlers::documents::{DocumentId, DocumentStore, SqlDocuments, TABLE_DEFAULT};

    use super::*;

    #[tokio::test]
    async fn documents_are_kept_in_sqlite() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}?mode=rwc", folder.path().join("documents.db").display());
        let store = SqlDocuments::open(&url).unwrap();
        for _ in 0..2 {
            store.migrate().await.unwrap();
        }
        behaves(store).await;
    }

    #[tokio::test]
    async fn a_url_of_no_database_and_a_table_that_is_no_name_are_refused() {
        let error = SqlDocuments::open("redis://user:hunter2@host").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        for table in ["", "1a", "a;b", "Tasks", "a b"] {
            assert!(SqlDocuments::open("sqlite::memory:").unwrap().table(table).is_err(), "{table}");
        }
        assert!(SqlDocuments::open("sqlite::memory:").unwrap().table(TABLE_DEFAULT).is_ok());
    }

    #[tokio::test]
    async fn a_database_that_does_not_answer_is_worth_another_attempt() {
        let store = SqlDocuments::open("postgres://user:hunter2@127.0.0.1:9/x?sslmode=disable").unwrap();
        let get = store.get(DocumentId { kind: "k", name: "n" });
        let error = tokio::time::timeout(Duration::from_secs(60), get).await.unwrap().unwrap_err();
        assert!(!error.is_permanent() && !error.to_string().contains("hunter2"), "{error}");
    }

    #[tokio::test]
    async fn so_is_one_that_keeps_a_statement_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteConnectOptions::new().filename(folder.path().join("documents.db"));
        let options = options.create_if_missing(true).busy_timeout(Duration::from_secs(3600));
        let pool = SqlitePoolOptions::new().max_connections(1).test_before_acquire(false);
        let store = SqlDocuments::from(pool.connect_with(options.clone()).await.unwrap());
        store.migrate().await.unwrap();
        let mut other = options.connect().await.unwrap();
        other.execute("BEGIN EXCLUSIVE").await.unwrap();
        // From here on the clock goes ahead whenever nothing but SQLite is at work.
        tokio::time::pause();
        let get = store.get(DocumentId { kind: "k", name: "n" });
        let error = tokio::time::timeout(Duration::from_secs(60), get).await.unwrap().unwrap_err();
        assert!(!error.is_permanent() && error.to_string().contains("no answer within 30s"), "{error}");
        tokio::time::resume();
        other.execute("ROLLBACK").await.unwrap();
    }
}
