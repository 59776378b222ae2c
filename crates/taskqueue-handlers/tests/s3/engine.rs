//! What a server calls itself, for the table that ends a run. It speaks just enough HTTP to ask.

use taskqueue_handlers::store::S3Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Prints it as the harness reads it, and returns it.
pub(crate) async fn report(name: &str, config: &S3Config) -> String {
    let host = config.endpoint.as_ref().unwrap().trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).await.unwrap();
    let request = format!("HEAD / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let server = answer.lines().find_map(|line| line.strip_prefix("Server: ")).unwrap_or("that does not say");
    let version = server.strip_prefix(&format!("{name}/")).unwrap_or(server);
    println!("engine: {name} {version}");
    version.to_owned()
}
