//! What the benches share: the tasks they enqueue, the loops they time, and how figures are reported. It knows
//! queues only as [`Queue`](taskqueue_core::Queue).

pub mod report;
pub mod workload;
