//! Tests that need both a server and what the crate keeps to itself: its statements. `cargo xtask test` runs them once a
//! server version, by the engine that their names begin with.

mod locks;
mod oldest;
mod plans;
mod reclaims;
