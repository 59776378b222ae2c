//! What a receiver's answer means: done, again later, or never. Pure; it knows no client.

use std::time::Duration;

use reqwest::StatusCode;
use taskqueue_core::Timestamp;

/// What an answer's status means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// 2xx: delivered.
    Delivered,
    /// Another attempt can help: 408, 425, 429, 5xx, and redirects, which are not followed but are how many a
    /// gateway shows its maintenance page.
    Again,
    /// No other attempt can help: any other 4xx, 410 among them.
    Never,
}

impl Verdict {
    pub(super) fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            200..=299 => Self::Delivered,
            408 | 425 | 429 => Self::Again,
            400..=499 => Self::Never,
            _ => Self::Again,
        }
    }
}

/// How long a `Retry-After` header asks to wait: seconds, or an HTTP date that is seen from `now`. At most `most`;
/// `None` when it is malformed, zero or past, so that no receiver can turn a retry into a busy loop.
pub(super) fn retry_after(value: &str, now: Timestamp, most: Duration) -> Option<Duration> {
    let value = value.trim();
    let delay = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        Duration::from_secs(value.parse().unwrap_or(u64::MAX))
    } else {
        let date = Timestamp::from(httpdate::parse_http_date(value).ok()?);
        (date - now).to_std().ok()?
    };
    Some(delay.min(most)).filter(|delay| !delay.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn now() -> Timestamp {
        "1994-11-06T08:49:07Z".parse().expect("a time")
    }

    fn verdict(status: u16) -> Verdict {
        Verdict::of(StatusCode::from_u16(status).expect("a status"))
    }

    #[test]
    fn only_answers_in_the_two_hundreds_are_deliveries() {
        for status in 100..600 {
            assert_eq!(verdict(status) == Verdict::Delivered, (200..300).contains(&status), "{status}");
        }
    }

    #[test]
    fn client_errors_are_final_but_for_those_that_pass() {
        for status in 400..500 {
            let passes = [408, 425, 429].contains(&status);
            assert_eq!(verdict(status), if passes { Verdict::Again } else { Verdict::Never }, "{status}");
        }
    }

    #[test]
    fn server_errors_and_redirects_are_tried_again() {
        for status in (300..400).chain(500..600) {
            assert_eq!(verdict(status), Verdict::Again, "{status}");
        }
    }

    #[test]
    fn retry_after_is_read_in_seconds_and_as_each_form_of_date() {
        assert_eq!(retry_after("120", now(), HOUR), Some(Duration::from_secs(120)));
        for date in
            ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
        {
            assert_eq!(retry_after(date, now(), HOUR), Some(Duration::from_secs(30)), "{date}");
        }
    }

    #[test]
    fn a_retry_after_never_waits_longer_than_allowed() {
        assert_eq!(retry_after("99999999999999999999999999", now(), HOUR), Some(HOUR));
        assert_eq!(retry_after("Sat, 06 Nov 2094 08:49:37 GMT", now(), HOUR), Some(HOUR));
    }

    #[test]
    fn a_malformed_zero_or_past_retry_after_is_ignored() {
        for value in
            ["", "soon", "-1", "1.5", "0", "Sun, 06 Nov 1994 08:49:07 GMT", "Sat, 05 Nov 1994 08:49:37 GMT"]
        {
            assert_eq!(retry_after(value, now(), HOUR), None, "{value}");
        }
    }
}
