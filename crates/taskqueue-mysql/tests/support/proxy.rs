//! A network between the queue and its server that a test can break: cut, refuse, swallow packets, lose an answer, or
//! turn read-only what is connected. It knows no statement beyond the bytes that a rule names.

use std::mem;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How long it is tried to listen again.
const LISTEN_MAX: Duration = Duration::from_secs(30);

/// What happens to the messages of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// They pass, and so do the answers.
    Pass,
    /// The one after so many is lost, with its connection.
    CutBefore(usize),
    /// The one after so many reaches the server, which answers; the answer is lost, with the connection.
    CutAnswer(usize),
    /// The next one with this text reaches the server, which answers; the answer is lost, with the connection.
    CutAnswerOf(&'static str),
    /// All are swallowed.
    Swallow,
    /// All are swallowed from the next one with this text on.
    SwallowFrom(&'static str),
    /// Writing transactions, and inserts when they are prepared, on connections with a lower number are refused as a
    /// read-only server does.
    ReadOnlyBelow(usize),
    /// Those with this text are refused with this number.
    RefuseOf(&'static str, u16),
}

/// What a read-only server refuses.
const WRITES: [&str; 2] = ["READ WRITE", "INSERT INTO"];
/// What it answers to a writer.
const READ_ONLY: Refusal =
    (1290, "The MySQL server is running with the --read-only option so it cannot execute this statement");

/// A number and a text.
type Refusal = (u16, &'static str);

#[derive(Debug)]
struct State {
    rule: Rule,
    connections: usize,
    fired: usize,
    /// What the present connections listen to: a change cuts them.
    cut: watch::Sender<()>,
}

/// A proxy before one server. Its connections end with it.
#[derive(Debug)]
pub(crate) struct Proxy {
    upstream: String,
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    accepting: Option<JoinHandle<()>>,
}

impl Proxy {
    /// A proxy before `upstream`, a host and port.
    pub(crate) async fn before(upstream: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
        let state = State { rule: Rule::Pass, connections: 0, fired: 0, cut: watch::Sender::new(()) };
        let state = Arc::new(Mutex::new(state));
        let address = listener.local_addr().expect("it is bound");
        let mut proxy = Self { upstream: upstream.to_owned(), address, state, accepting: None };
        proxy.accept(listener);
        proxy
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the rule, for all connections.
    pub(crate) fn rule(&self, rule: Rule) {
        let mut state = lock(&self.state);
        (state.rule, state.fired) = (rule, 0);
    }

    /// How often the present rule did something.
    pub(crate) fn fired(&self) -> usize {
        lock(&self.state).fired
    }

    /// How many connections there have been.
    pub(crate) fn connections(&self) -> usize {
        lock(&self.state).connections
    }

    /// Cuts all connections there are, and returns once they are cut: no message of theirs passes after it.
    pub(crate) async fn cut(&self) {
        let present = mem::replace(&mut lock(&self.state).cut, watch::Sender::new(()));
        present.send_replace(());
        present.closed().await;
    }

    /// Refuses new connections, as a host does on which nobody listens.
    pub(crate) async fn refuse(&mut self) {
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
            drop(accepting.await);
        }
    }

    /// Takes connections again.
    pub(crate) async fn resume(&mut self) {
        self.accept(wait_to_listen(self.address).await);
    }

    fn accept(&mut self, listener: TcpListener) {
        let (upstream, state) = (self.upstream.clone(), Arc::clone(&self.state));
        self.accepting = Some(tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (number, mut cut) = lock(&state).connected();
                let (upstream, state) = (upstream.clone(), Arc::clone(&state));
                tokio::spawn(async move {
                    tokio::select! {
                        _ = cut.changed() => {}
                        _ = relay(client, &upstream, &state, number) => {}
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

/// What becomes of one message.
enum Fate {
    Pass,
    Cut,
    CutAnswer,
    Swallow,
    Refuse(Refusal),
}

impl State {
    /// Counts a connection: its number, and what it listens to.
    fn connected(&mut self) -> (usize, watch::Receiver<()>) {
        self.connections += 1;
        (self.connections - 1, self.cut.subscribe())
    }

    fn fate(&mut self, number: usize, message: &[u8]) -> Fate {
        let has = |text: &str| message.windows(text.len()).any(|window| window == text.as_bytes());
        match &mut self.rule {
            Rule::CutBefore(left) | Rule::CutAnswer(left) if *left > 0 => {
                *left -= 1;
                return Fate::Pass;
            }
            Rule::CutAnswerOf(text) | Rule::SwallowFrom(text) | Rule::RefuseOf(text, _) if !has(text) => {
                return Fate::Pass;
            }
            Rule::ReadOnlyBelow(below) if number >= *below || !WRITES.iter().any(|write| has(write)) => {
                return Fate::Pass;
            }
            Rule::Pass => return Fate::Pass,
            _ => {}
        }
        self.fired += 1;
        match self.rule {
            Rule::Pass => Fate::Pass,
            Rule::Swallow | Rule::SwallowFrom(_) => {
                self.rule = Rule::Swallow;
                Fate::Swallow
            }
            Rule::ReadOnlyBelow(_) => Fate::Refuse(READ_ONLY),
            Rule::RefuseOf(_, number) => Fate::Refuse((number, "the server does not do this")),
            Rule::CutBefore(_) => {
                self.rule = Rule::Pass;
                Fate::Cut
            }
            Rule::CutAnswer(_) | Rule::CutAnswerOf(_) => {
                self.rule = Rule::Pass;
                Fate::CutAnswer
            }
        }
    }
}

async fn relay(
    client: TcpStream,
    upstream: &str,
    state: &Mutex<State>,
    number: usize,
) -> std::io::Result<()> {
    let server = TcpStream::connect(upstream).await?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (mut message, mut answer) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            read = from_server.read(&mut answer) => {
                let count = read?;
                if count == 0 {
                    return Ok(());
                }
                to_client.write_all(&answer[..count]).await?;
            }
            read = from_client.read(&mut message) => {
                let count = read?;
                if count == 0 {
                    return Ok(());
                }
                let fate = lock(state).fate(number, &message[..count]);
                match fate {
                    Fate::Pass => to_server.write_all(&message[..count]).await?,
                    Fate::Swallow => {}
                    Fate::Cut => return Ok(()),
                    Fate::CutAnswer => {
                        to_server.write_all(&message[..count]).await?;
                        // Any part of the answer says that the message was taken.
                        from_server.read(&mut answer).await.map(drop)?;
                        return Ok(());
                    }
                    Fate::Refuse(refusal) => refuse(&mut to_client, message[3], refusal).await?,
                }
            }
        }
    }
}

/// Answers with an error.
async fn refuse(
    to_client: &mut OwnedWriteHalf,
    sequence: u8,
    (number, said): Refusal,
) -> std::io::Result<()> {
    let mut packet = vec![u8::try_from(said.len() + 9).expect("it is short"), 0, 0, sequence + 1, 0xff];
    packet.extend_from_slice(&number.to_le_bytes());
    packet.extend_from_slice(b"#HY000");
    packet.extend_from_slice(said.as_bytes());
    to_client.write_all(&packet).await
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no holder panics")
}
