//! A server on a Unix socket, which it removes when it shuts down.

use std::path::PathBuf;

use sqlx::mysql::MySqlConnectOptions;
use taskqueue_mysql::{MysqlQueue, Queue, TaskId};
use tokio::net::{TcpStream, UnixListener};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use crate::cases::on;
use crate::support::Server;
use crate::{assert_repeatable, task};

/// Serves a server on a socket until it is stopped; its connections end with it, and the socket is removed.
struct Socket {
    path: PathBuf,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Socket {
    fn before(upstream: String, path: PathBuf) -> Self {
        let listener = UnixListener::bind(&path).unwrap();
        let (stop, stopped) = oneshot::channel();
        Self { path, stop, serving: tokio::spawn(serve(listener, upstream, stopped)) }
    }

    /// Nothing passes any more when it has returned.
    async fn stop(self) {
        std::fs::remove_file(&self.path).unwrap();
        self.stop.send(()).unwrap();
        self.serving.await.unwrap();
    }
}

async fn serve(listener: UnixListener, upstream: String, mut stopped: oneshot::Receiver<()>) {
    let mut relays = JoinSet::new();
    loop {
        let mut client = tokio::select! {
            _ = &mut stopped => break,
            client = listener.accept() => client.unwrap().0,
        };
        let upstream = upstream.clone();
        relays.spawn(async move {
            let mut server = TcpStream::connect(upstream).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        });
    }
    drop(listener);
    relays.shutdown().await;
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

    socket.stop().await;

    assert_repeatable(&queue.enqueue(task()).await.unwrap_err());
    assert_repeatable(&queue.get(id).await.unwrap_err());
    assert_repeatable(&MysqlQueue::connect(&url).await.unwrap_err());

    let back = Socket::before(upstream, path);
    queue.enqueue(task()).await.unwrap();
    assert_eq!(queue.stats().await.unwrap().pending, 2);
    back.stop().await;
}

on! {
    a_restart_of_a_server_on_a_socket_is_an_error_that_passes
}
