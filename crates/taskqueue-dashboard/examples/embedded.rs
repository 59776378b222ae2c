//! A service with the dashboard at a path of its own: `cargo run -p taskqueue-dashboard --example embedded`, then open
//! the address that it prints. The queue is in memory, and nobody works what is in it.

use axum::Router;
use axum::routing::get;
use taskqueue_dashboard::{Actions, Dashboard, Hosts, Payloads};
use taskqueue_memory::{MemoryQueue, NewTask, Queue};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let queue = MemoryQueue::new();
    for user in 0..200 {
        let payload = format!(r#"{{"user":{user},"email":"{user}@example.org"}}"#);
        queue.enqueue(NewTask::raw("welcome", payload)?).await?;
    }

    // Clones of the queue share its tasks: a worker of the service would have another one.
    let dashboard = Dashboard::builder(queue.clone())
        .actions(Actions::Allowed)
        .payloads(Payloads::Redacted(vec!["email".to_owned()]))
        // It listens on this host only and asks for no password. Elsewhere: `.password(…)`, or the service's own login.
        .hosts(Hosts::Loopback)
        .build()?;

    let service = Router::new()
        .route("/", get(|| async { "the service itself; its queue is at /queue\n" }))
        .nest_service("/queue", dashboard.router::<()>());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}/queue", listener.local_addr()?);
    axum::serve(listener, service).await?;
    Ok(())
}
