//! A way to the server that a test can cut, close, stall, or rob of one reply. It knows no protocol beyond finding a
//! word in a request.

use std::net::SocketAddr;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::support::server;

/// How long it is tried to listen again.
const LISTEN_MAX: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    /// Nobody listens.
    Closed,
    /// Connections are taken and nothing moves.
    Stalled,
}

#[derive(Debug, Clone, Copy)]
struct State {
    way: Way,
    /// Rises when the connections of before are to be cut.
    cuts: u64,
    /// The request whose reply is lost, with its connection.
    robbed: Option<&'static str>,
    /// The request whose reply is the last thing that is let through.
    last: Option<&'static str>,
}

/// A proxy in front of the server.
pub(crate) struct Proxy {
    port: u16,
    state: watch::Sender<State>,
}

impl Proxy {
    /// One that lets everything through.
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = watch::Sender::new(State { way: Way::Open, cuts: 0, robbed: None, last: None });
        tokio::spawn(listen(listener, state.clone()));
        Self { port, state }
    }

    /// The same database, by this way.
    pub(crate) fn options(&self, options: PgConnectOptions) -> PgConnectOptions {
        options.host("127.0.0.1").port(self.port)
    }

    /// Cuts every connection; new ones are let through.
    pub(crate) fn cut(&self) {
        self.state.send_modify(|state| state.cuts += 1);
    }

    /// Cuts every connection, and listens no more.
    pub(crate) fn close(&self) {
        self.state.send_modify(|state| {
            state.way = Way::Closed;
            state.cuts += 1;
        });
    }

    /// Lets nothing through any more, and says nothing of it.
    pub(crate) fn stall(&self) {
        self.state.send_modify(|state| state.way = Way::Stalled);
    }

    /// Listens again.
    pub(crate) fn open(&self) {
        self.state.send_modify(|state| state.way = Way::Open);
    }

    /// The next request that holds this word reaches the server and is carried out; the reply does not come back.
    pub(crate) fn lose_the_reply_to(&self, word: &'static str) {
        self.state.send_modify(|state| state.robbed = Some(word));
    }

    /// Lets nothing through any more once the next request that holds this word has been answered.
    pub(crate) fn stall_after(&self, word: &'static str) {
        self.state.send_modify(|state| state.last = Some(word));
    }

    /// Whether that happened.
    pub(crate) fn has_lost_it(&self) -> bool {
        self.state.borrow().robbed.is_none()
    }
}

async fn listen(listener: TcpListener, state: watch::Sender<State>) {
    let address = listener.local_addr().unwrap();
    let mut seen = state.subscribe();
    let mut listener = Some(listener);
    loop {
        let way = seen.borrow_and_update().way;
        match (way, &listener) {
            (Way::Closed, Some(_)) => listener = None,
            (Way::Open | Way::Stalled, None) => listener = Some(wait_to_listen(address).await),
            _ => {}
        }
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = seen.changed() => if changed.is_err() { return },
            accepted = accepted => {
                let (client, _) = accepted.unwrap();
                tokio::spawn(carry(client, state.clone()));
            }
        }
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

/// Carries one connection to its end. What goes wrong with it ends it, which is what the two sides are to see.
async fn carry(mut client: TcpStream, state: watch::Sender<State>) {
    let mut seen = state.subscribe();
    let cuts = seen.borrow().cuts;
    let to = server();
    let Ok(mut server) = TcpStream::connect((to.get_host(), to.get_port())).await else { return };
    let (mut request, mut reply) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        let State { way, cuts: now, .. } = *seen.borrow_and_update();
        // One may still be accepted between the close and the end of the listener.
        if now != cuts || way == Way::Closed {
            return;
        }
        let is_moving = way != Way::Stalled;
        tokio::select! {
            changed = seen.changed() => if changed.is_err() { return },
            read = client.read(&mut request), if is_moving => match read {
                Ok(size @ 1..) if server.write_all(&request[..size]).await.is_ok() => {
                    if is_robbed(&state, &request[..size]) {
                        // The reply says that it was carried out.
                        drop(server.read(&mut reply).await);
                        return;
                    }
                    if is_last(&state, &request[..size]) {
                        let size = server.read(&mut reply).await.unwrap_or_default();
                        drop(client.write_all(&reply[..size]).await);
                    }
                }
                _ => return,
            },
            read = server.read(&mut reply), if is_moving => match read {
                Ok(size @ 1..) if client.write_all(&reply[..size]).await.is_ok() => {}
                _ => return,
            },
        }
    }
}

/// Whether this is the request whose reply is to be lost; there is only one.
fn is_robbed(state: &watch::Sender<State>, request: &[u8]) -> bool {
    state.send_if_modified(|state| state.robbed.take_if(|word| holds(request, word)).is_some())
}

/// Whether this is the request that is the last one; then nothing moves from here on.
fn is_last(state: &watch::Sender<State>, request: &[u8]) -> bool {
    state.send_if_modified(|state| {
        let is_it = state.last.take_if(|word| holds(request, word)).is_some();
        if is_it {
            state.way = Way::Stalled;
        }
        is_it
    })
}

fn holds(request: &[u8], word: &str) -> bool {
    request.windows(word.len()).any(|part| part == word.as_bytes())
}
