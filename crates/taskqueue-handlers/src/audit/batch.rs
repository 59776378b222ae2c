//! Records of tasks that run at the same time, gathered and written together. It owns when a batch is written and who
//! is told what became of it; where it goes is the destination's business.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use super::{AuditBatch, AuditConfig, AuditDestination};
use crate::HandlerError;

/// One audit record.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Its own id.
    pub(super) id: String,
    /// When it happened, in hours since 1970.
    pub(super) hour: i64,
    /// Its JSON, on one line.
    pub(super) line: String,
}

impl Record {
    pub(super) fn bytes(&self) -> u64 {
        self.line.len() as u64
    }
}

/// Gathers records by the hour in which they happened. Writes run as tasks of their own, so that a handler that is
/// stopped takes no other's record with it.
#[derive(Debug)]
pub(super) struct Batcher {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    config: AuditConfig,
}

struct Shared {
    destination: Box<dyn AuditDestination>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    by_hour: HashMap<i64, Batch>,
    opened: u64,
}

/// Records that wait, and who waits for them.
struct Batch {
    /// Which opening this is: a timer that finds another one was too late.
    number: u64,
    bytes: usize,
    records: Vec<Record>,
    waiting: Vec<oneshot::Sender<Result<(), HandlerError>>>,
}

/// What adding a record calls for.
enum Next {
    /// It is the first of its batch.
    SetTimer(u64),
    /// The batch is full.
    Write(Batch),
    Wait,
}

impl Batcher {
    pub(super) fn new(destination: impl AuditDestination, config: AuditConfig) -> Self {
        let shared = Arc::new(Shared { destination: Box::new(destination), open: Mutex::default() });
        Self { shared, tasks: TaskTracker::new(), config }
    }

    /// Returns what became of the batch that holds the record.
    pub(super) async fn write(&self, record: Record) -> Result<(), HandlerError> {
        let (sender, told) = oneshot::channel();
        let (hour, shared) = (record.hour, Arc::clone(&self.shared));
        match shared.add(record, sender, &self.config) {
            Next::Wait => {}
            Next::Write(batch) => {
                self.tasks.spawn(async move { shared.write(hour, batch).await });
            }
            Next::SetTimer(number) => {
                let age = self.config.age_max;
                self.tasks.spawn(async move {
                    tokio::time::sleep(age).await;
                    if let Some(batch) = shared.take(hour, number) {
                        shared.write(hour, batch).await;
                    }
                });
            }
        }
        told.await.unwrap_or_else(|_| Err(HandlerError::transient("audit batch: its write broke off")))
    }
}

impl Shared {
    fn add(
        &self,
        record: Record,
        waiting: oneshot::Sender<Result<(), HandlerError>>,
        config: &AuditConfig,
    ) -> Next {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let hour = record.hour;
        let is_new = !open.by_hour.contains_key(&hour);
        open.opened += u64::from(is_new);
        let number = open.opened;
        let batch = open.by_hour.entry(hour).or_insert_with(|| Batch::new(number));
        batch.bytes += record.line.len();
        batch.records.push(record);
        batch.waiting.push(waiting);
        let is_full = batch.records.len() >= config.records_max || batch.bytes >= config.bytes_max;
        match (is_full || config.age_max.is_zero(), is_new) {
            (true, _) => open.by_hour.remove(&hour).map_or(Next::Wait, Next::Write),
            (false, true) => Next::SetTimer(number),
            (false, false) => Next::Wait,
        }
    }

    /// The batch of this hour, if it is still the one that was opened with this number.
    fn take(&self, hour: i64, number: u64) -> Option<Batch> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = open.by_hour.get(&hour).is_some_and(|batch| batch.number == number);
        is_same.then(|| open.by_hour.remove(&hour)).flatten()
    }

    async fn write(&self, hour: i64, batch: Batch) {
        let Batch { records, waiting, .. } = batch;
        let pack = tokio::task::spawn_blocking(move || AuditBatch::pack(hour, records));
        let written = match pack.await {
            Ok(Ok(batch)) => self.destination.write(&batch).await,
            Ok(Err(error)) => Err(HandlerError::transient(format!("audit batch: {error}"))),
            Err(error) => Err(HandlerError::transient(format!("audit batch: {error}"))),
        };
        for waiting in waiting {
            // Who no longer waits was stopped; its task runs again.
            waiting.send(written.clone()).ok();
        }
    }
}

impl Batch {
    fn new(number: u64) -> Self {
        Self { number, bytes: 0, records: Vec::new(), waiting: Vec::new() }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}
