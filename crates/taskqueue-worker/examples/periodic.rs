//! Enqueues a task each second and another by a cron expression, in memory, and works what comes within five seconds:
//! `cargo run -p taskqueue-worker --example periodic`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use taskqueue_memory::MemoryQueue;
use taskqueue_worker::{NewTask, Payload, Periodic, Result, TaskContext, Worker};

#[derive(Serialize, Deserialize)]
struct PollInbox {}

impl Payload for PollInbox {
    const TYPE: &'static str = "poll_inbox";
}

#[derive(Serialize, Deserialize)]
struct Report {
    to: String,
}

impl Payload for Report {
    const TYPE: &'static str = "report";
}

async fn poll_inbox(_: PollInbox, cx: TaskContext) {
    println!("polling the inbox, as of {}", cx.metadata()["fire_at"]);
}

async fn report(report: Report, cx: TaskContext) {
    println!("reporting to {}, as of {}", report.to, cx.metadata()["fire_at"]);
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    // Once a second here, so that there is something to see; "0 3 * * *" would be at three each night.
    let report_task = NewTask::new(&Report { to: "ada".to_owned() })?.max_retries(10);
    let worker = Worker::builder(MemoryQueue::new())
        .handler(poll_inbox)
        .handler(report)
        .periodic(Periodic::every("poll-inbox", Duration::from_secs(1), PollInbox {})?)
        .periodic(Periodic::cron("report", "*/2 * * * * *", report_task)?)
        .build()?;
    let done = worker.run_until(tokio::time::sleep(Duration::from_secs(5))).await?;
    println!("{} completed", done.completed);
    Ok(())
}
