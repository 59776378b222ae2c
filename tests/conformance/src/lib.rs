//! The behaviours that every backend of taskqueue must have, as a suite.
//!
//! A backend wires it in its own test file, in a few lines: a [`Harness`] that makes fresh queues, and
//! [`suite!`], which makes one named test of each behaviour. `docs/lifecycle.md` is what the behaviours check;
//! `docs/guarantees.md` says which promise is checked by which.

mod bed;
mod behaviour;
mod crash;
mod deletion;
mod from_sql;
mod golden;
mod harness;
mod history;
mod model;
mod model_queue;
mod ordered;
mod proxy;
mod replay;
mod run;
mod servers;
mod waiting;

pub use behaviour::{BEHAVIOURS, Behaviour, Checking};
pub use crash::assert_what_was_answered_outlasts_a_crash;
pub use deletion::assert_completed_tasks_are_deleted;
pub use from_sql::assert_inserted_tasks_are_like_any_other;
pub use golden::assert_golden;
pub use harness::{Fixture, Harness, Options};
pub use model_queue::{ModelHarness, ModelQueue};
pub use ordered::ORDERED;
pub use proxy::{Fate, Proxy};
pub use run::{Report, Unmet, Verdict, check, run};
pub use servers::{Node, Servers};
pub use waiting::{assert_unavailable, wait_a_moment, wait_until, wait_until_ok};
