//! The server's times as they are sent and read. It owns what becomes of those that the driver cannot read; it knows no
//! column.

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueFormat, PgValueRef};
use sqlx::{Decode, Encode, Postgres, Type};
use taskqueue_core::Timestamp;

/// The server counts from 2000 on.
const EPOCH_US: i64 = 946_684_800_000_000;

/// A time of the server's. Its infinities, and what is beyond the last `Timestamp`, are read as the first and the last one,
/// where the driver would panic; these are sent as the infinities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment(pub(crate) Timestamp);

impl Moment {
    fn of_server(micros: i64) -> Self {
        let end = if micros < 0 { Timestamp::MIN_UTC } else { Timestamp::MAX_UTC };
        Self(Timestamp::from_timestamp_micros(micros.saturating_add(EPOCH_US)).unwrap_or(end))
    }

    fn to_server(self) -> i64 {
        match self.0.timestamp_micros() {
            first if first <= Timestamp::MIN_UTC.timestamp_micros() => i64::MIN,
            last if last >= Timestamp::MAX_UTC.timestamp_micros() => i64::MAX,
            micros => micros - EPOCH_US,
        }
    }
}

impl Type<Postgres> for Moment {
    fn type_info() -> PgTypeInfo {
        <Timestamp as Type<Postgres>>::type_info()
    }
}

impl PgHasArrayType for Moment {
    fn array_type_info() -> PgTypeInfo {
        <Timestamp as PgHasArrayType>::array_type_info()
    }
}

impl Encode<'_, Postgres> for Moment {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        <i64 as Encode<Postgres>>::encode_by_ref(&self.to_server(), buffer)
    }
}

impl<'r> Decode<'r, Postgres> for Moment {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        match value.format() {
            PgValueFormat::Binary => <i64 as Decode<Postgres>>::decode(value).map(Self::of_server),
            PgValueFormat::Text => <Timestamp as Decode<Postgres>>::decode(value).map(Self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_read_and_the_infinities_are_the_first_and_the_last_time() {
        for micros in [-1, 0, 1, EPOCH_US, 1_900_000_000_000_001] {
            let time = Timestamp::from_timestamp_micros(micros).expect("it is in range");
            assert_eq!(Moment::of_server(Moment(time).to_server()), Moment(time));
        }
        for (stored, read) in [(i64::MIN, Timestamp::MIN_UTC), (i64::MAX, Timestamp::MAX_UTC)] {
            assert_eq!(Moment::of_server(stored), Moment(read));
            assert_eq!(Moment(read).to_server(), stored);
            let through_micros = Timestamp::from_timestamp_micros(read.timestamp_micros());
            assert_eq!(through_micros.map(|time| Moment(time).to_server()), Some(stored));
        }
    }
}
