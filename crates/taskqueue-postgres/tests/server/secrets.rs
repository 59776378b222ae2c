//! The password stays where it is: in no error, in no debug output.

use std::error::Error as _;
use std::fmt::Write as _;
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;
use taskqueue_postgres::{Error, ErrorKind, PostgresConfig, PostgresQueue};

use crate::scratch::Scratch;
use crate::support::{direct, server};

/// Of letters only: a URL writes other characters otherwise.
const PASSWORD: &str = "correcthorsebattery";

/// Asserts it of what this error and its sources say, to users and to developers.
#[track_caller]
pub(crate) fn assert_holds_no_password(error: &Error) {
    let mut said = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(error) = source {
        write!(said, " {error} {error:?}").unwrap();
        source = error.source();
    }
    assert_says_no_password(&said);
}

#[track_caller]
fn assert_says_no_password(said: &str) {
    let real = direct().to_url_lossy().password().map(str::to_owned);
    // A password that is also a common word of ours (the name of the project, say) is looked for as URLs have it.
    let real = real.map_or_else(String::new, |real| format!(":{real}@"));
    assert!(!said.contains(PASSWORD), "{said}");
    assert!(real.is_empty() || !said.contains(&real), "{said}");
}

async fn refusal(options: PgConnectOptions) -> Error {
    let url = options.password(PASSWORD).to_url_lossy();
    let mut config = PostgresConfig::url(url.as_str()).unwrap();
    config.acquire_timeout = Duration::from_secs(2);
    assert_says_no_password(&format!("{config:?}"));
    let error = PostgresQueue::with_config(config).await.unwrap_err();
    assert_holds_no_password(&error);
    error
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_not_repeated() {
    let error = refusal(server()).await;

    assert_eq!(error.kind(), ErrorKind::Backend, "{error}");
    assert!(error.to_string().contains("password authentication failed"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_password_for_a_host_that_nobody_answers_at_is_not_repeated() {
    let refused = refusal(server().host("127.0.0.1").port(1)).await;
    let unknown = refusal(server().host("no-such-host.invalid")).await;

    assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");
    assert_eq!(unknown.kind(), ErrorKind::Unavailable, "{unknown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_password_for_a_database_that_is_not_there_is_not_repeated() {
    let url = server().database("taskqueue_no_such_database").to_url_lossy();

    let error = PostgresQueue::connect(url.as_str()).await.unwrap_err();

    assert_eq!(error.kind(), ErrorKind::DatabaseNotFound, "{error}");
    assert_holds_no_password(&error);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_password_of_a_url_that_is_none_is_not_repeated() {
    for url in [
        format!("postgres://ada:{PASSWORD}@host:port/db"),
        format!("ada:{PASSWORD}@host/db"),
        format!("postgres://ada:{PASSWORD}@host/db?sslmode=perhaps"),
        format!("postgres://ada:{PASSWORD}@host/db?sslmod=verify-full"),
        format!("postgres://ada:{PASSWORD}@host/db?statement-cache-capacity=many"),
    ] {
        let error = PostgresQueue::connect(&url).await.unwrap_err();

        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert_holds_no_password(&error);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_debug_output_of_a_queue_holds_no_password() {
    let scratch = Scratch::new().await;

    let config = PostgresConfig::url(scratch.options().to_url_lossy().as_str()).unwrap();
    let shown = format!("{config:?}");
    let queue = PostgresQueue::with_config(config).await.unwrap();

    assert_says_no_password(&format!("{shown} {queue:?}"));
}
