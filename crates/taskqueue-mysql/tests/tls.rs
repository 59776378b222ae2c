//! Encrypted connections, as the URL asks for them. That a certificate of the right authority is taken is tested on MySQL
//! only, which makes an authority of its own when it is installed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/cases.rs"]
mod cases;
mod support;

use cases::on;
use support::{Database, Server};
use taskqueue_mysql::{Error, ErrorKind, MysqlQueue, TaskId};

/// A certificate of nobody's authority.
const STRANGER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/stranger.pem");

/// The cipher of a connection with this ssl-mode; empty where it is not encrypted.
async fn cipher(database: &Database, ssl_mode: &str) -> Result<String, Error> {
    let queue = MysqlQueue::connect(&format!("{}&ssl-mode={ssl_mode}", database.url())).await?;
    let status = "SHOW SESSION STATUS LIKE 'Ssl_cipher'";
    let (_, cipher): (String, String) = sqlx::query_as(status).fetch_one(queue.pool()).await.unwrap();
    Ok(cipher)
}

async fn a_connection_is_encrypted_as_the_url_asks(server: Server) {
    let database = server.database().await;
    database.config();

    assert_ne!(cipher(&database, "REQUIRED").await.unwrap(), "");
    assert_ne!(cipher(&database, "PREFERRED").await.unwrap(), "", "these servers can");
    assert_eq!(cipher(&database, "DISABLED").await.unwrap(), "");
}

async fn a_certificate_that_nobody_vouches_for_is_refused(server: Server) {
    let database = server.database().await;

    for ssl_mode in
        ["VERIFY_CA".to_owned(), "VERIFY_IDENTITY".to_owned(), format!("VERIFY_CA&ssl-ca={STRANGER}")]
    {
        let refused = cipher(&database, &ssl_mode).await.expect_err("its authority is unknown");
        assert_eq!((refused.kind(), refused.is_transient()), (ErrorKind::Backend, false), "{refused:?}");
        let shown = refused.to_string();
        assert!(shown.contains("certificate") && shown.contains("ssl-mode"), "{shown}");
    }
}

async fn a_certificate_of_an_authority_in_ssl_ca_is_taken(server: Server) {
    let database = server.database().await;
    let read = "SELECT LOAD_FILE(CONCAT(@@datadir, @@ssl_ca))";
    let authority: Option<Vec<u8>> =
        sqlx::query_scalar(read).fetch_one(&mut database.connect().await).await.unwrap();
    let authority =
        authority.expect("the server may read its own files: start it with secure-file-priv empty");
    let file = std::env::temp_dir().join(format!("taskqueue-{}.pem", TaskId::generate()));
    std::fs::write(&file, authority).unwrap();

    let taken = cipher(&database, &format!("VERIFY_CA&ssl-ca={}", file.display())).await;

    std::fs::remove_file(&file).unwrap();
    assert_ne!(taken.unwrap(), "");
}

async fn a_file_of_authorities_that_is_not_there_is_named(server: Server) {
    let database = server.database().await;

    let refused = cipher(&database, "VERIFY_CA&ssl-ca=/nowhere/ca.pem").await.expect_err("there is no file");

    assert_eq!(refused.kind(), ErrorKind::Backend, "{refused:?}");
    assert!(refused.to_string().contains("ssl-ca"), "{refused}");
}

on! {
    mysql, crate::support::MYSQL,
    a_connection_is_encrypted_as_the_url_asks
    a_certificate_that_nobody_vouches_for_is_refused
    a_certificate_of_an_authority_in_ssl_ca_is_taken
    a_file_of_authorities_that_is_not_there_is_named
}
on! {
    mariadb, crate::support::MARIADB,
    a_connection_is_encrypted_as_the_url_asks
    a_certificate_that_nobody_vouches_for_is_refused
    a_file_of_authorities_that_is_not_there_is_named
}
