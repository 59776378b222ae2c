//! What tests of periodic tasks share: a handler that notes the fires that it gets, workers that have it, and what they log.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use taskqueue_worker::core::{Clock, ManualClock, Timestamp};
use taskqueue_worker::{
    Data, MaintenanceConfig, Periodic, Queue, RunningWorker, TaskContext, Worker, WorkerBuilder,
};
use tracing::field::Field;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::{Number, SECOND};

pub const MINUTE: Duration = Duration::from_secs(60);

/// The fires that were handled, in minutes since the queue's clock was started.
#[derive(Default)]
pub struct Log(Mutex<Vec<i64>>);

impl Log {
    pub fn note(&self, fire: i64) {
        self.0.lock().unwrap().push(fire);
    }

    pub fn fires(&self) -> Vec<i64> {
        self.0.lock().unwrap().clone()
    }
}

pub async fn note(_: Number, cx: TaskContext, log: Data<Log>) {
    let fire: Timestamp = cx.metadata()["fire_at"].parse().unwrap();
    log.note((fire - ManualClock::default().now()).num_minutes());
}

/// Once a minute. The clock is started on the minute: the first fire is a minute later.
pub fn each_minute() -> Periodic {
    Periodic::every("count", MINUTE, Number { n: 1 }).unwrap()
}

pub fn builder(queue: &(impl Queue + Clone), log: &Arc<Log>) -> WorkerBuilder {
    Worker::builder(queue.clone()).data_arc(Arc::clone(log)).handler(note).periodic(each_minute())
}

pub fn start(queue: &(impl Queue + Clone), log: &Arc<Log>) -> RunningWorker {
    builder(queue, log).build().unwrap().start()
}

/// Removes finished tasks within a second, as a queue does that deletes what is completed.
pub fn start_removing(queue: &(impl Queue + Clone), log: &Arc<Log>) -> RunningWorker {
    let removes = MaintenanceConfig::default().retention(Duration::ZERO).cleanup_interval(SECOND);
    builder(queue, log).maintenance(removes).build().unwrap().start()
}

pub async fn stop(workers: impl IntoIterator<Item = RunningWorker>) {
    for worker in workers {
        worker.stop().await;
    }
}

pub fn minutes(range: std::ops::RangeInclusive<i64>) -> Vec<i64> {
    range.collect()
}

/// Keeps what is logged on this thread, a line an event.
#[derive(Clone, Default)]
pub struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    pub fn with(&self, text: &str) -> Vec<String> {
        self.0.lock().unwrap().iter().filter(|line| line.contains(text)).cloned().collect()
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut line = event.metadata().level().to_string();
        event.record(&mut |field: &Field, value: &dyn Debug| line.push_str(&format!(" {field}={value:?}")));
        self.0.lock().unwrap().push(line);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}
