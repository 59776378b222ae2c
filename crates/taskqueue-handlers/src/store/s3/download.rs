//! A body that comes from the server: counted, so that one that ends early is an error, and given up when it stands
//! still.

use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::time::timeout;

use super::failure::{self, chain};
use crate::store::{StoreError, StoreErrorKind};

struct Download {
    object: String,
    body: ByteStream,
    /// What is still to come, in bytes.
    rest: u64,
    stall_timeout: Duration,
}

/// The data of `object`: exactly `length` bytes, or an error.
pub(super) fn stream(
    object: String,
    body: ByteStream,
    length: u64,
    stall_timeout: Duration,
) -> BoxStream<'static, Result<Bytes, StoreError>> {
    let download = Download { object, body, rest: length, stall_timeout };
    stream::try_unfold(download, |mut download| async move {
        Ok(download.next().await?.map(|piece| (piece, download)))
    })
    .boxed()
}

impl Download {
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        let Ok(piece) = timeout(self.stall_timeout, self.body.next()).await else {
            return Err(failure::timed_out("read", &self.object, self.stall_timeout));
        };
        match piece {
            None if self.rest == 0 => Ok(None),
            None => Err(self.broken(StoreErrorKind::Corrupt, format!("{} bytes are missing", self.rest))),
            Some(Err(error)) => Err(self.broken(StoreErrorKind::Unavailable, chain(&error))),
            Some(Ok(piece)) => {
                let rest = self.rest.checked_sub(piece.len() as u64);
                let too_many =
                    || self.broken(StoreErrorKind::Corrupt, "more bytes than announced".to_owned());
                self.rest = rest.ok_or_else(too_many)?;
                Ok(Some(piece))
            }
        }
    }

    fn broken(&self, kind: StoreErrorKind, what: String) -> StoreError {
        StoreError::new(kind, format!("read {}: {what}", self.object))
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use super::*;

    async fn read(data: &'static [u8], length: u64) -> Result<Vec<Bytes>, StoreError> {
        let body = ByteStream::from_static(data);
        stream("b/k".to_owned(), body, length, Duration::from_secs(9)).try_collect().await
    }

    #[tokio::test]
    async fn a_body_of_another_length_than_announced_is_an_error() {
        assert_eq!(read(b"four", 4).await.expect("it is whole").concat(), b"four");
        for length in [3, 5] {
            assert_eq!(read(b"four", length).await.expect_err("it is not").kind(), StoreErrorKind::Corrupt);
        }
    }
}
