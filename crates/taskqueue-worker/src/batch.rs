//! What one settle takes along, how it is split, and what became of it. It knows no order in which batches are tried.

use futures::future::BoxFuture;
use taskqueue_core::Error;
use tokio::time::Instant;

use crate::settling::{Call, Finished, Untaken};

/// What one call takes.
pub(crate) struct Batch {
    pub(crate) rows: Vec<Finished>,
    /// How often it may be refused as a whole yet.
    pub(crate) tries: u32,
    /// Since when it has waited for room.
    pub(crate) full_since: Option<Instant>,
}

impl Batch {
    pub(crate) fn new(rows: Vec<Finished>, tries: u32) -> Self {
        Self { rows, tries, full_since: None }
    }

    /// So many parts of it, all alike, or one for each row if there are fewer.
    pub(crate) fn split(self, parts: usize) -> impl Iterator<Item = Self> {
        let Self { mut rows, tries, full_since } = self;
        let size = rows.len().div_ceil(parts);
        std::iter::from_fn(move || {
            let rows: Vec<Finished> = rows.drain(..size.min(rows.len())).collect();
            (!rows.is_empty()).then_some(Self { rows, tries, full_since })
        })
    }
}

/// What became of a call.
pub(crate) struct Answered {
    pub(crate) had_waited_for_room: bool,
    /// What the store did not take, and whether it was late to say so.
    pub(crate) untaken: Option<(Batch, Error, bool)>,
}

/// What becomes of a call of a batch, whose rows the call has.
pub(crate) fn answered<'p>(batch: Batch, call: Call<'p>) -> BoxFuture<'p, Answered> {
    Box::pin(async move {
        let settled = call.await;
        let had_waited_for_room = batch.full_since.is_some();
        let untaken = settled
            .err()
            .map(|Untaken { rows, failure, is_late }| (Batch { rows, ..batch }, failure, is_late));
        Answered { had_waited_for_room, untaken }
    })
}

/// What a batch is split into.
pub(crate) enum Halves {
    Two([Vec<Finished>; 2]),
    /// There is no more than one row.
    One(Vec<Finished>),
}

pub(crate) fn halves(mut rows: Vec<Finished>) -> Halves {
    if rows.len() < 2 {
        return Halves::One(rows);
    }
    let second = rows.split_off(rows.len() / 2);
    Halves::Two([rows, second])
}
