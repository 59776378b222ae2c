//! When a periodic task fires: multiples of an interval, or a cron expression. Pure: the next fire follows from a time.

use std::time::Duration;

use chrono::DateTime;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use taskqueue_core::Timestamp;
use taskqueue_core::clock::DURATION_MAX;

const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// What a cron expression is, for who wrote something else.
const EXPECTED: &str =
    "expected five fields, minute hour day month weekday, as in \"0 3 * * *\", or six with the second first";

/// The times at which something fires.
#[derive(Debug, Clone)]
pub(super) enum Times {
    /// Multiples of so many microseconds since 1970.
    Every(i64),
    /// Those of an expression.
    Cron(Box<Cron>, Zone),
}

/// The time zone in which an expression is read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Zone {
    Utc,
    #[cfg(feature = "time-zones")]
    Named(chrono_tz::Tz),
}

impl Times {
    /// Multiples of an interval; or what is wrong with it.
    pub(super) fn every(interval: Duration) -> Result<Self, String> {
        if interval < INTERVAL_MIN {
            return Err(format!(
                "the interval {interval:?} is too short, expected {INTERVAL_MIN:?} at least"
            ));
        }
        if interval > DURATION_MAX {
            return Err(format!("the interval {interval:?} is too long, expected a thousand years at most"));
        }
        let micros = i64::try_from(interval.as_micros());
        Ok(Self::Every(micros.expect("DURATION_MAX is within the range of i64 microseconds")))
    }

    /// The times of an expression; or what is wrong with it.
    pub(super) fn cron(expression: &str) -> Result<Self, String> {
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let wrong =
            |why: String| format!("the cron expression {expression:?} is not valid: {why}; {EXPECTED}");
        let cron = parser.parse(expression).map_err(|error| wrong(error.to_string()))?;
        let times = Self::Cron(Box::new(cron), Zone::Utc);
        // Without a year an expression fires within a cycle of leap years from anywhere, or never.
        match times.next_after(Timestamp::UNIX_EPOCH) {
            Some(_) => Ok(times),
            None => Err(format!("the cron expression {expression:?} never fires: no month has such a day")),
        }
    }

    /// The same times of day, in a time zone of this name; or what is wrong with it.
    #[cfg(feature = "time-zones")]
    pub(super) fn in_time_zone(self, zone: &str) -> Result<Self, String> {
        let Self::Cron(cron, _) = self else {
            return Err(format!("it has the time zone {zone:?}, but no cron expression that is read in it"));
        };
        let named = zone.parse().map_err(|_| {
            format!("the time zone {zone:?} is not known, expected a name of the IANA database, as in \"Europe/Berlin\"")
        })?;
        Ok(Self::Cron(cron, Zone::Named(named)))
    }

    /// The first of them after `time`.
    pub(super) fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Every(micros) => {
                let passed = time.timestamp_micros().div_euclid(*micros);
                DateTime::from_timestamp_micros(passed.checked_add(1)?.checked_mul(*micros)?)
            }
            Self::Cron(cron, Zone::Utc) => cron.find_next_occurrence(&time, false).ok(),
            #[cfg(feature = "time-zones")]
            Self::Cron(cron, Zone::Named(zone)) => {
                let next = cron.find_next_occurrence(&time.with_timezone(zone), false).ok();
                next.map(|next| next.to_utc())
            }
        }
    }
}
