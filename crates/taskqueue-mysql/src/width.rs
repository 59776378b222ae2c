//! What stands for NULL in the columns that claims and completions set, so that no row changes its width: InnoDB then
//! writes it where it stands, instead of taking its place anew and splitting the page. It knows no statement.

use sqlx::mysql::MySqlRow;
use sqlx::{Column, Row as _};
use taskqueue_core::WorkerId;

/// No time yet, or none any more: the earliest one that the engines promise to store.
pub(crate) const NEVER: &str = "TIMESTAMP'1000-01-01 00:00:00'";
/// The same in microseconds since 1970.
const NEVER_MICROS: i64 = -30_610_224_000_000_000;
/// The columns that have it. A task can be scheduled for that time as for any other.
const SET_LATER: [&str; 4] = ["started_at", "completed_at", "lease_until", "heartbeat_at"];

const WORKER_ID: &str = "worker_id";
/// How long a worker id is at least, stored: as most are, `<host>-<eight digits>`. The table's default has as many.
const WORKER_ID_BYTES: usize = 40;
/// No worker id has it: it is a control character.
const FILLER: char = '\0';

/// The stored form.
pub(crate) fn filled_up(id: &WorkerId) -> String {
    let mut stored = id.as_str().to_owned();
    while stored.len() < WORKER_ID_BYTES {
        stored.push(FILLER);
    }
    stored
}

/// Whether a time that was read there is none.
pub(crate) fn is_never(row: &MySqlRow, place: usize, micros: i64) -> bool {
    micros == NEVER_MICROS && SET_LATER.contains(&row.column(place).name())
}

/// A text that was read there, if it is one.
pub(crate) fn text(row: &MySqlRow, place: usize, mut text: String) -> Option<String> {
    if text.ends_with(FILLER) && row.column(place).name() == WORKER_ID {
        text.truncate(text.trim_end_matches(FILLER).len());
        return (!text.is_empty()).then_some(text);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;

    use super::*;

    #[test]
    fn never_is_the_year_1000() {
        let never = NaiveDate::from_ymd_opt(1000, 1, 1).and_then(|day| day.and_hms_opt(0, 0, 0)).unwrap();
        assert_eq!(never.and_utc().timestamp_micros(), NEVER_MICROS);
        assert_eq!(NEVER, format!("TIMESTAMP'{never}'"));
    }

    #[test]
    fn a_worker_id_is_filled_up_and_never_cut() {
        assert_eq!(filled_up(&WorkerId::new("a").unwrap()).len(), WORKER_ID_BYTES);
        let long = "ü".repeat(100);
        assert_eq!(filled_up(&WorkerId::new(&long).unwrap()), long);
    }
}
