//! The object store and the handlers on an S3 gateway, which TASKQUEUE_S3_URL names (`http://key:secret@host:port`).
//! Each test has a bucket of its own.
//!
//! ```sh
//! TASKQUEUE_S3_URL=http://access:secret@127.0.0.1:7480 cargo nextest run -p taskqueue-handlers --features server-tests --test s3
//! ```

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod bucket;
mod cleanup;
mod engine;
mod faults;
mod federated;
mod ingest;
mod lifecycle;
#[path = "../support/proof.rs"]
mod proof;
mod proxy;
mod replication;
mod scan;
mod store;
