//! Which characters of a text that others wrote must not reach a terminal or a page as they are. It knows no output.

/// Whether a character drives what shows it instead of being shown: the control characters, which move the cursor or end the
/// line, and those of Unicode that turn the direction of what follows, by which one text looks like another.
pub fn is_control(c: char) -> bool {
    let turns_direction = matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    let ends_line = matches!(c, '\u{2028}' | '\u{2029}');
    c.is_control() || turns_direction || ends_line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_drives_a_terminal_or_turns_the_direction_is_told_from_letters_of_any_script() {
        for c in ['\n', '\u{1b}', '\u{9b}', '\u{202e}', '\u{2066}', '\u{200f}', '\u{61c}', '\u{2028}'] {
            assert!(is_control(c), "{}", c.escape_default());
        }
        for c in ['a', ' ', 'ß', '✓', 'א', 'ع', '\u{200d}', '\u{a0}'] {
            assert!(!is_control(c), "{}", c.escape_default());
        }
    }
}
