//! How payloads are shown: as they are, without the values of some fields, or not at all. It owns the pretty form, which
//! changes nothing but the blanks between tokens, and the taking out of values; it works on the text, because numbers and
//! the order of fields would not survive a reading into values.

use std::fmt;

use serde::de::IgnoredAny;
use taskqueue_core::{Metadata, RawPayload, Task};

/// What stands where a value was taken out, as JSON.
const REDACTED: &str = "\"[redacted]\"";
/// What stands for a payload that is not shown, as JSON.
const HIDDEN: &str = "\"[hidden]\"";
/// The longest text that a page shows; the rest is a link away.
const SHOWN_BYTES_MAX: usize = 64 * 1024;
/// How deep lines are indented at most.
const INDENT_DEPTH_MAX: usize = 32;

/// What is shown of payloads, on pages and in the JSON. Errors of tasks are shown in any case.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Payloads {
    /// All.
    #[default]
    Shown,
    /// All but the values of fields with these names, at any depth and in either case, in payloads and in metadata. A
    /// payload that is not JSON is not shown.
    Redacted(Vec<String>),
    /// Nothing, nor the values of metadata, nor unique keys.
    Hidden,
}

/// A payload on a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) text: String,
    /// What a reader must know of it.
    pub(crate) note: &'static str,
}

impl Payloads {
    /// The payload's text as it may be shown, or none. Untouched if nothing is kept back.
    pub(crate) fn text(&self, payload: &RawPayload) -> Option<String> {
        let text = payload.as_str();
        match self {
            Self::Hidden => None,
            Self::Shown => Some(text.to_owned()),
            Self::Redacted(_) if !is_json(text) => None,
            Self::Redacted(names) => Some(redacted(tokens(text), names).concat()),
        }
    }

    /// The payload for a page.
    pub(crate) fn shown(&self, payload: &RawPayload) -> Shown {
        let Some(text) = self.text(payload) else {
            return Shown { text: String::new(), note: "Payloads are not shown here." };
        };
        let pretty = is_json(&text).then(|| pretty(&tokens(&text), SHOWN_BYTES_MAX)).flatten();
        match pretty {
            Some(text) => Shown { text, note: "" },
            None if text.len() <= SHOWN_BYTES_MAX => Shown { text, note: "As it is stored." },
            None => {
                let end = text.floor_char_boundary(SHOWN_BYTES_MAX);
                Shown { text: text[..end].to_owned(), note: "The first 64 KiB, as it is stored." }
            }
        }
    }

    /// The task with its payload and metadata as they may be shown.
    pub(crate) fn of(&self, mut task: Task) -> Task {
        let text = self.text(&task.payload).unwrap_or_else(|| HIDDEN.to_owned());
        // Another program may have stored what is not JSON: it is shown as a text, as the whole must be JSON.
        task.payload = if is_json(&text) {
            RawPayload::from_stored(text)
        } else {
            RawPayload::from_stored(quoted(&text))
        };
        if *self == Self::Hidden {
            task.unique_key = task.unique_key.map(|_| "[hidden]".to_owned());
        }
        task.metadata = self.metadata(task.metadata);
        task
    }

    fn metadata(&self, metadata: Metadata) -> Metadata {
        let value = |name: &str, value: String| match self {
            Self::Shown => value,
            Self::Hidden => "[hidden]".to_owned(),
            Self::Redacted(names) if is_one_of(name, names) => "[redacted]".to_owned(),
            Self::Redacted(_) => value,
        };
        metadata.into_iter().map(|(name, kept)| (name.clone(), value(&name, kept))).collect()
    }
}

impl fmt::Debug for Payloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shown => f.write_str("Shown"),
            Self::Redacted(names) => f.debug_tuple("Redacted").field(names).finish(),
            Self::Hidden => f.write_str("Hidden"),
        }
    }
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The tokens of JSON: brackets, commas, colons, strings, and numbers and words.
fn tokens(json: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = json.trim_start();
    while !rest.is_empty() {
        let (token, after) = rest.split_at(token_bytes(rest));
        tokens.push(token);
        rest = after.trim_start();
    }
    tokens
}

fn token_bytes(json: &str) -> usize {
    match json.as_bytes()[0] {
        b'{' | b'}' | b'[' | b']' | b',' | b':' => 1,
        b'"' => string_bytes(json),
        _ => json.find(|c: char| c.is_ascii_whitespace() || "{}[],:".contains(c)).unwrap_or(json.len()),
    }
}

/// A string's bytes with both quotes.
fn string_bytes(json: &str) -> usize {
    let mut is_escaped = false;
    let end = json.bytes().skip(1).position(|byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    });
    end.map_or(json.len(), |end| end + 2)
}

/// The tokens with another value for each field of these names.
fn redacted<'t>(tokens: Vec<&'t str>, names: &[String]) -> Vec<&'t str> {
    let mut kept: Vec<&str> = Vec::with_capacity(tokens.len());
    let mut tokens = tokens.into_iter();
    while let Some(token) = tokens.next() {
        let is_secret = token == ":" && kept.last().is_some_and(|name| is_named(name, names));
        kept.push(token);
        if is_secret {
            pass_over_value(&mut tokens);
            kept.push(REDACTED);
        }
    }
    kept
}

fn pass_over_value<'t>(tokens: &mut impl Iterator<Item = &'t str>) {
    let mut depth = 0_usize;
    for token in tokens {
        match token {
            "{" | "[" => depth += 1,
            "}" | "]" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return;
        }
    }
}

/// Whether a string is one of these names, whichever way its letters are written.
fn is_named(string: &str, names: &[String]) -> bool {
    serde_json::from_str::<String>(string).is_ok_and(|name| is_one_of(&name, names))
}

fn is_one_of(name: &str, names: &[String]) -> bool {
    let name = name.to_lowercase();
    names.iter().any(|other| other.to_lowercase() == name)
}

/// The tokens one value a line, unless that would be longer than `bytes_max`.
fn pretty(tokens: &[&str], bytes_max: usize) -> Option<String> {
    let (mut text, mut depth) = (String::new(), 0_usize);
    let mut previous = "";
    for &token in tokens {
        let closes = matches!(token, "}" | "]");
        depth -= usize::from(closes);
        let is_empty = closes && matches!(previous, "{" | "[");
        let begins = matches!(previous, "{" | "[" | ",") || (closes && !previous.is_empty());
        if begins && !is_empty {
            text.push('\n');
            text.push_str(&"  ".repeat(depth.min(INDENT_DEPTH_MAX)));
        }
        text.push_str(token);
        text.push_str(if token == ":" { " " } else { "" });
        depth += usize::from(matches!(token, "{" | "["));
        previous = token;
        if text.len() > bytes_max {
            return None;
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(json: &str) -> RawPayload {
        RawPayload::from_stored(json)
    }

    fn redacting(names: &[&str]) -> Payloads {
        Payloads::Redacted(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn the_pretty_form_changes_nothing_but_the_blanks() {
        let shown = Payloads::Shown
            .shown(&payload(r#"{"n":12345678901234567890.10,"a":[],"s":"b\"\\:{","a":[1,{}]}"#));
        let expected = "{\n  \"n\": 12345678901234567890.10,\n  \"a\": [],\n  \"s\": \"b\\\"\\\\:{\",\n  \"a\": [\n    1,\n    {}\n  ]\n}";
        assert_eq!(shown, Shown { text: expected.to_owned(), note: "" });
        assert_eq!(Payloads::Shown.shown(&payload(" 7 ")).text, "7");
    }

    #[test]
    fn what_is_not_json_is_shown_byte_for_byte() {
        for text in ["{oops", "a  b\n", "\"unended", ""] {
            assert_eq!(Payloads::Shown.shown(&payload(text)).text, text);
            assert_eq!(redacting(&["x"]).shown(&payload(text)).text, "", "nothing says where its fields are");
        }
    }

    #[test]
    fn values_of_a_name_are_taken_out_at_any_depth_however_it_is_written() {
        let json =
            r#"{"Password":{"a":[1,{"b":2}]},"list":[{"pass\u0077ord":1},{"other":"password"}],"é":3,"É":4}"#;
        let text = redacting(&["password", "É"]).text(&payload(json)).expect("it is JSON");
        let expected = r#"{"Password":"[redacted]","list":[{"pass\u0077ord":"[redacted]"},{"other":"password"}],"é":"[redacted]","É":"[redacted]"}"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn a_payload_that_would_fill_the_page_is_cut_and_one_of_many_brackets_costs_little() {
        let long = format!("\"{}\"", "é".repeat(SHOWN_BYTES_MAX));
        let shown = Payloads::Shown.shown(&payload(&long));
        assert!(shown.text.len() <= SHOWN_BYTES_MAX && shown.note.starts_with("The first"), "{}", shown.note);
        let deep = format!("{}{}", "[".repeat(500_000), "]".repeat(500_000));
        assert!(Payloads::Shown.shown(&payload(&deep)).text.len() <= SHOWN_BYTES_MAX);
    }
}
