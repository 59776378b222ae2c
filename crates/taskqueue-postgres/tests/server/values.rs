//! What goes in comes out: keys by case, times to the microsecond, payloads byte for byte.

use sqlx::AssertSqlSafe;
use taskqueue_postgres::{ClaimRequest, ErrorKind, NewTask, Queue, Timestamp, WorkerId};

use crate::scratch::{Scratch, claim_one, mail, task};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_and_names_differ_by_case_accent_and_trailing_blanks() {
    let (_scratch, queue) = Scratch::with_queue().await;

    for key in ["cafe", "Cafe", "caf\u{e9}", "cafe\u{301}", "cafe ", " cafe"] {
        queue.enqueue(task().unique_key(key)).await.unwrap();
        let again = queue.enqueue(task().unique_key(key)).await.unwrap_err();
        assert_eq!(again.kind(), ErrorKind::DuplicateUnique, "{key:?}");
    }
    for name in ["Ada", "ada", "ad\u{e1}", "ada "] {
        let request = ClaimRequest::new(WorkerId::new(name).unwrap(), [mail()], 1);
        let claim = queue.dequeue_many(&request).await.unwrap().pop().unwrap();
        let stored = queue.get(claim.task.id).await.unwrap().worker_id.unwrap();
        assert_eq!(stored.as_str(), name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_keep_their_microseconds() {
    let (_scratch, queue) = Scratch::with_queue().await;

    for micros in [0, 1, 1_900_000_000_000_001, 1_900_000_000_999_999, -1] {
        let at = Timestamp::from_timestamp_micros(micros).unwrap();
        let id = queue.enqueue(task().scheduled_at(at)).await.unwrap();
        assert_eq!(queue.get(id).await.unwrap().scheduled_at, at);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payload_bytes_come_back_as_they_went_in() {
    let (_scratch, queue) = Scratch::with_queue().await;
    let mebibyte = format!("\"{}\"", "\u{e9}".repeat((1024 * 1024 - 2) / 2));
    let payloads = [
        r#"{"b":1,"a":2,"b":3}"#,
        "  { \"a\" :\t[ 1 , 2 ]\n}  ",
        "[123456789012345678901234567890, 1e400, 0.1000, -0, 1E+2]",
        r#""\u0000 \ud83d\ude00 \/ \" \\ \u00e9""#,
        "\"\u{e9} \u{1f600} \u{202e} \u{ffff} \u{7f}\"",
        "null",
        &mebibyte,
    ];

    for payload in payloads {
        let id = queue.enqueue(NewTask::raw("mail", payload).unwrap()).await.unwrap();
        let claim = claim_one(&queue).await;
        assert_eq!(claim.task.payload.as_str(), payload);
        assert_eq!(queue.get(id).await.unwrap().payload.as_str(), payload);
        queue.complete(claim.lease).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_from_a_column_of_another_type_says_which_column_it_is() {
    let (scratch, queue) = Scratch::with_queue().await;
    queue.enqueue(task()).await.unwrap();
    let mut connection = scratch.connect().await;
    let alter = "ALTER TABLE tasks ALTER COLUMN region TYPE bytea USING NULL";
    sqlx::raw_sql(alter).execute(&mut connection).await.unwrap();

    let request = ClaimRequest::new(WorkerId::new("ada").unwrap(), [mail()], 1);
    let refusal = queue.dequeue_many(&request).await.unwrap_err().to_string();

    assert!(refusal.contains("column region has the type BYTEA"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_table_takes_what_a_state_sets_and_nothing_else() {
    let (scratch, queue) = Scratch::with_queue().await;
    queue.enqueue(task().unique_key("held")).await.unwrap();
    let mut connection = scratch.connect().await;
    let mut update = async |change: &str| {
        let update = format!("BEGIN; UPDATE tasks SET {change}; ROLLBACK");
        let refusal = sqlx::raw_sql(AssertSqlSafe(update)).execute(&mut connection).await.err();
        sqlx::raw_sql("ROLLBACK").execute(&mut connection).await.unwrap();
        refusal.map(|error| error.as_database_error().unwrap().is_check_violation())
    };

    for change in [
        "queue_rank = 1",
        "status = 1, queue_rank = NULL, due_at = now()",
        "status = 2, queue_rank = NULL, lease_until = now()",
        "status = 2, lease_until = now()",
        "status = 3, queue_rank = NULL, completed_at = now(), unique_held = NULL",
        "status = 4, queue_rank = NULL, due_at = now()",
        "status = 5, queue_rank = NULL, completed_at = now(), dead_at = now(), unique_held = NULL",
        "status = 6, queue_rank = NULL, completed_at = now(), unique_held = NULL",
    ] {
        assert_eq!(update(change).await, None, "{change}");
    }
    for change in [
        "status = 1",
        "queue_rank = NULL",
        "due_at = now()",
        "lease_until = now()",
        "completed_at = now()",
        "dead_at = now()",
        "unique_held = NULL",
        "unique_key = NULL",
        "status = 2, queue_rank = NULL",
        "status = 2, lease_until = now(), due_at = now()",
        "status = 3, completed_at = now(), unique_held = NULL",
        "status = 4, due_at = now()",
        "status = 3, queue_rank = NULL, completed_at = now()",
        "status = 3, queue_rank = NULL, completed_at = now(), dead_at = now(), unique_held = NULL",
        "status = 4, queue_rank = NULL, due_at = now(), lease_until = now()",
        "status = 5, queue_rank = NULL, completed_at = now(), unique_held = NULL",
        "status = 5, queue_rank = NULL, dead_at = now(), unique_held = NULL",
        "status = 7, queue_rank = NULL, completed_at = now()",
    ] {
        assert_eq!(update(change).await, Some(true), "{change}");
    }
}
