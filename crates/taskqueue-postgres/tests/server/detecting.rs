//! Finding out what the server is, where the answers do not come.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use taskqueue_postgres::{PostgresConfig, PostgresQueue, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::proxy::Proxy;
use crate::scratch::{PATIENCE, Scratch, assert_unavailable};
use crate::support::server;

/// Opens a queue by this way, and says what it is like.
async fn open(options: PgConnectOptions, set: impl FnOnce(&mut PostgresConfig)) -> Result<String> {
    let url = options.ssl_mode(PgSslMode::Disable).to_url_lossy();
    let mut config = PostgresConfig::url(url.as_str()).unwrap();
    set(&mut config);
    let opening = timeout(PATIENCE, PostgresQueue::with_config(config));
    opening.await.expect("it ends by itself").map(|queue| format!("{queue:?}"))
}

/// A pooler whose server processes are all with others: while one session has a transaction open, nobody else gets an answer. But
/// for the transactions of these numbers, counted from one: during them a process is free.
async fn busy_pooler(is_free: fn(usize) -> bool) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let pooler = Arc::new(Pooler { process: Arc::default(), begun: AtomicUsize::new(0), is_free });
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(carry(client, Arc::clone(&pooler)));
        }
    });
    port
}

struct Pooler {
    process: Arc<Mutex<()>>,
    begun: AtomicUsize,
    is_free: fn(usize) -> bool,
}

async fn carry(client: TcpStream, pooler: Arc<Pooler>) -> std::io::Result<()> {
    let upstream = TcpStream::connect((server().get_host(), server().get_port())).await?;
    let ((mut requests, mut to_client), (mut replies, mut to_server)) =
        (client.into_split(), upstream.into_split());
    tokio::spawn(async move { tokio::io::copy(&mut replies, &mut to_client).await });
    let (mut buffer, mut transaction) = ([0; 8_192], None);
    loop {
        let length = requests.read(&mut buffer).await?;
        let request = &buffer[..length];
        let has = |word: &[u8]| request.windows(word.len()).any(|part| part == word);
        if request.first() == Some(&b'Q') && transaction.is_none() {
            let turn = Arc::clone(&pooler.process).lock_owned().await;
            let holds = |begun: usize| !(pooler.is_free)(begun + 1);
            let keeps = has(b"BEGIN") && holds(pooler.begun.fetch_add(1, Ordering::Relaxed));
            transaction = keeps.then_some(turn);
        }
        if length == 0 {
            return Ok(());
        }
        to_server.write_all(request).await?;
        if has(b"ROLLBACK") {
            transaction = None;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_whose_server_processes_are_all_with_others_is_found_and_not_waited_for() {
    let (scratch, port) = (Scratch::new().await, busy_pooler(|_| false).await);

    let queue = open(scratch.options().host("127.0.0.1").port(port), |config| {
        config.acquire_timeout = Duration::from_secs(2);
    })
    .await
    .unwrap();

    assert!(queue.contains("prepared_statements: false") && queue.contains("listens: false"), "{queue}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_that_answers_in_time_once_in_a_while_is_not_taken_for_the_server() {
    let (scratch, port) = (Scratch::new().await, busy_pooler(|transaction| transaction == 3).await);

    let queue = open(scratch.options().host("127.0.0.1").port(port), |_| {}).await.unwrap();

    assert!(queue.contains("prepared_statements: false") && queue.contains("listens: false"), "{queue}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_late_once_is_not_taken_for_a_pooler() {
    let (scratch, port) = (Scratch::new().await, busy_pooler(|transaction| transaction > 1).await);

    let queue = open(scratch.options().host("127.0.0.1").port(port), |_| {}).await.unwrap();

    assert!(queue.contains("prepared_statements: true"), "{queue}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_answering_is_not_waited_for_without_end() {
    let (scratch, proxy) = (Scratch::new().await, Proxy::new().await);
    proxy.hold_after("BEGIN");

    let refusal = open(proxy.options(scratch.options()), |config| {
        config.acquire_timeout = Duration::from_secs(2);
    })
    .await
    .unwrap_err();

    assert_unavailable(&refusal);
}
