//! What only PostgreSQL has, or only a server can show: callers' transactions, plans, sessions, lost connections,
//! encryption. Each test has a database of its own and the server's own clock. The behaviour that every backend has
//! is the conformance suite's.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod claiming;
mod deleting;
mod detecting;
mod dropping;
mod failover;
mod fencing;
mod foreign;
mod leases;
mod losses;
mod migrating;
mod proxy;
mod publishing;
mod scratch;
mod secrets;
mod sessions;
mod shards;
#[path = "../support/mod.rs"]
mod support;
mod tls;
mod transactions;
mod values;
