//! The program from outside: each command's output, its errors and its exit code, on a database of the test's own.
//! It knows nothing of the program's inside.

mod all;
#[cfg(feature = "dashboard")]
mod dashboard;
mod enqueueing;
#[path = "../support/event.rs"]
mod event;
mod looking;
mod periodic;
mod ready_made;
#[path = "../support/receiver.rs"]
mod receiver;
mod shell;
#[path = "../support/mod.rs"]
mod support;
mod tables;
mod telling;
mod working;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Executor as _};

/// So many tasks as JSON lines.
pub(crate) fn task_objects(tasks: usize) -> String {
    (0..tasks)
        .map(|index| format!("{{\"type\":\"mail\",\"payload\":{{\"n\":{index}}},\"priority\":9}}\n"))
        .collect()
}

/// Runs SQL on the program's database, and answers the first number that it selects.
pub(crate) fn sql(program: &support::Program, script: &str, number: &str) -> i64 {
    let options = SqliteConnectOptions::new().filename(program.folder().join("taskqueue.db"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut connection = options.connect().await.expect("the file opens");
        connection.execute(sqlx::AssertSqlSafe(script.to_owned())).await.expect("the script is right");
        let number = sqlx::query_scalar(sqlx::AssertSqlSafe(number.to_owned()));
        number.fetch_one(&mut connection).await.expect("the query is right")
    })
}
