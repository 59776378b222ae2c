//! A service's worker: handlers with shared state, a follow-up task, errors that say whether to try again, a shutdown; and the
//! test of a handler, on paused time and a queue in memory. `cargo run -p taskqueue-worker --example service`; a service
//! that has a database passes its queue instead.

use std::future::Future;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use taskqueue_memory::MemoryQueue;
use taskqueue_worker::{
    Configure as _, Data, Outcome, Payload, Queue, RetryPolicy, TaskContext, TaskError, Worker,
};

#[derive(Serialize, Deserialize)]
struct Welcome {
    user: String,
}

impl Payload for Welcome {
    const TYPE: &'static str = "welcome";
}

#[derive(Serialize, Deserialize)]
struct ImportPage {
    page: usize,
}

impl Payload for ImportPage {
    const TYPE: &'static str = "import_page";
}

/// What mails go out by; this one keeps them.
#[derive(Default)]
struct Mailer(Mutex<Vec<String>>);

impl Mailer {
    async fn send(&self, user: &str) -> Result<()> {
        anyhow::ensure!(user.contains('@'), "{user} is no address");
        self.0.lock().expect("nobody panics while he holds it").push(user.to_owned());
        Ok(())
    }
}

/// What pages are imported from: so many.
struct Store {
    pages: usize,
}

/// Any error is retried by the policy.
async fn welcome(mail: Welcome, mailer: Data<Mailer>) -> Result<()> {
    mailer.send(&mail.user).await
}

/// One page after the other: the next one's task commits with the completion of this one.
async fn import(
    import: ImportPage,
    cx: TaskContext,
    store: Data<Store>,
) -> std::result::Result<Outcome, TaskError> {
    if import.page > store.pages {
        return Err(TaskError::permanent("there is no such page"));
    }
    if cx.cancelled().is_cancelled() {
        return Ok(Outcome::Release);
    }
    println!("page {} of {}, attempt {}", import.page, store.pages, cx.attempt());
    Ok(match import.page {
        last if last == store.pages => Outcome::done(),
        page => Outcome::done().then(ImportPage { page: page + 1 }),
    })
}

/// A user signs up. A service that has a database enqueues in the transaction that writes its own rows (`enqueue_in`).
async fn sign_up(queue: &impl Queue, user: &str) -> Result<()> {
    queue.enqueue(Welcome { user: user.to_owned() }).await?;
    Ok(())
}

/// Runs the worker until `shutdown`, which may wait for a signal.
async fn serve(queue: impl Queue, shutdown: impl Future<Output = ()>) -> Result<()> {
    let ten_minutes = Duration::from_secs(600);
    let worker = Worker::builder(queue)
        .data(Mailer::default())
        .data(Store { pages: 3 })
        .handler(welcome)
        .handler(import.concurrency(4).timeout(ten_minutes).retry(RetryPolicy::exponential()))
        .concurrency(100)
        .build()?; // what is missing or contradictory is said here
    let report = worker.run_until(shutdown).await?;
    println!("{} completed, {} failed", report.completed, report.failed);
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let queue = MemoryQueue::new();
    sign_up(&queue, "ada@example.org").await?;
    queue.enqueue(ImportPage { page: 1 }).await?;
    serve(queue, tokio::time::sleep(Duration::from_secs(1))).await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_new_user_is_welcomed() -> Result<()> {
        let (queue, mailer) = (MemoryQueue::new(), Arc::new(Mailer::default()));
        sign_up(&queue, "ada@example.org").await?;
        let worker = Worker::builder(queue).data_arc(Arc::clone(&mailer)).handler(welcome).build()?;
        assert_eq!(worker.drain().await.completed, 1);
        assert_eq!(*mailer.0.lock().expect("nobody panics while he holds it"), ["ada@example.org"]);
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn an_import_goes_on_to_its_last_page() -> Result<()> {
        let queue = MemoryQueue::new();
        queue.enqueue(ImportPage { page: 1 }).await?;
        let report = Worker::builder(queue).data(Store { pages: 3 }).handler(import).build()?.drain().await;
        assert_eq!(report.completed, 3);
        Ok(())
    }
}
