//! Documents behind a pooler in transaction mode, whose URL is in `TASKQUEUE_POSTGRES_URL` as it is for the conformance suite.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod postgres {
    use sqlx::{AssertSqlSafe, PgPool};
    use taskqueue_core::TaskId;
    use taskqueue_handlers::documents::{DocumentId, DocumentStore, SqlDocuments};
    use tokio::task::JoinSet;

    const VARIABLE: &str = "TASKQUEUE_POSTGRES_URL";
    const KIND: &str = "notification";

    /// Writes a document of its own, looks for it and removes it, again and again. What is prepared for one of these has the
    /// arguments of the others.
    async fn work(store: SqlDocuments, name: String) {
        let id = DocumentId { kind: KIND, name: &name };
        for _ in 0..20 {
            store.put(id, "{}").await.unwrap();
            assert_eq!(store.get(id).await.unwrap().as_deref(), Some("{}"));
            store.delete(id).await.unwrap();
            assert_eq!(store.get(id).await.unwrap(), None);
        }
    }

    #[tokio::test]
    async fn a_pooler_in_transaction_mode_mixes_up_no_workers_statements() {
        let url = std::env::var(VARIABLE).unwrap_or_else(|_| panic!("{VARIABLE} names a pooler"));
        let table = format!("d{}", TaskId::generate().as_uuid().simple());
        let open = || SqlDocuments::open(&url).unwrap().table(&table).unwrap();
        open().migrate().await.unwrap();

        let mut working = JoinSet::new();
        for worker in 0..10 {
            working.spawn(work(open(), format!("worker {worker}")));
        }
        working.join_all().await;

        let pool = PgPool::connect(&url).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(format!("DROP TABLE {table}"))).execute(&pool).await.unwrap();
    }
}
