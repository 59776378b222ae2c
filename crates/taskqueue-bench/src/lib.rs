//! The load generator and what the criterion bench shares with it: engines, bare programs to hold them against,
//! workloads, and how figures are reported.

pub mod bare;
pub mod chart;
mod connections;
mod contest;
pub mod document;
pub mod engine;
pub mod plan;
pub mod report;
mod servers;
pub mod tasks;
mod usage;
pub mod workload;
