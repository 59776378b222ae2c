//! Tests that need both a server and what the crate keeps to itself: its statements. `cargo xtask test` runs them once a
//! server version.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod database;
mod horizon;
mod plans;
mod rehearsal;
mod turns;
