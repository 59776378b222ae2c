//! What each metric means, for recorders that show it. It records nothing.

use ::metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

use super::Metrics;

type Described = (&'static str, Unit, &'static str);

const COUNTERS: [Described; 9] = [
    ("tasks_enqueued_total", Unit::Count, "Tasks that came in"),
    ("tasks_processed_total", Unit::Count, "Claims that were settled, by how"),
    ("task_retries_total", Unit::Count, "Failed attempts that will be followed by another"),
    ("dequeue_errors_total", Unit::Count, "Claims that failed"),
    ("deadlock_retries_total", Unit::Count, "Transactions that were repeated after a conflict"),
    ("leases_lost_total", Unit::Count, "Leases that were lost: cancelled, or taken back"),
    ("reclaims_total", Unit::Count, "Tasks taken back from dead workers"),
    ("handler_outcomes_total", Unit::Count, "Tasks of ready-made handlers that ended well, by how"),
    ("handler_bytes_total", Unit::Bytes, "Bytes of objects that ready-made handlers wrote or moved"),
];

const GAUGES: [Described; 4] = [
    ("queue_depth", Unit::Count, "Tasks that the queue holds, by status, at the last sample"),
    (
        "oldest_pending_age_seconds",
        Unit::Seconds,
        "How long the ready task has waited that has waited longest",
    ),
    ("dead_letters", Unit::Count, "Dead letters that the queue holds, by type, at the last sample"),
    ("workers_active", Unit::Count, "Handlers at work in this process"),
];

const HISTOGRAMS: [Described; 3] = [
    ("task_processing_duration_seconds", Unit::Seconds, "How long handlers ran"),
    (
        "task_wait_duration_seconds",
        Unit::Seconds,
        "From when a task became ready to the start of its attempt",
    ),
    ("settle_batch_size", Unit::Count, "Settles that went to the database together"),
];

impl Metrics {
    /// Tells the recorder that is installed the unit and the meaning of each metric. Once is enough.
    pub fn describe(&self) {
        for (name, unit, meaning) in COUNTERS {
            describe_counter!(self.name(name), unit, meaning);
        }
        for (name, unit, meaning) in GAUGES {
            describe_gauge!(self.name(name), unit, meaning);
        }
        for (name, unit, meaning) in HISTOGRAMS {
            describe_histogram!(self.name(name), unit, meaning);
        }
    }
}
