//! How fast workers drain a filled queue together: by engine, workers and batch size, in tasks a second. Small
//! drains and few samples: the whole grid takes minutes, and shows how the engines bend, not their last per cent.

use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use taskqueue_bench::engine::Engine;
use taskqueue_bench::workload::{Workload, drain_together};
use taskqueue_core::Queue;
use tokio::runtime::Runtime;
use tokio::time::Instant;

const WORKERS: [usize; 6] = [1, 2, 4, 8, 16, 64];
const BATCHES: [usize; 4] = [1, 10, 100, 500];

fn dequeue_contention(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime can be started");
    for engine in Engine::ALL {
        let mut group = criterion.benchmark_group(format!("dequeue_contention/{engine}"));
        group.sampling_mode(SamplingMode::Flat).sample_size(10);
        group.warm_up_time(Duration::from_millis(50)).measurement_time(Duration::from_millis(500));
        for batch in BATCHES {
            let tasks = tasks_of_a_drain(engine, batch);
            group.throughput(Throughput::Elements(tasks as u64));
            for workers in WORKERS {
                let folder = tempfile::tempdir().expect("a folder can be made");
                let queue = runtime.block_on(engine.open(folder.path(), "drain")).expect("the queue opens");
                let id = BenchmarkId::new(format!("batch_{batch}"), format!("workers_{workers}"));
                group.bench_function(id, |bencher| {
                    bencher
                        .to_async(&runtime)
                        .iter_custom(|drains| time(&queue, drains, tasks, workers, batch));
                });
            }
        }
        group.finish();
    }
}

/// The time of so many drains, filling left out.
async fn time(queue: &Arc<dyn Queue>, drains: u64, tasks: usize, workers: usize, batch: usize) -> Duration {
    let workload = Workload::new("filler").expect("the name is a worker id");
    let mut total = Duration::ZERO;
    for _ in 0..drains {
        workload.fill(&**queue, tasks).await.expect("the queue takes the tasks");
        let start = Instant::now();
        let drained = drain_together(queue, workers, batch).await.expect("the queue gives the tasks");
        total += start.elapsed();
        assert_eq!(drained, tasks, "each task was claimed once");
    }
    total
}

/// A durable commit costs milliseconds on a plain disk: small batches get few tasks.
fn tasks_of_a_drain(engine: Engine, batch: usize) -> usize {
    match engine {
        Engine::Memory => 10_000,
        Engine::Sqlite => (batch * 20).clamp(50, 5_000),
    }
}

criterion_group!(benches, dequeue_contention);
criterion_main!(benches);
