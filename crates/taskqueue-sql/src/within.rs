//! The time that a database may take to answer. It knows no driver.

use std::io;
use std::time::Duration;

/// The answer, or an error of the connection when it is not there in time: a network that swallows packets reports
/// neither an end nor an error, for as long as TCP hopes, which is a quarter of an hour. The connection must not be used
/// again then.
///
/// # Errors
/// The answer's own; of the kind `TimedOut` when it is late.
pub async fn within<T, E: From<io::Error>>(
    limit: Duration,
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| {
        let late = format!("no answer to a statement within {limit:?}");
        Err(io::Error::new(io::ErrorKind::TimedOut, late).into())
    })
}
