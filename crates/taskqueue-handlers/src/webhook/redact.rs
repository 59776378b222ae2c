//! What may be shown of a URL and of a receiver's answer. Webhook URLs carry their tokens in the userinfo, the
//! query and, with several well-known services, the path, so only scheme, host and port are shown.

use reqwest::Url;
use reqwest::header::HeaderMap;

/// The most characters of an answer that an error repeats.
const EXCERPT_CHARS_MAX: usize = 300;

/// Scheme, host and port.
pub(super) fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// The beginning of an answer's body on one line, without the values of the request's headers, which a receiver
/// may echo.
pub(super) fn excerpt(body: &[u8], sent: &HeaderMap) -> String {
    let mut text = String::from_utf8_lossy(body).into_owned();
    for value in sent.values().filter_map(|value| value.to_str().ok()) {
        // Authentication schemes put a word before the credential.
        for part in value.split_whitespace().filter(|part| part.len() >= 8) {
            text = text.replace(part, "[hidden]");
        }
    }
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().filter(|char| !char.is_control()).take(EXCERPT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_url_only_scheme_host_and_port_are_shown() {
        let url = Url::parse("https://user:pass@example.org:8443/services/token?key=secret#f").unwrap();
        assert_eq!(origin(&url), "https://example.org:8443");
    }

    #[test]
    fn an_answer_is_shown_on_one_short_line_without_what_was_sent() {
        let mut sent = HeaderMap::new();
        sent.insert("authorization", "Bearer abcdefghij".parse().unwrap());
        let body = format!("bad\r\n token abcdefghij \u{1b}[31m{}", "x".repeat(1000));
        let shown = excerpt(body.as_bytes(), &sent);
        assert!(shown.starts_with("bad token [hidden] [31mxxx"), "{shown}");
        assert_eq!(shown.chars().count(), EXCERPT_CHARS_MAX);
    }
}
