//! How a log line shows a text that others wrote: the error of a handler, of a command that it ran, or of a database. It knows
//! no stage.

use std::fmt::{self, Display, Formatter, Write};

use taskqueue_core::control::is_control;

/// Shows a value with its control characters escaped: it must neither make two lines of one nor drive the terminal of who
/// reads them. `tracing_subscriber` writes a field's `Display` as it is.
pub(crate) struct Escaped<T>(pub(crate) T);

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(Escaping(formatter), "{}", self.0)
    }
}

struct Escaping<'a, 'f>(&'a mut Formatter<'f>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive(is_control) {
            let plain = part.trim_end_matches(is_control);
            self.0.write_str(plain)?;
            write!(self.0, "{}", part[plain.len()..].escape_default())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_all_else_is_left() {
        let shown = |text: &str| Escaped(text).to_string();
        assert_eq!(shown("größer als \"1\" \\ ✓"), "größer als \"1\" \\ ✓");
        assert_eq!(shown("a\r\n\tb\u{1b}[31mc\u{9b}\0"), "a\\r\\n\\tb\\u{1b}[31mc\\u{9b}\\u{0}");
        assert_eq!(shown("gpj.\u{202e}exe"), "gpj.\\u{202e}exe");
        assert_eq!(shown(""), "");
    }
}
