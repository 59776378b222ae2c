//! The forms in which people write the values of options. Pure.

use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use taskqueue_core::clock::DURATION_MAX;
use taskqueue_core::{BATCH_MAX, Priority, Status, Timestamp};

/// A duration in words: `30s`, `5m`, `1h 30m`, `7days`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration > DURATION_MAX => {
            Err("longer than the limit of 1,000 years of 365 days".into())
        }
        Ok(duration) => Ok(duration),
        Err(error) => Err(format!("{error} (write 30s, 5m, 1h or 7d)")),
    }
}

/// One of these statuses, by its name, which shells complete.
pub(crate) fn status(of: &'static [Status]) -> impl TypedValueParser<Value = Status> {
    let names = PossibleValuesParser::new(of.iter().map(|status| status.as_str()));
    names.map(|name| name.parse().expect("it is one of the names"))
}

/// A time: RFC 3339.
pub(crate) fn time(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|error| format!("{error} (write 2026-12-31T18:00:00Z)"))
}

/// A priority: a name or a number.
pub(crate) fn priority(text: &str) -> Result<Priority, String> {
    match text {
        "low" => Ok(Priority::LOW),
        "normal" => Ok(Priority::NORMAL),
        "high" => Ok(Priority::HIGH),
        "urgent" => Ok(Priority::URGENT),
        _ => {
            text.parse().map(Priority).map_err(|_| "not low, normal, high, urgent or a 32-bit number".into())
        }
    }
}

/// How many rows one call may carry.
pub(crate) fn limit(text: &str) -> Result<usize, String> {
    let limit = text.parse().map_err(|_| "not a number".to_owned())?;
    if (1..=BATCH_MAX).contains(&limit) { Ok(limit) } else { Err(format!("not in 1 to {BATCH_MAX}")) }
}

/// `KEY=VALUE`, split at the first `=`; the value may be empty.
pub(crate) fn entry(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err("not of the form KEY=VALUE".into()),
    }
}

/// `LEFT=RIGHT`, split at the first `=`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((left, right)) if !left.is_empty() && !right.is_empty() => Ok((left.into(), right.into())),
        _ => Err("not of the form TYPE=VALUE".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_in_the_forms_that_people_write() {
        assert_eq!(duration("1h 30m"), Ok(Duration::from_secs(5400)));
        assert!(duration("soon").is_err());
        assert_eq!(duration("365000d"), Ok(DURATION_MAX));
        assert!(duration("365000d 1ns").is_err_and(|error| error.contains("1,000 years")));
        assert_eq!(priority("urgent"), Ok(Priority::URGENT));
        assert_eq!(priority("-3"), Ok(Priority(-3)));
        assert!(priority("very").is_err());
        assert_eq!(limit("10000"), Ok(10_000));
        assert!(limit("0").is_err() && limit("10001").is_err());
        assert_eq!(pair("mail=http://x/?a=b"), Ok(("mail".into(), "http://x/?a=b".into())));
        assert_eq!(entry("a==b"), Ok(("a".into(), "=b".into())));
        assert_eq!(entry("a="), Ok(("a".into(), String::new())));
        assert!(entry("a").is_err() && entry("=b").is_err());
        assert!(pair("mail").is_err() && pair("=x").is_err());
        assert!(time("2026-12-31T18:00:00Z").is_ok() && time("tomorrow").is_err());
    }
}
