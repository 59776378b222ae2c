//! A network between a sink and its server that a test can break: cut, refuse, stall, or lose the answers. It knows no
//! protocol.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How long it is tried to listen again.
const LISTEN_MAX: Duration = Duration::from_secs(30);

/// What becomes of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// They pass.
    Pass,
    /// They wait, as when the server is paused.
    Stall,
    /// Those of the client pass, those of the server are lost.
    LoseAnswers,
}

/// A proxy before one server. Its connections end with it.
#[derive(Debug)]
pub(crate) struct Proxy {
    upstream: String,
    address: SocketAddr,
    rule: watch::Sender<Rule>,
    /// Each change cuts the connections.
    cut: watch::Sender<()>,
    accepting: Option<JoinHandle<()>>,
}

impl Proxy {
    /// A proxy before `upstream`, a host and port.
    pub(crate) async fn before(upstream: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let (rule, cut) = (watch::Sender::new(Rule::Pass), watch::Sender::new(()));
        let address = listener.local_addr().unwrap();
        let mut proxy = Self { upstream: upstream.to_owned(), address, rule, cut, accepting: None };
        proxy.accept(listener);
        proxy
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the rule, for all connections.
    pub(crate) fn rule(&self, rule: Rule) {
        self.rule.send_replace(rule);
    }

    /// Cuts all connections and refuses new ones, as when the server was killed.
    pub(crate) async fn kill(&mut self) {
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
            drop(accepting.await);
        }
        self.cut.send_replace(());
        self.rule(Rule::Pass);
    }

    /// Takes connections again.
    pub(crate) async fn restart(&mut self) {
        self.accept(wait_to_listen(self.address).await);
    }

    fn accept(&mut self, listener: TcpListener) {
        let (upstream, rule, cut) = (self.upstream.clone(), self.rule.clone(), self.cut.clone());
        self.accepting = Some(tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (upstream, rule, mut cut) = (upstream.clone(), rule.subscribe(), cut.subscribe());
                tokio::spawn(async move {
                    tokio::select! {
                        _ = cut.changed() => {}
                        _ = relay(client, &upstream, rule) => {}
                    }
                });
            }
        }));
    }
}

/// Listens on a port that was given up. Another program may hold it for a moment, for a connection of its own.
async fn wait_to_listen(address: SocketAddr) -> TcpListener {
    let began = Instant::now();
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) => assert!(began.elapsed() < LISTEN_MAX, "{address}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn relay(client: TcpStream, upstream: &str, rule: watch::Receiver<Rule>) -> std::io::Result<()> {
    let (from_server, to_server) = TcpStream::connect(upstream).await?.into_split();
    let (from_client, to_client) = client.into_split();
    tokio::select! {
        ended = pump(from_client, to_server, rule.clone(), false) => ended,
        ended = pump(from_server, to_client, rule, true) => ended,
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut rule: watch::Receiver<Rule>,
    are_answers: bool,
) -> std::io::Result<()> {
    let mut bytes = vec![0; 1 << 16];
    loop {
        let count = from.read(&mut bytes).await?;
        if count == 0 {
            return Ok(());
        }
        let Ok(rule) = rule.wait_for(|rule| *rule != Rule::Stall).await.map(|rule| *rule) else {
            return Ok(());
        };
        if rule != Rule::LoseAnswers || !are_answers {
            to.write_all(&bytes[..count]).await?;
        }
    }
}
