//! Names: of the task table, of what is derived from it, of its columns. It knows no statement.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use sea_query::Iden;
use taskqueue_core::{Error, Result};

use crate::reserved::is_reserved;

/// The name of the task table unless configured otherwise.
pub const TABLE_DEFAULT: &str = "tasks";
/// The longest table name: the derived names must fit into PostgreSQL's 63 bytes.
pub const TABLE_CHARS_MAX: usize = 48;

/// What the task table's own name ends with.
pub const TASKS: &str = "";
/// What the name of the table of the unique keys that are held ends with, where there is one.
pub const KEYS: &str = "_keys";
/// What the name of the table of the paused types ends with.
pub const PAUSED: &str = "_paused";
/// What the name of the table of the versions of migrations ends with.
pub const MIGRATIONS: &str = "_migrations";
/// What the name of the table of the number of shards ends with.
pub const SHARDS: &str = "_shards";
/// What the name of the table of the sums over finished tasks ends with.
pub const TOTALS: &str = "_totals";

/// The name of a task table: `[a-z_][a-z0-9_]*`, at most 48 characters, alone or within a schema whose name has the
/// same form. It is none of the words that an engine reserves, so that a queue can move between engines. An identifier by
/// construction, which can stand in SQL text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TableName {
    schema: Option<String>,
    name: Cow<'static, str>,
    /// As it stands in SQL text. The schema is quoted: its name may be one of SQL's words.
    qualified: Cow<'static, str>,
}

impl TableName {
    /// Checks `name`.
    ///
    /// # Errors
    /// `InvalidInput` when it is not such an identifier, or one of SQL's words (`order`, `group`, `rank`).
    pub fn new(name: impl AsRef<str>) -> Result<Self> {
        let name = check("table", name.as_ref())?;
        if is_reserved(&name) {
            let message = format!(
                "table name {name:?} is a word that SQL reserves; expected another, such as {name}_tasks"
            );
            return Err(Error::invalid_input("configure", message));
        }
        Ok(Self { schema: None, qualified: Cow::Owned(name.clone()), name: Cow::Owned(name) })
    }

    /// The table of this name in a schema, for engines that have schemas within a database.
    ///
    /// # Errors
    /// `InvalidInput` when the schema's name is not such an identifier.
    pub fn in_schema(&self, schema: impl AsRef<str>) -> Result<Self> {
        let schema = check("schema", schema.as_ref())?;
        let qualified = Cow::Owned(format!("\"{schema}\".{}", self.name));
        Ok(Self { schema: Some(schema), name: self.name.clone(), qualified })
    }

    /// The task table itself, as it stands in SQL text: with its schema, if it has one.
    pub fn as_str(&self) -> &str {
        &self.qualified
    }

    /// The name without the schema: what names of indexes begin with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The schema, unless it is left to the session.
    pub fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    /// The table of the paused types.
    pub fn paused(&self) -> String {
        format!("{self}{PAUSED}")
    }

    /// The table of the number of shards.
    pub fn shards(&self) -> String {
        format!("{self}{SHARDS}")
    }

    /// The table of the sums over finished tasks.
    pub fn totals(&self) -> String {
        format!("{self}{TOTALS}")
    }

    /// The table of the applied migrations, never the application's own.
    pub fn migrations(&self) -> String {
        format!("{self}{MIGRATIONS}")
    }

    /// The table with this ending, for sea-query, which does the quoting. Columns are
    /// named after the table alone, also where it is in a schema.
    pub(crate) fn reference(&self, ending: &str) -> sea_query::TableName {
        let table = format!("{}{ending}", self.name);
        match &self.schema {
            Some(schema) => (schema.clone(), table).into(),
            None => table.into(),
        }
    }
}

fn check(what: &str, name: &str) -> Result<String> {
    let starts = name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_');
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if !starts || name.len() > TABLE_CHARS_MAX || !name.bytes().all(fits) {
        let shown: String = name.chars().take(TABLE_CHARS_MAX + 1).collect();
        return Err(Error::invalid_input(
            "configure",
            format!("{what} name {shown:?} is not 1 to {TABLE_CHARS_MAX} characters of [a-z_][a-z0-9_]*"),
        ));
    }
    Ok(name.to_owned())
}

impl Default for TableName {
    fn default() -> Self {
        let name = Cow::Borrowed(TABLE_DEFAULT);
        Self { schema: None, qualified: name.clone(), name }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.qualified)
    }
}

impl FromStr for TableName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::new(name)
    }
}

/// Writes each column and its name once.
macro_rules! columns {
    ($($column:ident = $name:literal,)*) => {
        /// A column of the task table, or of a table beside it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[expect(missing_docs, reason = "the names are the columns' names; the migrations say what they hold")]
        pub enum Column {
            $($column,)*
        }

        impl Column {
            /// The name in every engine.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$column => $name,)*
                }
            }
        }
    };
}

columns! {
    Shard = "shard",
    Id = "id",
    Type = "type",
    Status = "status",
    Priority = "priority",
    QueueRank = "queue_rank",
    QueueAt = "queue_at",
    DueAt = "due_at",
    Attempts = "attempts",
    MaxRetries = "max_retries",
    Reclaims = "reclaims",
    LeaseToken = "lease_token",
    LeaseNumber = "lease_number",
    LeaseUntil = "lease_until",
    ScheduledAt = "scheduled_at",
    StartedAt = "started_at",
    CompletedAt = "completed_at",
    DeadAt = "dead_at",
    Listed = "listed",
    CreatedAt = "created_at",
    UpdatedAt = "updated_at",
    WorkerId = "worker_id",
    Region = "region",
    UniqueKey = "unique_key",
    UniqueHeld = "unique_held",
    Metadata = "metadata",
    LastError = "last_error",
    Payload = "payload",
    Shards = "shards",
    Slot = "slot",
    Tasks = "tasks",
    BusyUs = "busy_us",
    PausedAt = "paused_at",
}

impl Iden for Column {
    fn quoted(&self) -> Cow<'static, str> {
        Cow::Borrowed(self.name())
    }

    fn unquoted(&self) -> &str {
        self.name()
    }
}

#[cfg(test)]
mod tests {
    use taskqueue_core::ErrorKind;

    use super::*;

    #[test]
    fn a_name_that_is_no_plain_identifier_is_refused() {
        for name in ["", "9lives", "Tasks", "tasks;drop", "my tasks", "a.b", "tâches", &"t".repeat(49)] {
            let error = TableName::new(name).expect_err(name);
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn a_word_that_an_engine_reserves_is_refused_by_name() {
        for name in ["order", "group", "groups", "rank", "system", "user", "index", "key"] {
            let error = TableName::new(name).expect_err(name);
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains("reserves"), "{error}");
        }
        for name in ["tasks", "jobs", "outbox", "queue", "events", "orders", "user_tasks"] {
            TableName::new(name).expect(name);
        }
    }

    #[test]
    fn a_schema_stands_before_every_table_and_is_checked_alike() {
        let table = TableName::new("outbox").unwrap().in_schema("order").unwrap();
        assert_eq!(table.to_string(), r#""order".outbox"#);
        assert_eq!(table.totals(), r#""order".outbox_totals"#);
        assert_eq!((table.schema(), table.name()), (Some("order"), "outbox"));
        for schema in ["", "Sales", "a.b", "a\"b"] {
            let error = table.in_schema(schema).expect_err(schema);
            assert!(error.to_string().contains("schema name"), "{error}");
        }
    }

    #[test]
    fn derived_names_start_with_the_table() {
        let table = TableName::new("_outbox2").unwrap();
        assert_eq!(table.paused(), "_outbox2_paused");
        assert_eq!(table.totals(), "_outbox2_totals");
        assert_eq!(table.migrations(), "_outbox2_migrations");
    }
}
