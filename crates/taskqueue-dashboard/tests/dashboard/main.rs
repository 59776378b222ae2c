//! The dashboard from outside: requests to its router over a queue in memory, or over one that hangs or fails. It knows
//! nothing of the crate's inside.

mod access;
mod acting;
mod api;
mod escaping;
mod limits;
mod pages;
mod spy;
mod support;
