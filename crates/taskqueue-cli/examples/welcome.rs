//! The README's program: enqueues a typed task and works it. `cargo xtask tidy` keeps the two alike.

use serde::{Deserialize, Serialize};
use taskqueue_sqlite::{Payload, Queue, Result, SqliteQueue};
use taskqueue_worker::Worker;

#[derive(Serialize, Deserialize)]
struct Welcome {
    user: String,
}

impl Payload for Welcome {
    const TYPE: &'static str = "welcome";
}

async fn welcome(mail: Welcome) -> std::io::Result<()> {
    println!("welcome, {}", mail.user); // any error here is retried, with backoff
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let queue = SqliteQueue::connect("sqlite:welcome.db").await?;
    queue.migrate().await?;
    queue.enqueue(Welcome { user: "Ada".to_owned() }).await?;
    let report = Worker::builder(queue).handler(welcome).build()?.drain().await;
    println!("{} completed", report.completed); // a service calls run_until(shutdown) instead
    Ok(())
}
