//! A network before a server that breaks or stands still after so many bytes; and a server that says what it is told.
//! It knows no S3.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is cut, as when the server is killed.
    Cut,
    /// Nothing passes any more, as when the server is paused.
    Stall,
}

/// A proxy before `upstream` that lets this many bytes pass, of both directions together, and then does that. Returns
/// its address.
pub(crate) async fn proxy(upstream: String, bytes: u64, fate: Fate) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let rest = Arc::new(AtomicU64::new(bytes));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&upstream).await.unwrap();
            tokio::spawn(relay(client, server, rest.clone(), fate));
        }
    });
    address
}

async fn relay(mut client: TcpStream, mut server: TcpStream, rest: Arc<AtomicU64>, fate: Fate) {
    let (mut up, mut down) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    loop {
        let (count, is_up) = tokio::select! {
            count = client.read(&mut up) => (count.unwrap_or(0), true),
            count = server.read(&mut down) => (count.unwrap_or(0), false),
        };
        if count == 0 {
            return;
        }
        let take = |rest: u64| rest.checked_sub(count as u64);
        if rest.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
            match fate {
                Fate::Cut => return,
                Fate::Stall => std::future::pending::<()>().await,
            }
        }
        let written =
            if is_up { server.write_all(&up[..count]).await } else { client.write_all(&down[..count]).await };
        if written.is_err() {
            return;
        }
    }
}

/// A server that answers each request with the next of these, byte for byte, and the last one from then on; then it
/// closes the connection, or stands still where an answer ends with `…`. Returns its address.
pub(crate) async fn stub(answers: &[&str]) -> String {
    let answers: Vec<String> = answers.iter().map(|&answer| answer.to_owned()).collect();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut answers = answers.into_iter();
        let mut answer = String::new();
        while let Ok((mut client, _)) = listener.accept().await {
            answer = answers.next().unwrap_or(answer);
            let mut head = Vec::new();
            while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                head.push(client.read_u8().await.unwrap());
            }
            client.write_all(answer.trim_end_matches('…').as_bytes()).await.unwrap();
            if answer.ends_with('…') {
                tokio::spawn(async move { client.read_to_end(&mut Vec::new()).await });
            }
        }
    });
    address
}
