//! What a command writes, within a bound: the end of it, and its lines one by one. It knows no process and no log.

use std::collections::VecDeque;

use tokio::io::{AsyncRead, AsyncReadExt};

/// The most bytes of a command's standard error that are kept: its end.
pub const STDERR_BYTES_MAX: usize = 4 * 1024;

/// The most bytes of a line that is told; the rest of it is passed over.
const LINE_BYTES_MAX: usize = 1024;
/// The most lines of one stream of one run that are told.
const LINES_MAX: usize = 100;

/// Keeps the last [`STDERR_BYTES_MAX`] bytes that it is given.
#[derive(Debug, Default)]
pub(super) struct Tail {
    bytes: VecDeque<u8>,
    is_cut: bool,
}

impl Tail {
    pub(super) fn push(&mut self, bytes: &[u8]) {
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

/// Tells lines as they come, each cut at [`LINE_BYTES_MAX`], and no more than [`LINES_MAX`] of them.
pub(super) struct Lines<F> {
    tell: F,
    line: Vec<u8>,
    told: usize,
}

impl<F: FnMut(&str)> Lines<F> {
    pub(super) fn new(tell: F) -> Self {
        Self { tell, line: Vec::new(), told: 0 }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (part, ends) = part.strip_suffix(b"\n").map_or((part, false), |part| (part, true));
            // A byte more than is told says that the line was cut.
            let room = (LINE_BYTES_MAX + 1).saturating_sub(self.line.len());
            self.line.extend(&part[..part.len().min(room)]);
            if ends {
                self.end();
            }
        }
    }

    /// Tells what has no line end, if there is anything.
    pub(super) fn end(&mut self) {
        if self.told < LINES_MAX && !self.line.is_empty() {
            let cut = if self.line.len() > LINE_BYTES_MAX { "…" } else { "" };
            self.line.truncate(LINE_BYTES_MAX);
            (self.tell)(&format!("{}{cut}", String::from_utf8_lossy(&self.line)));
            self.told += 1;
            if self.told == LINES_MAX {
                (self.tell)("… (the lines that follow are not told)");
            }
        }
        self.line.clear();
    }
}

/// Reads to the end, and gives what comes to `take`. What was read before an error, or before the future is dropped, is
/// given.
pub(super) async fn read(mut source: impl AsyncRead + Unpin, mut take: impl FnMut(&[u8])) {
    let mut buffer = [0; STDERR_BYTES_MAX];
    while let Ok(read @ 1..) = source.read(&mut buffer).await {
        take(&buffer[..read]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(text: &str) -> String {
        let mut tail = Tail::default();
        text.as_bytes().chunks(1000).for_each(|bytes| tail.push(bytes));
        tail.into_text()
    }

    fn lines(parts: &[&str]) -> Vec<String> {
        let mut told = Vec::new();
        let mut lines = Lines::new(|line: &str| told.push(line.to_owned()));
        parts.iter().for_each(|part| lines.push(part.as_bytes()));
        lines.end();
        told
    }

    #[test]
    fn a_line_is_told_when_it_ends_and_an_empty_one_is_not() {
        assert_eq!(lines(&["on", "e\n\ntwo\nthr", "ee"]), ["one", "two", "three"]);
        assert!(lines(&[]).is_empty());
    }

    #[test]
    fn a_long_line_and_many_lines_are_cut_and_marked() {
        let long = "x".repeat(LINE_BYTES_MAX);
        let cut = lines(&[&long, "\n", &long, "y", "\n", "z"]);
        assert_eq!(cut, [long.clone(), format!("{long}…"), "z".to_owned()]);
        let many = lines(&["a\n".repeat(LINES_MAX + 5).as_str()]);
        assert_eq!((many.len(), many[LINES_MAX - 1].as_str()), (LINES_MAX + 1, "a"));
        assert!(many[LINES_MAX].contains("not told"), "{many:?}");
    }

    #[test]
    fn a_short_text_is_kept_whole() {
        assert_eq!(tail("oh\nno\n"), "oh\nno");
    }

    #[test]
    fn of_a_long_text_the_end_is_kept_and_marked() {
        let text = format!("{}end", "é".repeat(STDERR_BYTES_MAX));
        let tail = tail(&text);
        assert!(tail.starts_with("… é") && tail.ends_with("éend"), "{tail}");
        assert!(tail.len() <= STDERR_BYTES_MAX + "… ".len());
    }
}
