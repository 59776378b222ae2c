//! The end of what a command writes, within a bound.

use std::collections::VecDeque;

use tokio::io::{AsyncRead, AsyncReadExt};

/// The most bytes of a command's standard error that are kept: its end.
pub const STDERR_BYTES_MAX: usize = 4 * 1024;

/// Keeps the last [`STDERR_BYTES_MAX`] bytes that it is given.
#[derive(Debug, Default)]
pub(super) struct Tail {
    bytes: VecDeque<u8>,
    is_cut: bool,
}

impl Tail {
    /// Reads to the end. What was read before an error, or before the future is dropped, is kept.
    pub(super) async fn read(&mut self, mut source: impl AsyncRead + Unpin) {
        let mut buffer = [0; STDERR_BYTES_MAX];
        while let Ok(read @ 1..) = source.read(&mut buffer).await {
            self.push(&buffer[..read]);
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        let over = self.bytes.len().saturating_sub(STDERR_BYTES_MAX);
        self.bytes.drain(..over);
        self.is_cut |= over > 0;
    }

    /// The text, marked where its beginning was cut off. Bytes that are no UTF-8 become U+FFFD.
    pub(super) fn into_text(self) -> String {
        let mut bytes = Vec::from(self.bytes);
        if self.is_cut {
            // The cut may have split a character; its remaining bytes are no use.
            let rest = bytes.iter().take(3).take_while(|byte| **byte & 0xc0 == 0x80).count();
            bytes.drain(..rest);
        }
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim();
        if self.is_cut { format!("… {text}") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn tail(text: &str) -> String {
        let mut tail = Tail::default();
        tail.read(text.as_bytes()).await;
        tail.into_text()
    }

    #[tokio::test]
    async fn a_short_text_is_kept_whole() {
        assert_eq!(tail("oh\nno\n").await, "oh\nno");
    }

    #[tokio::test]
    async fn of_a_long_text_the_end_is_kept_and_marked() {
        let text = format!("{}end", "é".repeat(STDERR_BYTES_MAX));
        let tail = tail(&text).await;
        assert!(tail.starts_with("… é") && tail.ends_with("éend"), "{tail}");
        assert!(tail.len() <= STDERR_BYTES_MAX + "… ".len());
    }
}
