//! The program `taskqueue-bench`.
use taskqueue_bench::{report::median, workload::Workload};
use taskqueue_memory::MemoryQueue;
fn main() -> anyhow::Result<()> {
    let rt = tokio::runtime::Builder::new_current_thread().build()?;
    rt.block_on(async {
        let queue = MemoryQueue::new();
        let w = Workload::new("a")?;
        let start = tokio::time::Instant::now();
        for _ in 0..1000 { std::hint::black_box(w.tasks(100)); }
        println!("tasks alone: {:?} a task", start.elapsed() / 100_000);
        let mut samples = vec![];
        for _ in 0..10 {
            let start = tokio::time::Instant::now();
            w.cycle(&queue, 1000, 100).await?;
            samples.push(100_000.0 / start.elapsed().as_secs_f64());
        }
        println!("{samples:?} {}", median(samples.clone()));
        Ok(())
    })
}
