//! Events that `taskqueue work` delivers to the NATS server with JetStream that TASKQUEUE_NATS_URL names. The test speaks
//! the server's own protocol, as much of it as it takes, so that no client library stands between the two. It knows
//! nothing of the program's inside.

#[path = "support/event.rs"]
mod event;
#[path = "../../taskqueue-handlers/tests/support/proof.rs"]
mod proof;
mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use event::Destination;
use serde_json::{Value, json};
use support::{Program, WAIT_MAX};

#[test]
fn an_event_is_stored_in_a_stream_and_heard_by_who_is_subscribed() {
    let mut nats = Nats::connect();
    let shows = "by `taskqueue work`: into a JetStream, and by the core protocol";
    let _proof = proof::begin("event", shows, &format!("NATS {}", nats.version));
    let (kept, heard) = (unique("kept"), unique("heard"));
    nats.create_stream(&kept);
    nats.subscribe(&heard);
    let destination = |name, subject: &str, mode: &str| {
        let servers = "{ env = \"TASKQUEUE_NATS_URL\" }";
        let settings = format!("servers = {servers}\nsubject = {subject:?}\nmode = {mode:?}");
        Destination { name, kind: "nats", settings }
    };
    let destinations = [destination("kept", &kept, "jetstream"), destination("heard", &heard, "core")];
    let tasks = event::tell(&Program::new(), &destinations);

    let message = nats.next();
    assert_eq!(message.subject, heard);
    event::assert_is_record(&message.payload, "heard");
    let stored = nats.stored(&kept, 1);
    event::assert_is_record(&stored.payload, "kept");
    let id = stored.headers.lines().find_map(|line| line.strip_prefix("Nats-Msg-Id: "));
    assert!(tasks.iter().any(|task| Some(task.as_str()) == id), "{id:?} is none of {tasks:?}");
    assert_eq!(nats.count(&kept), 1, "one event is one message");
}

fn unique(what: &str) -> String {
    format!("{what}_{:016x}", rand::random::<u64>())
}

/// A connection.
struct Nats {
    stream: BufReader<TcpStream>,
    version: String,
    /// How many subscriptions there are: each has a number of its own.
    subscriptions: u32,
}

/// What the server hands over.
struct Message {
    subject: String,
    headers: String,
    payload: Vec<u8>,
}

impl Nats {
    fn connect() -> Self {
        let url = std::env::var("TASKQUEUE_NATS_URL").expect("TASKQUEUE_NATS_URL names a NATS server");
        let host = url.trim_start_matches("nats://").trim_end_matches('/');
        let stream = TcpStream::connect(host).expect("it listens");
        stream.set_read_timeout(Some(WAIT_MAX)).expect("a limit can be set");
        let mut nats = Self { stream: BufReader::new(stream), version: String::new(), subscriptions: 0 };
        let greeting = nats.line();
        let info = greeting.strip_prefix("INFO ").expect("a NATS server says first who it is");
        let info: Value = serde_json::from_str(info).expect("JSON");
        nats.version = info["version"].as_str().expect("text").to_owned();
        nats.send("CONNECT {\"verbose\":false,\"headers\":true}\r\n");
        nats
    }

    /// A stream of its own, in memory, that takes the subject of its name.
    fn create_stream(&mut self, name: &str) {
        let config = json!({"name": name, "subjects": [name], "storage": "memory", "allow_direct": true});
        self.ask(&format!("$JS.API.STREAM.CREATE.{name}"), &config);
    }

    /// How many messages a stream holds.
    fn count(&mut self, stream: &str) -> u64 {
        let info = self.ask(&format!("$JS.API.STREAM.INFO.{stream}"), &json!({}));
        info["state"]["messages"].as_u64().expect("a number")
    }

    /// A message of a stream, by its number from 1.
    fn stored(&mut self, stream: &str, number: u64) -> Message {
        self.request(&format!("$JS.API.DIRECT.GET.{stream}"), &json!({"seq": number}))
    }

    fn ask(&mut self, subject: &str, question: &Value) -> Value {
        let answer = self.request(subject, question);
        let answer: Value = serde_json::from_slice(&answer.payload).expect("JSON");
        assert!(answer.get("error").is_none(), "{subject}: {answer}");
        answer
    }

    fn request(&mut self, subject: &str, question: &Value) -> Message {
        let (inbox, question) = (unique("_INBOX.test"), question.to_string());
        self.subscribe(&inbox);
        self.send(&format!("PUB {subject} {inbox} {}\r\n{question}\r\n", question.len()));
        let answer = self.next();
        assert_eq!(answer.subject, inbox);
        answer
    }

    /// Returns once the server knows it.
    fn subscribe(&mut self, subject: &str) {
        self.subscriptions += 1;
        self.send(&format!("SUB {subject} {}\r\nPING\r\n", self.subscriptions));
        assert_eq!(self.line(), "PONG");
    }

    /// The next message of any subscription.
    fn next(&mut self) -> Message {
        let line = self.line();
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |word: &str| word.parse::<usize>().expect("a size is a number");
        let (subject, head, whole) = match *words.as_slice() {
            ["MSG", subject, _, size] | ["MSG", subject, _, _, size] => (subject, 0, number(size)),
            ["HMSG", subject, _, head, whole] | ["HMSG", subject, _, _, head, whole] => {
                (subject, number(head), number(whole))
            }
            _ => panic!("the server says {line:?}"),
        };
        let mut bytes = vec![0; whole + "\r\n".len()];
        self.stream.read_exact(&mut bytes).expect("the message is whole");
        let headers = String::from_utf8(bytes[..head].to_vec()).expect("headers are text");
        Message { subject: subject.to_owned(), headers, payload: bytes[head..whole].to_vec() }
    }

    fn send(&mut self, text: &str) {
        self.stream.get_mut().write_all(text.as_bytes()).expect("the server reads");
    }

    /// The next line but for the server's own questions whether anybody is there.
    fn line(&mut self) -> String {
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).expect("the server answers");
            match line.trim_end() {
                "PING" => self.send("PONG\r\n"),
                line => return line.to_owned(),
            }
        }
    }
}
