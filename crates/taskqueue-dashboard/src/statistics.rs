//! What the overview shows: the queue's statistics, read once for all viewers, and those of the last minutes. It owns the
//! reading and the memory of it; how they look is in `pages` and `chart`.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use taskqueue_core::{Backend, QueueStats, Status, TaskType, Timestamp};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::asked::Asked;
use crate::failure::Failure;
use crate::shared::Shared;

/// How far back what was seen is remembered.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(10 * 60);

/// How far apart what is remembered is; the last is always what was seen last.
const SPACING: Duration = Duration::from_secs(5);

/// What the queue holds at one time. The JSON has the names of `taskqueue stats --json` and some more.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Snapshot {
    /// How many tasks there are of what.
    #[serde(flatten)]
    pub(crate) stats: QueueStats,
    /// The paused types, in order.
    pub(crate) paused: Vec<TaskType>,
    /// The engine.
    #[serde(serialize_with = "engine")]
    pub(crate) backend: Backend,
    /// When this was, by the queue's clock.
    pub(crate) now: Timestamp,
}

/// How many tasks each status had at a time. The order is that of [`Status::ALL`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) at: Instant,
    pub(crate) counts: [u64; Status::ALL.len()],
}

/// Reads statistics and remembers them.
#[derive(Debug, Default)]
pub(crate) struct Statistics {
    last: Shared<Arc<Snapshot>>,
    memory: Arc<Memory>,
}

/// What outlives a reading.
#[derive(Debug, Default)]
struct Memory {
    /// It does not change while a queue is open.
    backend: OnceCell<Backend>,
    samples: Mutex<VecDeque<Sample>>,
}

impl Statistics {
    /// What the queue holds, or held about a second ago.
    pub(crate) async fn read(&self, asked: &Asked) -> Result<Arc<Snapshot>, Failure> {
        self.last.get(asked.limit(), ask(asked.clone(), Arc::clone(&self.memory))).await
    }

    /// Reads anew the next time.
    pub(crate) fn forget(&self) {
        self.last.forget();
    }

    /// What was seen in the last minutes, oldest first. Nobody looked where there is a gap.
    pub(crate) fn samples(&self) -> Vec<Sample> {
        let samples = self.memory.samples.lock().unwrap_or_else(PoisonError::into_inner);
        samples.iter().copied().collect()
    }
}

async fn ask(asked: Asked, memory: Arc<Memory>) -> Result<Arc<Snapshot>, Failure> {
    let queue = asked.queue();
    let question = async {
        let backend = memory.backend.get_or_try_init(|| queue.backend()).await?.clone();
        let (stats, paused) = (queue.stats().await?, queue.paused().await?);
        Ok(Snapshot { stats, paused, backend, now: queue.now().await? })
    };
    let snapshot = Arc::new(asked.view_to_its_end(question).await?);
    memory.remember(Sample { at: Instant::now(), counts: counts(&snapshot.stats) });
    Ok(snapshot)
}

impl Memory {
    /// A page carries every point: those that are close together are one.
    fn remember(&self, sample: Sample) {
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        while samples.front().is_some_and(|oldest| sample.at.duration_since(oldest.at) > REMEMBERED) {
            samples.pop_front();
        }
        let before_last = samples.len().checked_sub(2).and_then(|index| samples.get(index));
        if before_last.is_some_and(|before| sample.at.duration_since(before.at) < SPACING) {
            samples.pop_back();
        }
        samples.push_back(sample);
    }
}

/// The counts in the order of [`Status::ALL`].
pub(crate) fn counts(stats: &QueueStats) -> [u64; Status::ALL.len()] {
    Status::ALL.map(|status| match status {
        Status::Pending => stats.pending,
        Status::Running => stats.running,
        Status::Completed => stats.completed,
        Status::Failed => stats.failed,
        Status::DeadLetter => stats.dead_letter,
        Status::Cancelled => stats.cancelled,
    })
}

fn engine<S: serde::Serializer>(backend: &Backend, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Engine<'b> {
        name: &'b str,
        version: &'b str,
    }
    Engine { name: backend.name, version: &backend.version }.serialize(serializer)
}
