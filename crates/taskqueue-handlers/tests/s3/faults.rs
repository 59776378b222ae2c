//! What the store says when the server dies, stands still, is overrun, or sends something else than it announced.

use std::time::Duration;

use bytes::Bytes;
use futures::{TryStreamExt, stream};
use taskqueue_core::Retry;
use taskqueue_handlers::HandlerError;
use taskqueue_handlers::store::{
    Attributes, Body, Condition, GetObject, ObjectRef, ObjectStore, S3Config, S3Credentials, S3Store,
    StoreError, StoreErrorKind,
};

use crate::bucket::{Bucket, config, upstream};
use crate::proxy::{Fate, proxy, stub};

const MIB: usize = 1 << 20;
const STALL: Duration = Duration::from_millis(500);

fn store_at(address: &str, config: S3Config) -> S3Store {
    let endpoint = Some(format!("http://{address}"));
    S3Store::new(S3Config { endpoint, stall_timeout: STALL, answer_timeout: STALL * 4, ..config }).unwrap()
}

async fn read(store: &S3Store, object: ObjectRef) -> Result<Vec<u8>, StoreError> {
    let got = store.get(&GetObject { object, range: None, if_match: None }).await?;
    let pieces: Vec<Bytes> = got.data.try_collect().await?;
    Ok(pieces.concat())
}

async fn wait_past_the_stall() {
    tokio::time::sleep(STALL * 3).await;
}

async fn stubbed(answers: &[&str]) -> Result<Vec<u8>, StoreError> {
    let address = stub(answers).await;
    let config = S3Config::new(Some(String::new()), S3Credentials::new("key", "secret"));
    read(&store_at(&address, config), ObjectRef::new("b", "k")).await
}

#[tokio::test]
async fn an_upload_that_the_server_does_not_survive_is_transient_and_leaves_nothing() {
    let bucket = Bucket::new().await;
    for fate in [Fate::Cut, Fate::Stall] {
        let store = store_at(&proxy(upstream(), 2 * MIB as u64, fate).await, config());
        let body = Bytes::from(vec![7; 8 * MIB]).into();
        let put = store.put(&bucket.object("k"), &Attributes::default(), &Condition::Always, body).await;
        assert_eq!(put.unwrap_err().kind(), StoreErrorKind::Unavailable, "{fate:?}");
        assert!(bucket.store.head(&bucket.object("k")).await.unwrap_err().is_not_found());
    }
}

#[tokio::test]
async fn a_download_that_the_server_does_not_survive_is_an_error_and_no_short_object() {
    let bucket = Bucket::new().await;
    bucket.put("k", &vec![7; 8 * MIB]).await;
    for fate in [Fate::Cut, Fate::Stall] {
        let store = store_at(&proxy(upstream(), 2 * MIB as u64, fate).await, config());
        let error = read(&store, bucket.object("k")).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{fate:?}: {error}");
    }
}

#[tokio::test]
async fn a_slow_source_is_no_fault_of_the_server() {
    let bucket = Bucket::new().await;
    let store = S3Store::new(S3Config { stall_timeout: STALL, ..config() }).unwrap();
    let data = stream::once(async {
        wait_past_the_stall().await;
        Ok(Bytes::from_static(b"late"))
    });
    let body = Body { length: 4, data: Box::pin(data) };
    store.put(&bucket.object("k"), &Attributes::default(), &Condition::Always, body).await.unwrap();
    assert_eq!(bucket.read("k").await.unwrap(), b"late");
}

#[tokio::test]
async fn what_the_source_says_is_what_the_put_says() {
    let bucket = Bucket::new().await;
    let gone = StoreError::new(StoreErrorKind::NotFound, "the source is gone");
    let data = stream::iter([Ok(Bytes::from_static(b"da")), Err(gone.clone())]);
    let body = Body { length: 4, data: Box::pin(data) };
    let put = bucket.store.put(&bucket.object("k"), &Attributes::default(), &Condition::Always, body).await;
    assert_eq!(put.unwrap_err(), gone);
}

#[tokio::test]
async fn a_server_that_is_overrun_is_asked_again_when_it_says() {
    let error = stubbed(&["HTTP/1.1 503 Slow Down\r\nRetry-After: 7\r\nConnection: close\r\n\r\n\
        <Error><Code>SlowDown</Code><Message>m</Message></Error>"]);
    let error = error.await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (StoreErrorKind::Throttled, Some("SlowDown")));
    assert_eq!(HandlerError::from(error).retry(), Retry::After(Duration::from_secs(7)));
}

/// An answer to HEAD has no body that could name the reason.
#[tokio::test]
async fn a_head_that_is_refused_for_a_fault_of_the_worker_is_transient_and_says_so() {
    let config = S3Config::new(Some(String::new()), S3Credentials::new("key", "secret"));
    let faults = [
        ("400 Bad Request", "ExpiredToken", "new credentials"),
        ("403 Forbidden", "InvalidAccessKeyId", "credentials that the store takes"),
        ("301 Moved Permanently", "PermanentRedirect", "the bucket is in region eu-south-1 (give the worker"),
    ];
    for (status, code, said) in faults {
        let refused =
            format!("HTTP/1.1 {status}\r\nConnection: close\r\nx-amz-bucket-region: eu-south-1\r\n\r\n");
        let named = format!("{refused}<Error><Code>{code}</Code><Message>m</Message></Error>");
        let store = store_at(&stub(&[&refused, &named]).await, config.clone());
        let error = store.head(&ObjectRef::new("b", "k")).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (StoreErrorKind::Unavailable, Some(code)));
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[tokio::test]
async fn a_head_that_is_refused_keeps_what_is_known_of_the_reason() {
    const REFUSED: &str = "HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n";
    const DENIED: &str = "HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n\
        <Error><Code>AccessDenied</Code><Message>m</Message></Error>";
    const EMPTY: &str = "HTTP/1.1 416 Range Not Satisfiable\r\nConnection: close\r\n\r\n\
        <Error><Code>InvalidRange</Code><Message>m</Message></Error>";
    let config = S3Config::new(Some(String::new()), S3Credentials::new("key", "secret"));
    for (why, code) in [(DENIED, Some("AccessDenied")), (EMPTY, None), (REFUSED, None)] {
        let store = store_at(&stub(&[REFUSED, why]).await, config.clone());
        let error = store.head(&ObjectRef::new("b", "k")).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (StoreErrorKind::Denied, code));
    }
}

#[tokio::test]
async fn a_body_that_ends_early_is_an_error() {
    let error =
        stubbed(&["HTTP/1.1 200 OK\r\nContent-Length: 9\r\nETag: \"e\"\r\n\r\nfour"]).await.unwrap_err();
    assert!(error.kind().is_transient(), "{error}");
}

#[tokio::test]
async fn a_body_that_stands_still_is_given_up() {
    let error =
        stubbed(&["HTTP/1.1 200 OK\r\nContent-Length: 9\r\nETag: \"e\"\r\n\r\nfour…"]).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(error.to_string().contains("nothing came for 500 ms"), "{error}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let error = stubbed(&["…"]).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_transient_and_no_text_holds_the_secret() {
    let config = S3Config::new(Some(String::new()), S3Credentials::new("key", "a-secret-of-ours"));
    let error = read(&store_at("127.0.0.1:1", config), ObjectRef::new("b", "k")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(!format!("{error} {error:?}").contains("a-secret-of-ours"));
}
