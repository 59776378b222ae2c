//! A body that goes to the server: exactly as long as announced, and watched, so that a transfer that stands still is
//! told from one whose source is slow.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use bytes::Bytes;
use futures::stream::BoxStream;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, sleep_until};

use crate::store::{Body, StoreError, StoreErrorKind};

/// The body as the SDK takes it, and what is seen of it while it is sent.
pub(super) fn body(body: Body) -> (ByteStream, Sent) {
    let upload = UploadBody::new(body);
    let sent = upload.sent.clone();
    (ByteStream::new(SdkBody::from_body_1_x(upload)), sent)
}

/// How far a body has been sent.
#[derive(Debug, Clone)]
pub(super) struct Sent(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// When something last moved.
    at: Instant,
    whose_turn: Turn,
    /// Why the body could not be sent whole.
    failure: Option<StoreError>,
}

/// Who is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// The server, to take more.
    Server,
    /// The source, to bring more: its own limits are what counts.
    Source,
    /// The server, to answer.
    Answer,
}

impl Sent {
    /// Why the body could not be sent whole, where its source is at fault.
    pub(super) fn failure(&self) -> Option<StoreError> {
        self.lock().failure.clone()
    }

    /// Waits until the server has stood still for too long, and says for how long.
    pub(super) async fn stalled(&self, stall_timeout: Duration, answer_timeout: Duration) -> Duration {
        loop {
            let (at, turn) = self.seen();
            let limit = if turn == Turn::Answer { answer_timeout } else { stall_timeout };
            if turn != Turn::Source && at.elapsed() >= limit {
                return limit;
            }
            let seen = if turn == Turn::Source { Instant::now() } else { at };
            sleep_until(seen + limit).await;
        }
    }

    fn seen(&self) -> (Instant, Turn) {
        let state = self.lock();
        (state.at, state.whose_turn)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn moved(&self, whose_turn: Turn) {
        let mut state = self.lock();
        (state.at, state.whose_turn) = (Instant::now(), whose_turn);
    }
}

struct UploadBody {
    /// Never locked: the SDK wants a body that can be shared, and polls it alone. None once the source has ended or
    /// failed: a stream must not be polled after that, and a connection of HTTP/2 may ask again.
    data: Option<Mutex<BoxStream<'static, Result<Bytes, StoreError>>>>,
    /// What the source still has to bring, in bytes.
    rest: u64,
    /// The last piece, held back until the source has said that there are no more. After it this is the end of the
    /// stream, and a connection asks for no other: HTTP/1.1 since it has as much as was announced, HTTP/2 since it
    /// marks the frame of this piece as the last one.
    last: Option<Bytes>,
    sent: Sent,
}

type Polled = Poll<Option<Result<Frame<Bytes>, StoreError>>>;

impl UploadBody {
    fn new(body: Body) -> Self {
        // An empty body is at its end before it is asked for anything, and so is its source.
        let is_empty = body.length == 0;
        let whose_turn = if is_empty { Turn::Answer } else { Turn::Server };
        let sent = Sent(Arc::new(Mutex::new(State { at: Instant::now(), whose_turn, failure: None })));
        let data = (!is_empty).then(|| Mutex::new(body.data));
        Self { data, rest: body.length, last: None, sent }
    }

    fn take(&mut self, piece: Bytes, cx: &mut Context<'_>) -> Polled {
        if piece.is_empty() {
            return self.poll_source(cx);
        }
        let Some(rest) = self.rest.checked_sub(piece.len() as u64) else {
            return self.fail("more than was announced");
        };
        self.rest = rest;
        if rest == 0 {
            self.last = Some(piece);
            return self.poll_source(cx);
        }
        self.sent.moved(Turn::Server);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn end(&mut self) -> Polled {
        self.data = None;
        if self.rest > 0 {
            return self.fail(&format!("{} bytes too few", self.rest));
        }
        self.sent.moved(Turn::Answer);
        Poll::Ready(self.last.take().map(|piece| Ok(Frame::data(piece))))
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Polled {
        let Some(data) = &mut self.data else { return Poll::Ready(None) };
        let data = data.get_mut().unwrap_or_else(PoisonError::into_inner);
        match data.as_mut().poll_next(cx) {
            Poll::Pending => {
                self.sent.moved(Turn::Source);
                Poll::Pending
            }
            Poll::Ready(None) => self.end(),
            Poll::Ready(Some(Ok(piece))) => self.take(piece, cx),
            Poll::Ready(Some(Err(error))) => self.fail_with(error),
        }
    }

    fn fail(&mut self, what: &str) -> Polled {
        self.fail_with(StoreError::new(StoreErrorKind::Corrupt, format!("the body's source brought {what}")))
    }

    fn fail_with(&mut self, error: StoreError) -> Polled {
        self.data = None;
        self.sent.lock().failure = Some(error.clone());
        Poll::Ready(Some(Err(error)))
    }
}

impl http_body::Body for UploadBody {
    type Data = Bytes;
    type Error = StoreError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        self.get_mut().poll_source(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && self.last.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest + self.last.as_ref().map_or(0, |piece| piece.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures::{StreamExt, stream};
    use http_body::Body as _;

    use super::*;

    /// Of a source that panics when it is polled after its end.
    fn of(pieces: &'static [&'static str], length: u64) -> UploadBody {
        let next = |pieces: &'static [&'static str]| async move {
            let (piece, rest) = pieces.split_first()?;
            Some((Ok(Bytes::from_static(piece.as_bytes())), rest))
        };
        UploadBody::new(Body { length, data: stream::unfold(pieces, next).boxed() })
    }

    async fn next(body: &mut UploadBody) -> Option<Result<Bytes, StoreError>> {
        let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await?;
        Some(frame.map(|frame| frame.into_data().expect("it has no trailers")))
    }

    #[tokio::test]
    async fn the_end_is_known_with_the_last_piece_and_stays_the_end() {
        let mut body = of(&["da", "", "ta", ""], 4);
        for (piece, is_end) in [("da", false), ("ta", true)] {
            assert!(!body.is_end_stream());
            assert_eq!(next(&mut body).await, Some(Ok(piece.into())));
            assert_eq!(body.is_end_stream(), is_end);
        }
        for _ in 0..2 {
            assert_eq!(next(&mut body).await, None);
        }
        assert_eq!(body.sent.seen().1, Turn::Answer);
    }

    #[tokio::test]
    async fn an_empty_body_is_at_its_end_from_the_start() {
        let mut body = of(&[], 0);
        for _ in 0..2 {
            assert!(body.is_end_stream());
            assert_eq!(next(&mut body).await, None);
        }
    }

    #[tokio::test]
    async fn a_source_that_brought_another_length_is_not_asked_again() {
        for (length, how) in [(5, "1 bytes too few"), (3, "more than was announced")] {
            let mut body = of(&["da", "ta"], length);
            let error = loop {
                if let Err(error) = next(&mut body).await.expect("it ends with an error") {
                    break error;
                }
            };
            assert!(error.to_string().contains(how), "{error}");
            assert_eq!(body.sent.failure(), Some(error));
            assert_eq!(next(&mut body).await, None);
        }
    }
}
