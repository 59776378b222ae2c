//! Encrypted connections, through a front that speaks TLS for the server.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use taskqueue_postgres::{Error, ErrorKind, PostgresConfig, PostgresQueue, Queue, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::scratch::Scratch;
use crate::support::server;

/// What a client sends to ask for TLS: its length, and a number that is no version.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// A front with a certificate of its own for `localhost`.
struct Front {
    port: u16,
    authority: PathBuf,
    _folder: tempfile::TempDir,
}

impl Front {
    async fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let authority = folder.path().join("authority.pem");
        std::fs::write(&authority, made.cert.pem()).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let acceptor = TlsAcceptor::from(Arc::new(config));
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, acceptor.clone()));
            }
        });
        Self { port, authority, _folder: folder }
    }

    fn options(&self, scratch: &Scratch, host: &str, mode: PgSslMode) -> PgConnectOptions {
        scratch.options().host(host).port(self.port).ssl_mode(mode)
    }
}

/// Carries one connection, in plain from here on. A client that asks for no TLS is turned away.
async fn carry(mut client: TcpStream, acceptor: TlsAcceptor) -> std::io::Result<()> {
    let mut asked = [0; 8];
    client.read_exact(&mut asked).await?;
    if asked != SSL_REQUEST {
        return Ok(());
    }
    client.write_all(b"S").await?;
    let mut client = acceptor.accept(client).await?;
    let mut server = TcpStream::connect((server().get_host(), server().get_port())).await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await.map(drop)
}

async fn open(options: &PgConnectOptions, authority: Option<&Path>) -> Result<PostgresQueue> {
    let mut url = options.to_url_lossy();
    if let Some(authority) = authority {
        url.query_pairs_mut().append_pair("sslrootcert", authority.to_str().unwrap());
    }
    let mut config = PostgresConfig::url(url.as_str())?;
    config.prepared_statements = crate::support::prepares();
    PostgresQueue::with_config(config).await
}

/// It is of no use to try again: the settings are wrong.
#[track_caller]
fn assert_names_tls(error: &Error) {
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Backend, false), "{error}");
    assert!(error.to_string().contains("TLS"), "{error}");
    crate::secrets::assert_holds_no_password(error);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_requires_tls_has_it() {
    let scratch = Scratch::new().await;
    let front = Front::new().await;

    let queue = open(&front.options(&scratch, "localhost", PgSslMode::Require), None).await.unwrap();

    queue.migrate().await.unwrap();
    queue.enqueue(crate::scratch::task()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_verified_in_full_with_its_authority() {
    let scratch = Scratch::new().await;
    let front = Front::new().await;
    let options = front.options(&scratch, "localhost", PgSslMode::VerifyFull);

    let queue = open(&options, Some(&front.authority)).await.unwrap();

    assert_eq!(queue.backend().await.unwrap().name, "postgres");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_an_unknown_authority_is_refused() {
    let scratch = Scratch::new().await;
    let front = Front::new().await;

    let error = open(&front.options(&scratch, "localhost", PgSslMode::VerifyFull), None).await.unwrap_err();

    assert_names_tls(&error);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_another_host_is_refused() {
    let scratch = Scratch::new().await;
    let front = Front::new().await;
    let options = front.options(&scratch, "127.0.0.1", PgSslMode::VerifyFull);

    let error = open(&options, Some(&front.authority)).await.unwrap_err();

    assert_names_tls(&error);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_tls_is_refused_where_tls_is_required() {
    let scratch = Scratch::new().await;

    let error = open(&scratch.options().ssl_mode(PgSslMode::Require), None).await.unwrap_err();

    assert_names_tls(&error);
}

/// As MySQL does, which speaks first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_at_which_something_else_answers_is_not_tried_for_ever() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let _ = client.write_all(b"J\0\0\0\x0a9.7.0").await;
        }
    });

    let error = PostgresQueue::connect(&format!("postgres://u:p@127.0.0.1:{port}/d")).await.unwrap_err();

    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Backend, false), "{error}");
    assert!(error.to_string().contains("is no PostgreSQL"), "{error}");
}
