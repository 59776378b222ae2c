//! Waiting for what is soon so, with a limit, in the tests of a backend's own. It knows no engine.

use std::time::Duration;

use taskqueue_core::{Error, ErrorKind, Result};

/// Far more than anything takes, also on a busy machine, and while a cluster elects.
const LIMIT: Duration = Duration::from_secs(90);
const STEP: Duration = Duration::from_millis(10);

/// Before something is asked again.
pub async fn wait_a_moment() {
    tokio::time::sleep(STEP).await;
}

/// Looks until it is so.
pub async fn wait_until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let looking = async {
        while !is_so().await {
            wait_a_moment().await;
        }
    };
    tokio::time::timeout(LIMIT, looking).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Repeats a call until it succeeds; until then it may only say that the server is not available.
pub async fn wait_until_ok<T>(mut call: impl AsyncFnMut() -> Result<T>) -> T {
    let repeating = async {
        loop {
            match call().await {
                Ok(answer) => return answer,
                Err(error) => assert_unavailable(&error),
            }
            wait_a_moment().await;
        }
    };
    tokio::time::timeout(LIMIT, repeating).await.expect("the queue recovers by itself")
}

/// Asserts that an error says that the server cannot be used now and that trying again can help.
#[track_caller]
pub fn assert_unavailable(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}: {error:?}");
    assert!(error.is_transient(), "{error}");
}
