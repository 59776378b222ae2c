//! Whether a server answers: the first bytes of its protocol, which no set-up run and no port of a container that
//! does not listen yet gives. A line in a log is not enough: PostgreSQL's official image prints "ready to accept
//! connections" in its set-up run as well. It knows neither containers nor SQL.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A server that is asked and says nothing is asked again after this.
const REPLY_MAX: Duration = Duration::from_secs(2);

/// How a server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Postgres,
    Mysql,
    Http,
    Nats,
    Redis,
}

/// Whether the server on this port of this machine takes a client's connection now.
pub(crate) async fn answers(protocol: Protocol, user: &str, port: u16) -> bool {
    let reply = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        match protocol {
            Protocol::Postgres => {
                stream.write_all(&start_up(user)).await?;
                stream.read_u8().await.map(|kind| kind == b'R')
            }
            Protocol::Mysql => {
                let mut greeting = [0; 5];
                stream.read_exact(&mut greeting).await.map(|_| greeting[4] == 10)
            }
            Protocol::Http => {
                stream.write_all(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").await?;
                begins(&mut stream, b"HTTP/1.1 200").await
            }
            Protocol::Nats => begins(&mut stream, b"INFO {").await,
            Protocol::Redis => {
                stream.write_all(b"PING\r\n").await?;
                begins(&mut stream, b"+PONG").await
            }
        }
    };
    timeout(REPLY_MAX, reply).await.is_ok_and(|answered| answered.unwrap_or(false))
}

/// Whether the server's next words are these.
async fn begins(stream: &mut TcpStream, words: &[u8]) -> std::io::Result<bool> {
    let mut said = vec![0; words.len()];
    stream.read_exact(&mut said).await.map(|_| said == words)
}

/// PostgreSQL's start-up message. The reply begins with `R`, a request to authenticate, or with `E` while the server
/// starts.
fn start_up(user: &str) -> Vec<u8> {
    const VERSION_3: i32 = 196_608;
    let parameters = format!("user\0{user}\0database\0{user}\0\0");
    let length = i32::try_from(8 + parameters.len()).expect("a user's name is short");
    [&length.to_be_bytes(), &VERSION_3.to_be_bytes(), parameters.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn server(reply: &'static [u8]) -> u16 {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await?;
            stream.write_all(reply).await?;
            // Until the client has gone: closing first could take the reply with it.
            stream.read_to_end(&mut Vec::new()).await
        });
        port
    }

    #[tokio::test]
    async fn a_server_that_starts_or_hangs_up_does_not_answer_yet() {
        assert!(answers(Protocol::Postgres, "ada", server(b"R\0\0\0\x08").await).await);
        assert!(!answers(Protocol::Postgres, "ada", server(b"E\0\0\0\x08").await).await);
        assert!(answers(Protocol::Mysql, "ada", server(b"\x4a\0\0\0\x0a8.4").await).await);
        assert!(!answers(Protocol::Mysql, "ada", server(b"\x4a\0\0\0\xff").await).await);
        assert!(!answers(Protocol::Mysql, "ada", server(b"").await).await);
        assert!(answers(Protocol::Http, "", server(b"HTTP/1.1 200 OK\r\n").await).await);
        assert!(!answers(Protocol::Http, "", server(b"HTTP/1.1 503 Busy\r\n").await).await);
        assert!(answers(Protocol::Nats, "", server(b"INFO {\"server_id\"").await).await);
        assert!(!answers(Protocol::Redis, "", server(b"-LOADING\r\n").await).await);
    }

    #[test]
    fn the_start_up_message_says_its_own_length() {
        let message = start_up("ada");
        assert_eq!(message[..4], i32::try_from(message.len()).expect("it is short").to_be_bytes());
        assert!(message.ends_with(b"user\0ada\0database\0ada\0\0"));
    }
}
