//! A network between the queue and its server that a test can break: at the message that a rule names, or as a whole. It knows
//! no statement beyond the bytes that a rule names.

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard};

use taskqueue_conformance::{Fate, Proxy as Network};

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
    fired: usize,
}

/// A proxy before one server. Its connections end with it.
pub(crate) struct Proxy {
    network: Network,
    state: Arc<Mutex<State>>,
}

impl Proxy {
    /// A proxy before `upstream`, a host and port.
    pub(crate) async fn before(upstream: &str) -> Self {
        let state = Arc::new(Mutex::new(State { rule: Rule::Pass, fired: 0 }));
        let asked = Arc::clone(&state);
        let rules = move |number, message: &[u8]| lock(&asked).fate(number, message);
        Self { network: Network::with_rules(upstream, rules).await, state }
    }

    /// Changes the rule, for all connections.
    pub(crate) fn rule(&self, rule: Rule) {
        *lock(&self.state) = State { rule, fired: 0 };
    }

    /// How often the present rule did something.
    pub(crate) fn fired(&self) -> usize {
        lock(&self.state).fired
    }
}

impl Deref for Proxy {
    type Target = Network;

    fn deref(&self) -> &Network {
        &self.network
    }
}

impl State {
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
            Rule::ReadOnlyBelow(_) => refusal(message, READ_ONLY),
            Rule::RefuseOf(_, number) => refusal(message, (number, "the server does not do this")),
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

/// The error that answers a message.
fn refusal(message: &[u8], (number, said): Refusal) -> Fate {
    let sequence = message[3] + 1;
    let mut packet = vec![u8::try_from(said.len() + 9).expect("it is short"), 0, 0, sequence, 0xff];
    packet.extend_from_slice(&number.to_le_bytes());
    packet.extend_from_slice(b"#HY000");
    packet.extend_from_slice(said.as_bytes());
    Fate::Answer(packet)
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no holder panics")
}
