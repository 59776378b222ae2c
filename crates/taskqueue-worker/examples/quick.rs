//! Enqueues one typed task and works it, in memory: `cargo run -p taskqueue-worker --example quick`.

use serde::{Deserialize, Serialize};
use taskqueue_memory::MemoryQueue;
use taskqueue_worker::{Payload, Queue, Result, Worker};

#[derive(Serialize, Deserialize)]
struct Welcome {
    user: String,
}

impl Payload for Welcome {
    const TYPE: &'static str = "welcome";
}

async fn welcome(mail: Welcome) {
    println!("welcome, {}", mail.user);
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let queue = MemoryQueue::new();
    queue.enqueue(Welcome { user: "ada".to_owned() }).await?;
    let report = Worker::builder(queue).handler(welcome).build()?.drain().await;
    println!("{} completed", report.completed);
    Ok(())
}
