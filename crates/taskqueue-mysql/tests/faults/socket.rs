//! A server on a Unix socket, which it removes when it shuts down.

use std::path::PathBuf;

use sqlx::mysql::MySqlConnectOptions;
use taskqueue_mysql::{MysqlQueue, Queue, TaskId};
use tokio::net::{TcpStream, UnixListener};
use tokio::task::JoinSet;

use crate::cases::on;
use crate::support::Server;
use crate::{assert_repeatable, task};

/// Serves a server on a socket, until this value is dropped; its connections end with it, and the socket is removed.
struct Socket {
    path: PathBuf,
    _serving: JoinSet<()>,
}

impl Socket {
    fn before(upstream: String, path: PathBuf) -> Self {
        let listener = UnixListener::bind(&path).unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut relays = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let upstream = upstream.clone();
                relays.spawn(async move {
                    let mut server = TcpStream::connect(upstream).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Self { path, _serving: serving }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        std::fs::remove_file(&self.path).unwrap();
    }
}

async fn a_restart_of_a_server_on_a_socket_is_an_error_that_passes(server: Server) {
    let database = server.database().await;
    let direct: MySqlConnectOptions = database.url().parse().unwrap();
    let upstream = format!("{}:{}", direct.get_host(), direct.get_port());
    let path = std::env::temp_dir().join(format!("taskqueue-{}.sock", TaskId::generate()));
    let url = format!("{}&socket={}", database.url(), path.display());
    let socket = Socket::before(upstream.clone(), path.clone());
    let queue = MysqlQueue::connect(&url).await.unwrap();
    queue.migrate().await.unwrap();
    let id = queue.enqueue(task()).await.unwrap();

    drop(socket);

    assert_repeatable(&queue.enqueue(task()).await.unwrap_err());
    assert_repeatable(&queue.get(id).await.unwrap_err());
    assert_repeatable(&MysqlQueue::connect(&url).await.unwrap_err());

    let _back = Socket::before(upstream, path);
    queue.enqueue(task()).await.unwrap();
    assert_eq!(queue.stats().await.unwrap().pending, 2);
}

on! {
    a_restart_of_a_server_on_a_socket_is_an_error_that_passes
}
