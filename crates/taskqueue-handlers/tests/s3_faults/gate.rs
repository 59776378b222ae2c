//! A network before a server that closes in mid-transfer, tells the test so, and stays closed until the test opens it;
//! it can lead to another server from then on. It knows no S3.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

/// How long a transfer may take to come to where the gate closes.
const CLOSES_MAX: Duration = Duration::from_secs(60);
const OPEN: u64 = u64::MAX;

#[derive(Clone)]
pub(crate) struct Gate {
    address: String,
    upstream: watch::Sender<String>,
    /// How many bytes may pass, of both directions and all connections together.
    rest: Arc<AtomicU64>,
    is_closed: watch::Sender<bool>,
}

impl Gate {
    /// An open one, before the server at this host and port.
    pub(crate) async fn before(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gate = Self {
            address: listener.local_addr().unwrap().to_string(),
            upstream: watch::Sender::new(upstream.to_owned()),
            rest: Arc::new(AtomicU64::new(OPEN)),
            is_closed: watch::Sender::new(false),
        };
        let accepting = gate.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let gate = accepting.clone();
                tokio::spawn(async move { gate.relay(client).await });
            }
        });
        gate
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Lets so many bytes pass, and closes.
    pub(crate) fn close_after(&self, bytes: u64) {
        self.rest.store(bytes, Ordering::SeqCst);
    }

    /// Waits until it has closed.
    pub(crate) async fn wait_until_closed(&self) {
        let mut is_closed = self.is_closed.subscribe();
        let closed = timeout(CLOSES_MAX, is_closed.wait_for(|closed| *closed)).await;
        drop(closed.expect("nobody has come so far").expect("the gate is there"));
    }

    /// Opens it, for connections that are waiting and for new ones.
    pub(crate) fn open(&self) {
        self.rest.store(OPEN, Ordering::SeqCst);
        self.is_closed.send_replace(false);
    }

    /// Leads new connections to another server.
    pub(crate) fn lead_to(&self, upstream: &str) {
        self.upstream.send_replace(upstream.to_owned());
    }

    async fn relay(&self, mut client: TcpStream) {
        let upstream = self.upstream.borrow().clone();
        // Without a server the client finds its connection closed.
        let Ok(mut server) = TcpStream::connect(upstream).await else { return };
        let (mut up, mut down) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
        loop {
            let (count, is_up) = tokio::select! {
                count = client.read(&mut up) => (count.unwrap_or(0), true),
                count = server.read(&mut down) => (count.unwrap_or(0), false),
            };
            if count == 0 {
                return;
            }
            self.pass(count as u64).await;
            let written = if is_up {
                server.write_all(&up[..count]).await
            } else {
                client.write_all(&down[..count]).await
            };
            if written.is_err() {
                return;
            }
        }
    }

    async fn pass(&self, count: u64) {
        let take = |rest: u64| if rest == OPEN { Some(OPEN) } else { rest.checked_sub(count) };
        if self.rest.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_err() {
            let mut is_closed = self.is_closed.subscribe();
            self.is_closed.send_replace(true);
            drop(is_closed.wait_for(|closed| !*closed).await);
        }
    }
}
