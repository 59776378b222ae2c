//! What the benches share: the engines they run on, the work they time, and how figures are reported.

pub mod bare;
pub mod cycle;
pub mod engine;
pub mod history;
pub mod report;
pub mod workload;
