//! A network between clients and a server that a test can break: cut, refuse, hold, lose answers, or lead to another server.
//! What becomes of single messages is the rules' business, which a test brings along. It knows no protocol.

use std::mem;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// So many clients may wait to be accepted.
const BACKLOG: u32 = 1024;
/// As much is read at once.
const READ_SIZE: usize = 1 << 16;

/// What becomes of one message of a client: of what one read gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It reaches the server.
    Pass,
    /// It is lost.
    Swallow,
    /// It is lost, with its connection.
    Cut,
    /// It reaches the server, which answers; the answer is lost, with the connection.
    CutAnswer,
    /// It reaches the server, and the first part of the answer its client; from then on all is held, on every connection.
    HoldAfterAnswer,
    /// It is answered so, and does not reach the server.
    Answer(Vec<u8>),
}

/// Says what becomes of a message, by the number of its connection, from 0 on.
type Rules = dyn Fn(usize, &[u8]) -> Fate + Send + Sync;

/// What becomes of all bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    Held,
    Unanswered,
}

/// A proxy on a port of 127.0.0.1. Its connections end with it.
pub struct Proxy {
    address: SocketAddr,
    /// Keeps the port, also while nobody listens on it: given up, it could become that of another program's connection.
    _port: TcpSocket,
    inside: Arc<Inside>,
    /// None while connections are refused.
    accepting: Mutex<Option<JoinHandle<()>>>,
}

/// What its connections share.
struct Inside {
    upstream: Mutex<String>,
    rules: Box<Rules>,
    way: watch::Sender<Way>,
    connections: AtomicUsize,
    /// What the present connections listen to: a change cuts them.
    cut: Mutex<watch::Sender<()>>,
}

impl Proxy {
    /// A proxy before `upstream`, a host and port.
    pub async fn before(upstream: &str) -> Self {
        Self::with_rules(upstream, |_, _| Fate::Pass).await
    }

    /// One that asks these rules about each message, by the number of its connection.
    pub async fn with_rules(
        upstream: &str,
        rules: impl Fn(usize, &[u8]) -> Fate + Send + Sync + 'static,
    ) -> Self {
        let port = bind(SocketAddr::from(([127, 0, 0, 1], 0)));
        let address = port.local_addr().expect("it is bound");
        let inside = Arc::new(Inside {
            upstream: Mutex::new(upstream.to_owned()),
            rules: Box::new(rules),
            way: watch::Sender::new(Way::Open),
            connections: AtomicUsize::new(0),
            cut: Mutex::new(watch::Sender::new(())),
        });
        let accepting = Mutex::new(Some(tokio::spawn(accept(listen(address), Arc::clone(&inside)))));
        Self { address, _port: port, inside, accepting }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        self.inside.connections.load(Ordering::Relaxed)
    }

    /// Leads connections that come from now on to another server.
    pub fn lead_to(&self, upstream: &str) {
        upstream.clone_into(&mut lock(&self.inside.upstream));
    }

    /// Holds all bytes, those of connections that come included, and says nothing of it.
    pub fn hold(&self) {
        self.inside.way.send_replace(Way::Held);
    }

    /// Loses what the server says; what clients say passes.
    pub fn lose_answers(&self) {
        self.inside.way.send_replace(Way::Unanswered);
    }

    /// Lets everything pass again, what was held included.
    pub fn pass(&self) {
        self.inside.way.send_replace(Way::Open);
    }

    /// Cuts all connections there are, and returns once they are cut: nothing of theirs passes after it.
    pub async fn cut(&self) {
        let present = mem::replace(&mut *lock(&self.inside.cut), watch::Sender::new(()));
        present.send_replace(());
        present.closed().await;
    }

    /// Refuses new connections, as a host does on which nobody listens.
    pub async fn refuse(&self) {
        let accepting = lock(&self.accepting).take();
        if let Some(accepting) = accepting {
            accepting.abort();
            drop(accepting.await);
        }
    }

    /// Cuts all connections and refuses new ones, as when the server was killed.
    pub async fn kill(&self) {
        self.refuse().await;
        self.cut().await;
        self.pass();
    }

    /// Takes connections again.
    pub fn resume(&self) {
        let accepting = accept(listen(self.address), Arc::clone(&self.inside));
        *lock(&self.accepting) = Some(tokio::spawn(accepting));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(accepting) = lock(&self.accepting).take() {
            accepting.abort();
        }
        lock(&self.inside.cut).send_replace(());
    }
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listen(address: SocketAddr) -> TcpListener {
    bind(address).listen(BACKLOG).expect("the port is kept for it")
}

/// A socket at this address beside others of ours.
fn bind(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("there are sockets");
    #[cfg(unix)]
    socket.set_reuseport(true).expect("a socket can share its port");
    #[cfg(not(unix))]
    socket.set_reuseaddr(true).expect("a socket can share its port");
    socket.bind(address).expect("a port is free");
    socket
}

async fn accept(listener: TcpListener, inside: Arc<Inside>) {
    while let Ok((client, _)) = listener.accept().await {
        let number = inside.connections.fetch_add(1, Ordering::Relaxed);
        let mut cut = lock(&inside.cut).subscribe();
        let inside = Arc::clone(&inside);
        tokio::spawn(async move {
            // What goes wrong with a connection ends it, which is what both sides are to see.
            tokio::select! {
                _ = cut.changed() => {}
                _ = relay(client, &inside, number) => {}
            }
        });
    }
}

/// What is to become of the next answer of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Pass,
    Cut,
    Hold,
}

async fn relay(client: TcpStream, inside: &Inside, number: usize) -> std::io::Result<()> {
    let upstream = lock(&inside.upstream).clone();
    let (from_server, to_server) = TcpStream::connect(upstream).await?.into_split();
    let (from_client, to_client) = client.into_split();
    let (to_client, next) = (tokio::sync::Mutex::new(to_client), Mutex::new(Next::Pass));
    let connection = Connection { inside, number, to_client, next };
    tokio::select! {
        ended = connection.carry_messages(from_client, to_server) => ended,
        ended = connection.carry_answers(from_server) => ended,
    }
}

struct Connection<'a> {
    inside: &'a Inside,
    number: usize,
    to_client: tokio::sync::Mutex<OwnedWriteHalf>,
    next: Mutex<Next>,
}

impl Connection<'_> {
    async fn carry_messages(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> std::io::Result<()> {
        let mut bytes = vec![0; READ_SIZE];
        while let size @ 1.. = from.read(&mut bytes).await? {
            self.way().await;
            let message = &bytes[..size];
            let fate = (self.inside.rules)(self.number, message);
            // Before the server can have answered.
            match fate {
                Fate::CutAnswer => *lock(&self.next) = Next::Cut,
                Fate::HoldAfterAnswer => *lock(&self.next) = Next::Hold,
                _ => {}
            }
            match fate {
                Fate::Pass | Fate::CutAnswer | Fate::HoldAfterAnswer => to.write_all(message).await?,
                Fate::Swallow => {}
                Fate::Cut => return Ok(()),
                Fate::Answer(answer) => self.to_client.lock().await.write_all(&answer).await?,
            }
        }
        Ok(())
    }

    async fn carry_answers(&self, mut from: OwnedReadHalf) -> std::io::Result<()> {
        let mut bytes = vec![0; READ_SIZE];
        while let size @ 1.. = from.read(&mut bytes).await? {
            let way = self.way().await;
            let next = mem::replace(&mut *lock(&self.next), Next::Pass);
            match next {
                // Any part of the answer says that the message was taken.
                Next::Cut => return Ok(()),
                Next::Hold => drop(self.inside.way.send_replace(Way::Held)),
                Next::Pass => {}
            }
            if way != Way::Unanswered {
                self.to_client.lock().await.write_all(&bytes[..size]).await?;
            }
        }
        Ok(())
    }

    /// Waits while all is held.
    async fn way(&self) -> Way {
        let mut way = self.inside.way.subscribe();
        // Its sender is there as long as its connections.
        way.wait_for(|way| *way != Way::Held).await.map_or(Way::Open, |way| *way)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that says its name to whoever says something.
    async fn named(name: &'static str) -> String {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound").to_string();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    while client.read_u8().await.is_ok() {
                        client.write_all(name.as_bytes()).await.expect("the client is there");
                    }
                });
            }
        });
        address
    }

    async fn ask(client: &mut TcpStream) -> std::io::Result<u8> {
        client.write_u8(b'?').await?;
        client.read_u8().await
    }

    #[tokio::test]
    async fn connections_stay_with_their_server_and_new_ones_go_where_the_proxy_leads() {
        let (one, other) = (named("1").await, named("2").await);
        let proxy = Proxy::before(&one).await;
        let mut before = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(ask(&mut before).await.unwrap(), b'1');

        proxy.lead_to(&other);
        let mut after = TcpStream::connect(proxy.address()).await.unwrap();

        assert_eq!(ask(&mut after).await.unwrap(), b'2');
        assert_eq!(ask(&mut before).await.unwrap(), b'1');
        proxy.cut().await;
        ask(&mut before).await.unwrap_err();
        assert_eq!(proxy.connections(), 2);
    }

    #[tokio::test]
    async fn what_is_held_passes_later_and_what_is_refused_never_came() {
        let proxy = Proxy::before(&named("1").await).await;
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();

        proxy.hold();
        let mut asking = std::pin::pin!(ask(&mut client));
        tokio::time::timeout(std::time::Duration::from_millis(50), &mut asking).await.unwrap_err();
        proxy.pass();
        assert_eq!(asking.await.unwrap(), b'1');

        proxy.refuse().await;
        TcpStream::connect(proxy.address()).await.unwrap_err();
        proxy.resume();
        TcpStream::connect(proxy.address()).await.unwrap();
    }

    #[tokio::test]
    async fn a_port_that_refuses_is_nobody_elses() {
        let proxy = Proxy::before(&named("1").await).await;
        proxy.refuse().await;

        let taken = TcpListener::bind(proxy.address()).await.unwrap_err();
        assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
        let refused = TcpStream::connect(proxy.address()).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn an_answer_is_cut_or_made_up_as_the_rules_say() {
        let rules = |number, _: &[u8]| if number == 0 { Fate::CutAnswer } else { Fate::Answer(vec![b'3']) };
        let proxy = Proxy::with_rules(&named("1").await, rules).await;

        let mut cut = TcpStream::connect(proxy.address()).await.unwrap();
        ask(&mut cut).await.unwrap_err();
        let mut answered = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(ask(&mut answered).await.unwrap(), b'3');
    }
}
