//! What the SQL backends of taskqueue share: portable statements, the neutral row, and [`SqlQueue`], which keeps
//! the whole [`Queue`](taskqueue_core::Queue) contract over a [`Dialect`]. It knows no driver and no engine.
//!
//! A backend crate supplies a [`Dialect`] (connections, transactions, the literal claims and settles), maps its
//! driver's errors to [`Failure`], and wraps the queue in a type of its own: inherent methods (`connect`, `enqueue_in`) cannot be
//! added to another crate's.

mod access;
mod callers;
mod cleanup;
mod coalesce;
mod connections;
pub mod cursor;
mod dequeue;
mod dialect;
mod enqueue;
mod failure;
mod finish;
mod flavour;
mod flush;
mod heartbeat;
mod kept;
mod keyed;
mod look;
mod operation;
mod options;
mod parameters;
mod queue;
mod reserved;
mod round;
mod row;
mod runner;
mod samples;
mod settle;
mod shard;
pub mod statements;
mod table;
mod unsettled;
mod upkeep;
mod vouch;
mod wider;
mod within;

pub use taskqueue_core::Completed;

pub use access::{Access, Owner};
pub use connections::{Connections, InUse, Pool, comes_from_queue, kept_of};
pub use dialect::{Applied, Claiming, Dialect, Now, Reclaiming, Total};
pub use failure::{Attempt, Failure};
pub use flavour::{Flavour, Statement, is_one_of};
pub use keyed::KeyedEnqueues;
pub use operation::changed;
pub use options::{Options, WakeUpMode};
pub use parameters::known_parameters;
pub use queue::SqlQueue;
pub use row::{Field, Row, TASK_COLUMNS, count_of, integer, read_metadata, stored_metadata};
pub use samples::samples;
pub use shard::Sharding;
pub use statements::{Delta, Statements};
pub use table::{
    Column, KEYS, MIGRATIONS, PAUSED, SHARDS, TABLE_CHARS_MAX, TABLE_DEFAULT, TASKS, TOTALS, TableName,
};
pub use unsettled::{Epoch, Unsettled};
pub use wider::wider;
pub use within::within;
