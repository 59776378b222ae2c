//! Between neutral values and rows and the driver's. It owns which column types are read; it knows no statement.

use chrono::NaiveDateTime;
use sea_query::Value;
use sqlx::mysql::MySqlRow;
use sqlx::{Column, Row as _, TypeInfo, ValueRef};
use taskqueue_core::{Shard, TaskId};
use taskqueue_sql::{Attempt, Failure, Field, Row};
use uuid::Uuid;

use crate::error::failure;
use crate::run::Query;
use crate::width;

/// Binds neutral values.
pub(crate) fn bind(mut query: Query<'_>, values: Vec<Value>) -> Query<'_> {
    for value in values {
        query = match value {
            Value::SmallInt(number) => query.bind(number),
            Value::Int(number) => query.bind(number),
            Value::BigInt(number) => query.bind(number),
            Value::BigUnsigned(number) => query.bind(number.and_then(|number| i64::try_from(number).ok())),
            Value::String(text) => query.bind(text),
            Value::Bytes(bytes) => query.bind(bytes),
            other => unreachable!("the portable statements bind no value like {other:?}"),
        };
    }
    query
}

/// Binds ids, one after the other.
pub(crate) fn bind_ids<'q>(query: Query<'q>, ids: &[TaskId]) -> Query<'q> {
    ids.iter().fold(query, |query, id| query.bind(bytes(*id)))
}

/// Binds the shard, then ids.
pub(crate) fn of_ids(shard: Shard) -> impl Fn(Query<'static>, &[TaskId]) -> Query<'static> {
    move |query, ids| bind_ids(query.bind(shard.number()), ids)
}

/// Binds lease tokens, one after the other.
pub(crate) fn bind_tokens<'q>(query: Query<'q>, tokens: &[i64]) -> Query<'q> {
    tokens.iter().copied().fold(query, Query::bind)
}

/// Binds the shard, then lease tokens, then the shard again.
pub(crate) fn between_shards(shard: Shard) -> impl Fn(Query<'static>, &[i64]) -> Query<'static> {
    move |query, tokens| bind_tokens(query.bind(shard.number()), tokens).bind(shard.number())
}

/// The stored form of an id.
pub(crate) fn bytes(id: TaskId) -> Vec<u8> {
    id.as_uuid().into_bytes().to_vec()
}

/// Reads every column of a row.
pub(crate) fn row(row: &MySqlRow) -> Attempt<Row> {
    fields(row).map(Row::new)
}

/// The same, before it is closed to change.
pub(crate) fn fields(row: &MySqlRow) -> Attempt<Vec<Field>> {
    (0..row.len()).map(|place| field(row, place)).collect()
}

/// The time of so many microseconds since 1970, as the driver binds it. A `DateTime` would be bound as a timestamp,
/// which ends in 2038.
pub(crate) fn time(micros: i64) -> Attempt<NaiveDateTime> {
    let time = chrono::DateTime::from_timestamp_micros(micros).map(|time| time.naive_utc());
    time.ok_or_else(|| Failure::malformed(format!("the time {micros} is out of range")))
}

/// What no version of this crate writes, and a producer's own INSERT may, is malformed in its field, and costs nobody the row's
/// other fields.
fn field(row: &MySqlRow, place: usize) -> Attempt<Field> {
    let raw = row.try_get_raw(place).map_err(failure)?;
    if raw.is_null() {
        return Ok(Field::Null);
    }
    match raw.type_info().name() {
        "TINYINT" | "SMALLINT" | "INT" | "BIGINT" => row.try_get(place).map(Field::Integer).map_err(failure),
        "DATETIME" => Ok(moment(row, place)),
        "BINARY" => id(row, place),
        // The driver takes a text whose collation ends in _bin for bytes.
        "CHAR" | "VARCHAR" | "VARBINARY" | "TEXT" | "MEDIUMTEXT" | "LONGTEXT" | "BLOB" | "MEDIUMBLOB"
        | "LONGBLOB" => text(row, place),
        other => Ok(malformed(row, place, &format!("the type {other}"))),
    }
}

/// A date may have a month or a day that is 0, where the session that wrote it allowed that.
fn moment(row: &MySqlRow, place: usize) -> Field {
    match row.try_get::<NaiveDateTime, _>(place).map(|time| time.and_utc().timestamp_micros()) {
        Ok(never) if width::is_never(row, place, never) => Field::Null,
        Ok(micros) => Field::Integer(micros),
        Err(_) => malformed(row, place, "no time"),
    }
}

fn id(row: &MySqlRow, place: usize) -> Attempt<Field> {
    let bytes: &[u8] = row.try_get(place).map_err(failure)?;
    Ok(Uuid::from_slice(bytes).map_or_else(|_| malformed(row, place, "no 16 bytes"), Field::Id))
}

fn text(row: &MySqlRow, place: usize) -> Attempt<Field> {
    let bytes: Vec<u8> = row.try_get_unchecked(place).map_err(failure)?;
    let Ok(text) = String::from_utf8(bytes) else {
        return Ok(malformed(row, place, "bytes that are no UTF-8"));
    };
    Ok(width::text(row, place, text).map_or(Field::Null, Field::Text))
}

fn malformed(row: &MySqlRow, place: usize, what: &str) -> Field {
    Field::Malformed(format!("{what} (in the column {})", row.column(place).name()))
}
