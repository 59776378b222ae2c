//! What is stored is what was given, and nothing else is equal to it: no collation, no rounding.

use sqlx::Executor as _;
use taskqueue_conformance::assert_inserted_tasks_are_like_any_other;
use taskqueue_mysql::{ErrorKind, NewTask, Queue, TaskId};

use crate::cases::on;
use crate::support::Server;
use crate::{claim, fresh, task};

async fn what_is_stored_comes_back_byte_for_byte(server: Server) {
    let (queue, _database) = fresh(server).await;
    let long = format!("\"{}\"", "x".repeat(1_048_574));
    let payloads = [
        r#"{"a":1,"a":2}"#,
        " {\t\"b\" : [ 1 , 2 ]\n}  ",
        r#"12345678901234567890123456789012345678901234567890.10e+300"#,
        "\"żółć 🦀 \u{10ffff} \\ud83e\\udd80 \\u0000\"",
        r#""C:\\new 'quoted' `x` -- % _ ? :a""#,
        &long,
    ];
    for payload in payloads {
        let id = queue.enqueue(NewTask::raw("mail", payload).unwrap()).await.unwrap();
        assert_eq!(queue.get(id).await.unwrap().payload.as_str(), payload);
        let claimed = claim(&queue, 1).await.pop().unwrap();
        assert_eq!(claimed.task.payload.as_str(), payload);
    }
}

async fn times_keep_their_microseconds(server: Server) {
    let (queue, _database) = fresh(server).await;
    let at = taskqueue_mysql::Timestamp::from_timestamp_micros(4_102_444_800_123_457).unwrap();

    let id = queue.enqueue(task().scheduled_at(at)).await.unwrap();

    assert_eq!(queue.get(id).await.unwrap().scheduled_at, at);
}

async fn ids_are_compared_byte_by_byte(server: Server) {
    let (queue, _database) = fresh(server).await;
    // As latin letters these differ by case only; a text collation would call them the same.
    let [upper, lower] =
        [[0x41_u8; 16], [0x61_u8; 16]].map(|bytes| TaskId::from(uuid::Uuid::from_bytes(bytes)));

    queue.enqueue(task().id(upper)).await.unwrap();
    queue.enqueue(task().id(lower)).await.unwrap();

    assert_eq!(queue.stats().await.unwrap().pending, 2);
    assert_eq!(queue.get(lower).await.unwrap().id, lower);
}

async fn unique_keys_differ_by_case_accent_and_trailing_blanks(server: Server) {
    let (queue, _database) = fresh(server).await;

    for key in ["cafe", "Cafe", "café", "cafe ", " cafe"] {
        queue.enqueue(task().unique_key(key)).await.unwrap();
        let again = queue.enqueue(task().unique_key(key)).await.unwrap_err();
        assert_eq!(again.kind(), ErrorKind::DuplicateUnique, "{key:?}");
    }
}

async fn a_task_that_was_inserted_by_sql_is_a_task_like_any_other(server: Server) {
    let (queue, database) = fresh(server).await;
    let mut connection = database.connect().await;
    let run = async |sql: &'static str| {
        if connection.execute(sqlx::raw_sql(sql)).await.is_err() {
            connection.execute("ROLLBACK").await.unwrap();
        }
    };
    assert_inserted_tasks_are_like_any_other(&queue, "MySQL", run).await;
}

on! {
    a_task_that_was_inserted_by_sql_is_a_task_like_any_other
    what_is_stored_comes_back_byte_for_byte
    times_keep_their_microseconds
    ids_are_compared_byte_by_byte
    unique_keys_differ_by_case_accent_and_trailing_blanks
}
