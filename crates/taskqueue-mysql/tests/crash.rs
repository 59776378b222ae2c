//! A server that is killed under load, in a container of the test's own.

use sqlx::{Connection, MySqlConnection};
use taskqueue_conformance::assert_what_was_answered_outlasts_a_crash;
use taskqueue_mysql::{Error, ErrorKind, MysqlQueue, Result};

/// The database that such a server has from the start is its own.
const OWN: &str = "/mysql";

async fn open(url: String) -> Result<MysqlQueue> {
    let unavailable = |error: sqlx::Error| {
        Error::new(ErrorKind::Unavailable, "connect", "the server does not answer").with_source(error)
    };
    let mut connection = MySqlConnection::connect(&url).await.map_err(unavailable)?;
    let made = sqlx::raw_sql("CREATE DATABASE IF NOT EXISTS crash").execute(&mut connection).await;
    made.map_err(unavailable)?;
    connection.close().await.map_err(unavailable)?;
    let queue = MysqlQueue::connect(&url.replacen(OWN, "/crash", 1)).await?;
    queue.migrate().await?;
    Ok(queue)
}

/// The same on each engine: `cargo xtask test` says which one is started.
macro_rules! crashes {
    ($($engine:ident)*) => {
        $(mod $engine {
            use super::*;

            #[tokio::test(flavor = "multi_thread")]
            async fn what_was_answered_outlasts_a_crash_of_the_server() {
                assert_what_was_answered_outlasts_a_crash(open).await;
            }
        })*
    };
}

crashes! { mysql mariadb }
