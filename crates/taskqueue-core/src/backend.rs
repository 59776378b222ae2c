//! What a backend is made with: the decisions that all of them make alike. A service needs none of it.

pub use crate::lease::check_visibility_timeout;
pub use crate::reclaim::{AfterLeaseEnd, EndedLease, after_lease_end, lease_ended_error};
pub use crate::settle::{Decision, Transition, decide_batch, shorten};
