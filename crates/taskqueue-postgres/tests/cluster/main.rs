//! A primary and its replica, in containers of the test's own: failovers, switchovers, lost commits, lost replicas. The queue
//! reaches them by an address that moves, as by a load balancer. What a single server can show is in `tests/server`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bed;
mod failover;
mod load;
mod losing;
mod switchover;
mod waiting;
