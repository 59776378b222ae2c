//! An HTTP receiver on a loopback port, which keeps what it is sent. It speaks as much HTTP as one POST takes.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::support::WAIT_MAX;

/// One request.
#[derive(Debug)]
pub(crate) struct Request {
    /// `POST /path HTTP/1.1`.
    pub(crate) line: String,
    /// By their names in small letters.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// Answers every request 204.
pub(crate) struct HttpReceiver {
    address: SocketAddr,
    requests: Receiver<Request>,
}

impl HttpReceiver {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let address = listener.local_addr().expect("it is bound");
        let (sender, requests) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(stream, &sender);
            }
        });
        Self { address, requests }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The next request.
    #[track_caller]
    pub(crate) fn next(&self) -> Request {
        self.requests.recv_timeout(WAIT_MAX).expect("a request comes")
    }

    /// What has come and was not asked for.
    pub(crate) fn rest(&self) -> Vec<Request> {
        self.requests.try_iter().collect()
    }
}

/// Keeps the request before it answers: who has the answer finds it here.
fn answer(stream: TcpStream, requests: &Sender<Request>) {
    let mut reader = BufReader::new(&stream);
    let mut lines = reader.by_ref().lines().map(|line| line.expect("a request is text up to its body"));
    let line = lines.next().expect("a request has a first line");
    let headers: BTreeMap<_, _> = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        })
        .collect();
    let length = headers.get("content-length").and_then(|length| length.parse().ok());
    let mut body = vec![0; length.expect("a POST says how long it is")];
    reader.read_exact(&mut body).expect("the body is whole");
    // The test may have ended.
    let _ = requests.send(Request { line, headers, body });
    let _ = (&stream).write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
}
