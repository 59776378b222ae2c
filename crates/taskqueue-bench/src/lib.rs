//! Benches of taskqueue.
