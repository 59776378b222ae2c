//! Events that `taskqueue work` delivers to the server that TASKQUEUE_REDIS_URL names: Valkey, or Redis. The test speaks
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
fn an_event_is_added_to_a_stream_and_heard_by_who_is_subscribed() {
    let (mut redis, mut subscriber) = (Redis::connect(), Redis::connect());
    let shows = "by `taskqueue work`: to a stream, and to a channel";
    let _proof = proof::begin("event", shows, &redis.server());
    let [kept, heard] = ["kept", "heard"].map(|what| format!("{what}-{:016x}", rand::random::<u64>()));
    assert_eq!(subscriber.ask(&["SUBSCRIBE", &heard]), json!(["subscribe", heard, 1]));
    let destination = |name, target: String| {
        let settings = format!("url = {{ env = \"TASKQUEUE_REDIS_URL\" }}\n{target}");
        Destination { name, kind: "redis", settings }
    };
    let stream = destination("kept", format!("stream = {{ key = {kept:?}, length_max = 100 }}"));
    let channel = destination("heard", format!("channel = {heard:?}"));
    let tasks = event::tell(&Program::new(), &[stream, channel]);

    let message = subscriber.reply();
    assert_eq!((&message[0], &message[1]), (&json!("message"), &json!(heard)));
    event::assert_is_record(message[2].as_str().expect("text").as_bytes(), "heard");
    let entries = redis.ask(&["XRANGE", &kept, "-", "+"]);
    assert_eq!(entries.as_array().map(Vec::len), Some(1), "one event is one entry: {entries}");
    let fields = &entries[0][1];
    assert_eq!((&fields[0], &fields[2]), (&json!("id"), &json!("event")));
    assert!(
        tasks.iter().any(|task| fields[1] == task.as_str()),
        "{fields} has an id that is none of {tasks:?}"
    );
    event::assert_is_record(fields[3].as_str().expect("text").as_bytes(), "kept");
    assert_eq!(redis.ask(&["DEL", &kept]), 1);
}

/// A connection.
struct Redis(BufReader<TcpStream>);

impl Redis {
    fn connect() -> Self {
        let url = std::env::var("TASKQUEUE_REDIS_URL").expect("TASKQUEUE_REDIS_URL names a server");
        let address = url.strip_prefix("redis://").and_then(|rest| rest.split('/').next());
        let address = address.expect("TASKQUEUE_REDIS_URL is redis://host:port/");
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(WAIT_MAX)).expect("a limit can be set");
        Self(BufReader::new(stream))
    }

    /// What it calls itself.
    fn server(&mut self) -> String {
        let info = self.ask(&["INFO", "server"]);
        let info = info.as_str().expect("text");
        let of = |name: &str| info.lines().find_map(|line| line.strip_prefix(name));
        match (of("valkey_version:"), of("redis_version:")) {
            (Some(version), _) => format!("Valkey {version}"),
            (None, version) => format!("Redis {}", version.expect("a server has a version")),
        }
    }

    fn ask(&mut self, words: &[&str]) -> Value {
        let bulk = |word: &&str| format!("${}\r\n{word}\r\n", word.len());
        let command = format!("*{}\r\n{}", words.len(), words.iter().map(bulk).collect::<String>());
        self.0.get_mut().write_all(command.as_bytes()).expect("the server reads");
        self.reply()
    }

    /// The next reply, as JSON.
    fn reply(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("the server answers");
        let (kind, rest) = line.trim_end().split_at(1);
        let number = || rest.parse::<usize>().expect("a length is a number");
        match kind {
            "+" => Value::from(rest),
            ":" => Value::from(rest.parse::<i64>().expect("a number")),
            "*" => (0..number()).map(|_| self.reply()).collect(),
            "$" => {
                let mut bytes = vec![0; number() + "\r\n".len()];
                self.0.read_exact(&mut bytes).expect("the text is whole");
                Value::from(std::str::from_utf8(&bytes).expect("it is text").trim_end_matches("\r\n"))
            }
            _ => panic!("the server says {line:?}"),
        }
    }
}
