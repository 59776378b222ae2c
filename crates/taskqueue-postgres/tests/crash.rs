//! A server that is killed under load, in a container of the test's own.

use taskqueue_conformance::assert_what_was_answered_outlasts_a_crash;
use taskqueue_postgres::{PostgresQueue, Result};

async fn open(url: String) -> Result<PostgresQueue> {
    let queue = PostgresQueue::connect(&url).await?;
    queue.migrate().await?;
    Ok(queue)
}

mod postgres {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_answered_outlasts_a_crash_of_the_server() {
        assert_what_was_answered_outlasts_a_crash(open).await;
    }
}
