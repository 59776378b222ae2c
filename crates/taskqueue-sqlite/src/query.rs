//! Between the driver and the neutral forms: texts to queries, values to parameters, rows to fields. It knows no
//! statement.

use std::sync::Arc;

use sea_query::Value;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, Column as _, Row as _, Sqlite, TypeInfo as _, ValueRef as _};
use taskqueue_sql::{Attempt, Column, Failure, Field, Row};
use uuid::Uuid;

use crate::error::failure;

/// A query with owned parameters.
pub(crate) type Bound = sqlx::query::Query<'static, Sqlite, SqliteArguments>;

/// Makes queries. The texts hold no input: only checked identifiers and places of parameters.
pub(crate) struct Query;

impl Query {
    /// A query of one of the literal texts.
    pub(crate) fn constant(sql: &Arc<str>) -> Bound {
        sqlx::query(AssertSqlSafe(Arc::clone(sql)))
    }

    /// A query of a rendered text.
    pub(crate) fn rendered(sql: &str) -> Bound {
        sqlx::query(AssertSqlSafe(sql))
    }
}

/// Binds sea-query's values.
pub(crate) fn bind_values(mut query: Bound, values: Vec<Value>) -> Attempt<Bound> {
    for value in values {
        query = match value {
            Value::SmallInt(number) => query.bind(number),
            Value::Int(number) => query.bind(number),
            Value::BigInt(number) => query.bind(number),
            Value::BigUnsigned(number) => {
                query.bind(number.map(|number| i64::try_from(number).unwrap_or(i64::MAX)))
            }
            Value::String(text) => query.bind(text),
            Value::Bytes(bytes) => query.bind(bytes),
            other => {
                return Err(Failure::malformed(format!(
                    "no statement of SQLite binds a value like {other:?}"
                )));
            }
        };
    }
    Ok(query)
}

/// The columns of texts.
const TEXTS: [Column; 7] = [
    Column::Type,
    Column::Payload,
    Column::LastError,
    Column::Region,
    Column::WorkerId,
    Column::UniqueKey,
    Column::Metadata,
];

/// The fields of a row. SQLite keeps in a column whatever a producer's own INSERT put there: what no version of this crate
/// writes is malformed in its field, and costs nobody the row's other fields.
pub(crate) fn fields(row: &SqliteRow) -> Attempt<Row> {
    (0..row.len()).map(|place| field(row, place)).collect::<Attempt<Vec<Field>>>().map(Row::new)
}

fn field(row: &SqliteRow, place: usize) -> Attempt<Field> {
    let value = row.try_get_raw(place).map_err(failure)?;
    if value.is_null() {
        return Ok(Field::Null);
    }
    let kind = value.type_info().name().to_owned();
    match kind.as_str() {
        "INTEGER" => row.try_get(place).map(Field::Integer).map_err(failure),
        // Of times, where it was not cast: less than a microsecond.
        "REAL" => row.try_get::<f64, _>(place).map(|number| Field::Integer(number as i64)).map_err(failure),
        "TEXT" => text(row, place),
        "BLOB" if TEXTS.iter().any(|column| column.name() == row.column(place).name()) => text(row, place),
        "BLOB" => id(row, place),
        other => Ok(Field::Malformed(other.to_lowercase())),
    }
}

/// A text, also where it was stored as bytes.
fn text(row: &SqliteRow, place: usize) -> Attempt<Field> {
    let bytes: &[u8] = row.try_get_unchecked(place).map_err(failure)?;
    let text = str::from_utf8(bytes).map(|text| Field::Text(text.to_owned()));
    Ok(text.unwrap_or_else(|_| Field::Malformed("text that is not UTF-8".to_owned())))
}

fn id(row: &SqliteRow, place: usize) -> Attempt<Field> {
    let bytes: &[u8] = row.try_get(place).map_err(failure)?;
    let id = Uuid::from_slice(bytes).map(Field::Id);
    Ok(id.unwrap_or_else(|_| Field::Malformed(format!("an id of {} bytes", bytes.len()))))
}
