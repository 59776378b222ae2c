//! A body that is counted and summed while it passes, and that breaks off before its last piece when it is not what was
//! announced: a write of it then fails as a whole. It knows no requests.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use md5::{Digest, Md5};

use super::{TransferError, etag};
use crate::store::{Body, ObjectBody, StoreError, StoreErrorKind};

/// What is known of the data that has passed.
pub(super) struct Sums {
    /// The MD5 that this body must have.
    expected: Option<String>,
    /// The MD5 of everything of which this body is a part.
    whole: Option<Arc<Mutex<Md5>>>,
    passed: Mutex<Passed>,
}

#[derive(Default)]
struct Passed {
    md5: Md5,
    /// Why reading stopped: what a failed write is really about.
    fault: Option<StoreError>,
    is_complete: bool,
}

impl Sums {
    /// Of a whole object with this MD5, if it is known.
    pub(super) fn of_whole(expected: Option<&str>) -> Self {
        Self { expected: expected.map(str::to_owned), whole: None, passed: Mutex::default() }
    }

    /// Of a part.
    pub(super) fn of_part(whole: Option<Arc<Mutex<Md5>>>) -> Self {
        Self { expected: None, whole, passed: Mutex::default() }
    }

    /// Whose failure a failed write is: the reader's, if reading stopped.
    pub(super) fn blame(&self, error: StoreError) -> TransferError {
        match self.passed().fault.take() {
            Some(fault) => TransferError::Source(fault),
            None => TransferError::Target(error),
        }
    }

    /// The MD5 of what has passed, once all has.
    pub(super) fn part_md5(&self) -> Option<String> {
        let passed = self.passed();
        passed.is_complete.then(|| etag::hex(&passed.md5.clone().finalize()))
    }

    fn add(&self, piece: &Bytes, is_last: bool, what: &str) -> Result<(), StoreError> {
        if let Some(whole) = &self.whole {
            whole.lock().unwrap_or_else(PoisonError::into_inner).update(piece);
        }
        let mut passed = self.passed();
        passed.md5.update(piece);
        passed.is_complete = is_last;
        match &self.expected {
            Some(expected) if is_last => {
                let found = etag::hex(&passed.md5.clone().finalize());
                if found == *expected { Ok(()) } else { Err(other_md5(what, &found, expected)) }
            }
            _ => Ok(()),
        }
    }

    fn keep_fault(&self, error: &StoreError) {
        self.passed().fault = Some(error.clone());
    }

    fn passed(&self) -> MutexGuard<'_, Passed> {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The body that `read` is, of exactly `length` bytes.
pub(super) fn checked(read: ObjectBody, length: u64, sums: Arc<Sums>, what: String) -> Body {
    let reading = Reading { data: read.data, left: length, sums, what, has_ended: false };
    // An unfolded stream panics when it is asked after its end, and who writes may ask.
    Body { length, data: stream::unfold(reading, Reading::next).fuse().boxed() }
}

struct Reading {
    data: BoxStream<'static, Result<Bytes, StoreError>>,
    left: u64,
    sums: Arc<Sums>,
    what: String,
    has_ended: bool,
}

impl Reading {
    async fn next(mut self) -> Option<(Result<Bytes, StoreError>, Self)> {
        if self.has_ended {
            return None;
        }
        let piece = match self.data.next().await {
            None if self.left == 0 => return self.end(),
            None => Err(self.corrupt("ended early")),
            Some(Ok(piece)) if piece.len() as u64 > self.left => {
                Err(self.corrupt("is longer than announced"))
            }
            Some(Ok(piece)) => {
                self.left -= piece.len() as u64;
                self.sums.add(&piece, self.left == 0, &self.what).map(|()| piece)
            }
            Some(Err(error)) => Err(error),
        };
        if let Err(error) = &piece {
            self.sums.keep_fault(error);
        }
        // Not read any further: whoever writes has got all by now, and may never ask again.
        self.has_ended = self.left == 0 || piece.is_err();
        Some((piece, self))
    }

    /// Only an empty body ends without a last piece.
    fn end(mut self) -> Option<(Result<Bytes, StoreError>, Self)> {
        self.has_ended = true;
        let error = self.sums.add(&Bytes::new(), true, &self.what).err()?;
        self.sums.keep_fault(&error);
        Some((Err(error), self))
    }

    fn corrupt(&self, how: &str) -> StoreError {
        StoreError::new(StoreErrorKind::Corrupt, format!("get {}: the data {how}", self.what))
    }
}

pub(super) fn other_md5(what: &str, found: &str, expected: &str) -> StoreError {
    let message = format!("{what}: the data has the MD5 {found}, and not {expected}");
    StoreError::new(StoreErrorKind::Corrupt, message)
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use futures::TryStreamExt;

    use super::*;
    use crate::store::{Attributes, ObjectInfo, RestoreState};

    const MD5_OF_DATA: &str = "8d777f385d3dfec8815d20f7496026dc";

    /// The body of these pieces when so much was announced.
    fn body(pieces: &'static [&'static str], length: u64, sums: &Arc<Sums>) -> Body {
        let info = ObjectInfo {
            size: length,
            etag: String::new(),
            etag_is_opaque: false,
            last_modified: DateTime::UNIX_EPOCH,
            version_id: None,
            attributes: Attributes::default(),
            restore: RestoreState::None,
        };
        let data = stream::iter(pieces.iter().map(|piece| Ok(Bytes::from_static(piece.as_bytes()))));
        checked(ObjectBody { info, data: data.boxed() }, length, Arc::clone(sums), "b/k".to_owned())
    }

    /// What comes through of it, and what is to blame for it.
    async fn passed(
        pieces: &'static [&'static str],
        length: u64,
        md5: Option<&str>,
    ) -> Result<String, StoreError> {
        let sums = Arc::new(Sums::of_whole(md5));
        let body = body(pieces, length, &sums);
        let passed: Vec<Bytes> = body.data.try_collect().await.inspect_err(|error| {
            let blamed = sums.blame(StoreError::new(StoreErrorKind::Unavailable, "the write failed"));
            assert!(matches!(blamed, TransferError::Source(fault) if fault == *error));
        })?;
        Ok(String::from_utf8(passed.concat()).expect("it is text"))
    }

    #[tokio::test]
    async fn who_asks_again_after_the_end_is_told_of_the_end_again() {
        for (pieces, length) in [(&[][..], 0), (&["da", "ta"], 4), (&["data"], 5)] {
            let mut data = body(pieces, length, &Arc::new(Sums::of_whole(None))).data;
            while data.next().await.is_some() {}
            assert!(data.next().await.is_none());
        }
    }

    #[tokio::test]
    async fn data_of_another_length_than_announced_breaks_off_and_the_source_is_to_blame() {
        assert_eq!(passed(&["da", "ta"], 4, None).await.expect("it is whole"), "data");
        assert_eq!(passed(&[], 0, None).await.expect("it is whole"), "");
        for (length, how) in [(5, "ended early"), (3, "is longer than announced")] {
            let error = passed(&["da", "ta"], length, None).await.expect_err("it is not");
            assert_eq!(error.kind(), StoreErrorKind::Corrupt);
            assert!(error.to_string().contains(how), "{error}");
        }
    }

    #[tokio::test]
    async fn data_with_another_md5_breaks_off_before_its_last_piece() {
        assert_eq!(passed(&["da", "ta"], 4, Some(MD5_OF_DATA)).await.expect("it is it"), "data");
        for pieces in [&["da", "te"][..], &["date"]] {
            let error = passed(pieces, 4, Some(MD5_OF_DATA)).await.expect_err("it is not");
            assert!(error.to_string().contains("has the MD5"), "{error}");
        }
        assert!(passed(&[], 0, Some(MD5_OF_DATA)).await.is_err(), "nothing has another MD5, too");
    }
}
