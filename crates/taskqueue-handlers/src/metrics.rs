//! What ready-made handlers count: how their tasks ended, and the bytes that they moved. It owns the names; labels are
//! types and outcomes, never ids or buckets.

use metrics::counter;
use taskqueue_core::metrics::Metrics;

/// The counters of one handler. Cheap to clone. Nothing is recorded until the program installs a `metrics` recorder.
#[derive(Clone)]
pub struct HandlerMetrics {
    outcomes: String,
    bytes: String,
    task_type: &'static str,
}

impl HandlerMetrics {
    /// Counters for handlers of `task_type`, in the namespace of `metrics`.
    pub fn new(metrics: &Metrics, task_type: &'static str) -> Self {
        Self {
            outcomes: metrics.name("handler_outcomes_total"),
            bytes: metrics.name("handler_bytes_total"),
            task_type,
        }
    }

    /// A task ended well, in one of the few ways that its page names.
    pub fn outcome(&self, outcome: &'static str) {
        counter!(self.outcomes.clone(), "type" => self.task_type, "outcome" => outcome).increment(1);
    }

    /// This many bytes of objects were written.
    pub fn bytes(&self, bytes: u64) {
        counter!(self.bytes.clone(), "type" => self.task_type).increment(bytes);
    }
}

impl std::fmt::Debug for HandlerMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HandlerMetrics({})", self.task_type)
    }
}
