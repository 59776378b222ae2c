//! How numbers and times look on a page: the words of the program's tables, and how long ago or ahead a time is. It knows
//! no task.

use chrono::SecondsFormat;
use taskqueue_core::Timestamp;
use taskqueue_core::control::is_control;

/// A time as a page shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Moment {
    /// RFC 3339, in UTC, as the program's tables show it.
    pub(crate) time: String,
    /// How far it is from now: "3 m ago", "in 2 h".
    pub(crate) distance: String,
}

impl Moment {
    /// A time as seen at `now`.
    pub(crate) fn new(time: Timestamp, now: Timestamp) -> Self {
        let seconds = now.signed_duration_since(time).num_seconds();
        let distance = match seconds {
            0 => "now".to_owned(),
            1.. => format!("{} ago", duration(seconds.unsigned_abs())),
            _ => format!("in {}", duration(seconds.unsigned_abs())),
        };
        Self { time: time.to_rfc3339_opts(SecondsFormat::Secs, true), distance }
    }
}

/// A duration in its two largest units.
pub(crate) fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    let (large, small) = match seconds {
        0..60 => return format!("{seconds} s"),
        60..3_600 => ((minutes, 'm'), (seconds % 60, 's')),
        3_600..86_400 => ((hours, 'h'), (minutes % 60, 'm')),
        _ => ((days, 'd'), (hours % 24, 'h')),
    };
    match small {
        (0, _) => format!("{} {}", large.0, large.1),
        _ => format!("{} {} {} {}", large.0, large.1, small.0, small.1),
    }
}

/// `number` with its thousands set apart: 1,234,567.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `number` tasks, in words: "1 task", "2,000 tasks".
pub(crate) fn tasks(number: u64) -> String {
    format!("{} {}", thousands(number), if number == 1 { "task" } else { "tasks" })
}

/// A page with the control characters that a text has brought escaped, but for those between lines and words: one that turns
/// the direction of what follows would make a text look like another.
pub(crate) fn controls(page: String) -> String {
    let is_escaped = |c: char| is_control(c) && !matches!(c, '\n' | '\r' | '\t');
    if !page.contains(is_escaped) {
        return page;
    }
    let mut escaped = String::with_capacity(page.len());
    for c in page.chars() {
        if is_escaped(c) { escaped.extend(c.escape_default()) } else { escaped.push(c) }
    }
    escaped
}

/// The first `chars_max` characters of `text`, marked where it was cut.
pub(crate) fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        None => text.to_owned(),
        Some(_) => text.chars().take(chars_max.saturating_sub(1)).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use taskqueue_core::{Clock, ManualClock, clock};

    use super::*;

    #[test]
    fn a_time_is_shown_with_its_distance_from_now() {
        let now = ManualClock::default().now();
        let at = |seconds| Moment::new(clock::add(now, Duration::from_secs(seconds)), now).distance;
        assert_eq!([0, 59, 61, 3_600].map(at), ["now", "in 59 s", "in 1 m 1 s", "in 1 h"]);
        let past = Moment::new(clock::subtract(now, Duration::from_secs(90_000)), now);
        assert_eq!((past.time.as_str(), past.distance.as_str()), ("2025-12-30T23:00:00Z", "1 d 1 h ago"));
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([tasks(1), tasks(2_000)], ["1 task", "2,000 tasks"]);
        assert_eq!([cut("größer", 4), cut("größe", 5)], ["grö…", "größe"]);
    }
}
