//! Clusters whose nodes are killed, cut off and written to all at once: Galera, and Group Replication. `cargo xtask test` says
//! which one is started.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod all_nodes;
mod bed;
mod galera;
mod group_replication;
mod load;
mod losing;
