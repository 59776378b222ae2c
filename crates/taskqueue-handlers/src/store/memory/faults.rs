//! What goes wrong on demand, and a record of what was asked. It knows no object.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;

use super::super::{ObjectRef, StoreError, StoreErrorKind};

/// An operation of the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is the method of that name")]
#[non_exhaustive]
pub enum Operation {
    Head,
    Get,
    Put,
    Copy,
    Delete,
    DeleteMany,
    List,
    ListVersions,
    CreateUpload,
    UploadPart,
    ListParts,
    CompleteUpload,
    AbortUpload,
    ListUploads,
    Restore,
}

/// A call that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The operation.
    pub operation: Operation,
    /// The key; of a listing the bucket or the prefix.
    pub key: String,
}

/// Something that one coming call meets.
#[derive(Debug, Clone)]
pub struct Fault {
    operation: Operation,
    skip: usize,
    effect: Effect,
}

#[derive(Debug, Clone)]
pub(super) enum Effect {
    Fail(StoreError),
    CutAfter(u64),
    Flip,
}

impl Fault {
    /// The call fails with this error, and changes nothing.
    pub fn fail(operation: Operation, error: StoreError) -> Self {
        Self { operation, skip: 0, effect: Effect::Fail(error) }
    }

    /// The data that the call reads or writes breaks off after about `bytes`.
    pub fn cut_after(operation: Operation, bytes: u64) -> Self {
        Self { operation, skip: 0, effect: Effect::CutAfter(bytes) }
    }

    /// The data that a get reads has one bit turned.
    pub fn flip() -> Self {
        Self { operation: Operation::Get, skip: 0, effect: Effect::Flip }
    }

    /// Lets so many calls of the operation pass first.
    #[must_use]
    pub fn after(mut self, calls: usize) -> Self {
        self.skip = calls;
        self
    }
}

/// The faults to come and the calls that were.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    coming: Vec<Fault>,
    calls: Vec<Call>,
}

impl Faults {
    pub(super) fn inject(&self, fault: Fault) {
        self.state().coming.push(fault);
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// Records a call, and gives what it meets.
    pub(super) fn meet(&self, operation: Operation, key: &str) -> Result<Option<Effect>, StoreError> {
        let mut state = self.state();
        state.calls.push(Call { operation, key: key.to_owned() });
        let Some(index) = state.coming.iter().position(|fault| fault.operation == operation) else {
            return Ok(None);
        };
        if state.coming[index].skip > 0 {
            state.coming[index].skip -= 1;
            return Ok(None);
        }
        match state.coming.remove(index).effect {
            Effect::Fail(error) => Err(error),
            effect => Ok(Some(effect)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is read, with what a fault does to it.
pub(super) fn spoil(
    data: BoxStream<'static, Result<Bytes, StoreError>>,
    effect: Option<Effect>,
    object: &ObjectRef,
) -> BoxStream<'static, Result<Bytes, StoreError>> {
    let broken = StoreError::new(StoreErrorKind::Unavailable, format!("get {object}: the connection broke"));
    let mut seen = 0;
    match effect {
        Some(Effect::CutAfter(bytes)) => data
            .map(move |piece| {
                seen += piece.as_ref().map_or(0, |piece| piece.len() as u64);
                if seen > bytes { Err(broken.clone()) } else { piece }
            })
            .boxed(),
        Some(Effect::Flip) => {
            data.enumerate().map(|(index, piece)| if index == 0 { piece.map(flipped) } else { piece }).boxed()
        }
        _ => data,
    }
}

fn flipped(piece: Bytes) -> Bytes {
    let mut bytes = piece.to_vec();
    if let Some(first) = bytes.first_mut() {
        *first ^= 1;
    }
    bytes.into()
}
