//! Between neutral values and rows and the driver's. It owns which column types are read; it knows no statement.

use std::collections::HashSet;

use sea_query::Value;
use sqlx::postgres::PgRow;
use sqlx::{Column, Row as _, TypeInfo, ValueRef};
use taskqueue_core::TaskId;
use taskqueue_sql::{Attempt, Failure, Field, Row};
use uuid::Uuid;

use crate::moment::Moment;
use crate::query::Query;

/// Binds neutral values.
pub(crate) fn bind<'q>(mut query: Query<'q>, values: Vec<Value>) -> Query<'q> {
    for value in values {
        query = match value {
            Value::SmallInt(number) => query.bind(number),
            Value::Int(number) => query.bind(number),
            Value::BigInt(number) => query.bind(number),
            Value::BigUnsigned(number) => query.bind(number.and_then(|number| i64::try_from(number).ok())),
            Value::String(text) => query.bind(text),
            Value::Uuid(id) => query.bind(id),
            other => unreachable!("the portable statements bind no value like {other:?}"),
        };
    }
    query
}

/// Reads every column of a row.
pub(crate) fn row(row: &PgRow) -> Attempt<Row> {
    (0..row.len()).map(|place| field(row, place)).collect::<Attempt<Vec<_>>>().map(Row::new)
}

/// The ids of rows of one.
pub(crate) fn ids(rows: Vec<PgRow>) -> Attempt<HashSet<TaskId>> {
    rows.iter().map(|fields| row(fields)?.id(0)).collect()
}

fn field(row: &PgRow, place: usize) -> Attempt<Field> {
    let raw = row.try_get_raw(place).map_err(crate::error::failure)?;
    if raw.is_null() {
        return Ok(Field::Null);
    }
    let read = match raw.type_info().name() {
        "INT2" => row.try_get::<i16, _>(place).map(|number| Field::Integer(number.into())),
        "INT4" => row.try_get::<i32, _>(place).map(|number| Field::Integer(number.into())),
        "INT8" => row.try_get::<i64, _>(place).map(Field::Integer),
        "TEXT" | "VARCHAR" => row.try_get::<String, _>(place).map(Field::Text),
        "UUID" => row.try_get::<Uuid, _>(place).map(Field::Id),
        "TIMESTAMPTZ" => {
            row.try_get::<Moment, _>(place).map(|Moment(time)| Field::Integer(time.timestamp_micros()))
        }
        other => {
            let name = row.column(place).name();
            return Err(Failure::malformed(format!(
                "the column {name} has the type {other}, which no version makes"
            )));
        }
    };
    read.map_err(crate::error::failure)
}
