//! What may be shown of a URL and of a receiver's answer. Webhook URLs carry their tokens in the userinfo, the
//! query and, with several well-known services, the path, so only scheme, host and port are shown.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use reqwest::header::HeaderMap;

use crate::percent;

/// The most characters of an answer that an error repeats.
const EXCERPT_CHARS_MAX: usize = 300;

/// Scheme, host and port.
pub(super) fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// The beginning of an answer's body on one line, without what a receiver may echo of the request: the values of its
/// headers, and of its URL what [`origin`] does not show.
pub(super) fn excerpt(body: &[u8], sent: &HeaderMap, url: &Url) -> String {
    let secrets = of_headers(sent).chain(of_credentials(url)).chain(of_path(url)).chain(of_query(url));
    let mut spelled: Vec<_> = secrets.flat_map(Secret::spellings).collect();
    // A short one may be part of a long one, of which it would leave the rest.
    spelled.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    spelled.dedup();
    let mut text = String::from_utf8_lossy(body).into_owned();
    for secret in spelled {
        text = text.replace(&secret, "[hidden]");
    }
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().filter(|char| !char.is_control()).take(EXCERPT_CHARS_MAX).collect()
}

/// What is hidden, if it is long enough to be a secret: shorter ones are words of any text.
struct Secret {
    text: String,
    bytes_min: usize,
}

impl Secret {
    /// A path or a query: only `/` and single letters are none.
    fn whole(text: impl Into<String>) -> Self {
        Self { text: text.into(), bytes_min: 2 }
    }

    fn password(text: impl Into<String>) -> Self {
        Self { text: text.into(), bytes_min: 4 }
    }

    fn part(text: impl Into<String>) -> Self {
        Self { text: text.into(), bytes_min: 8 }
    }

    /// How receivers write it: as it was sent or decoded, and either with what JSON and HTML make of slashes and
    /// ampersands.
    fn spellings(self) -> impl Iterator<Item = String> {
        let Self { text, bytes_min } = self;
        let decoded = [percent::of_credentials(&text), percent::of_form(&text), text];
        let long = decoded.into_iter().filter(move |text| text.len() >= bytes_min);
        long.flat_map(|text| {
            let (json, html) = (text.replace('/', r"\/"), text.replace('&', "&amp;"));
            [text, json, html]
        })
    }
}

fn of_headers(sent: &HeaderMap) -> impl Iterator<Item = Secret> {
    let values = sent.values().filter_map(|value| value.to_str().ok());
    // Authentication schemes put a word before the credential.
    values.flat_map(str::split_whitespace).map(Secret::part)
}

/// The client makes the header `Authorization` of them.
fn of_credentials(url: &Url) -> impl Iterator<Item = Secret> {
    let (user, password) = (url.username(), url.password().unwrap_or_default());
    let pair = format!("{}:{}", percent::of_credentials(user), percent::of_credentials(password));
    let has_some = pair != ":";
    let header = has_some.then(|| Secret::password(STANDARD.encode(pair)));
    [Secret::part(user), Secret::password(password)].into_iter().chain(header)
}

fn of_path(url: &Url) -> impl Iterator<Item = Secret> {
    let path = url.path();
    let parts = path.split('/').chain([path.trim_start_matches('/')]);
    parts.map(Secret::part).chain([Secret::whole(path)])
}

fn of_query(url: &Url) -> impl Iterator<Item = Secret> {
    let query = url.query().unwrap_or_default();
    let values = query.split('&').map(|pair| pair.split_once('=').map_or(pair, |(_, value)| value));
    let with_path = url.query().map(|query| Secret::whole(format!("{}?{query}", url.path())));
    values.map(Secret::part).chain([Secret::whole(query)]).chain(with_path)
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
        let shown = excerpt(body.as_bytes(), &sent, &Url::parse("https://example.org/").unwrap());
        assert!(shown.starts_with("bad token [hidden] [31mxxx"), "{shown}");
        assert_eq!(shown.chars().count(), EXCERPT_CHARS_MAX);
    }

    /// What is shown of an answer to a delivery without headers.
    fn shown(url: &str, answer: &str) -> String {
        excerpt(answer.as_bytes(), &HeaderMap::new(), &Url::parse(url).unwrap())
    }

    #[test]
    fn no_part_of_a_url_is_shown_however_a_receiver_echoes_it() {
        let url = "https://ada%40home:a%2Fb@example.org/in/tok%C3%BCn?a=1&key=long+s%2Fcret";
        let basic = STANDARD.encode("ada@home:a/b");
        for echo in [
            "/in/tok%C3%BCn?a=1&key=long+s%2Fcret",
            "/in/tok%C3%BCn",
            "/in/tokün",
            r"\/in\/tokün",
            "in/tok%C3%BCn",
            "a=1&amp;key=long+s%2Fcret",
            "long+s%2Fcret",
            "long s/cret",
            "ada%40home",
            "ada@home",
            "a%2Fb",
            &basic,
        ] {
            assert_eq!(shown(url, &format!("at {echo}: no")), "at [hidden]: no", "{echo}");
        }
    }

    #[test]
    fn what_says_nothing_of_a_url_is_shown() {
        let answer = "POST / as ada: no route for hooks, or a=1";
        assert_eq!(shown("https://ada@example.org/", answer), answer);
        assert_eq!(shown("https://ada:abc@example.org/hooks/7", answer), answer);
        let escaped = r#"{"see":"https:\/\/example.net"}"#;
        assert_eq!(shown("https://example.org/", escaped), escaped);
    }
}
