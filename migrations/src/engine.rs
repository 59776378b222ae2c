//! The engines, and each one's migrations as one SQL script that also records what it applies, for people who run
//! their own migration tool. The record must be the one that the engine's backend keeps; tests of the program
//! `taskqueue` apply the scripts and migrate after them.

use std::fmt;
use std::str::FromStr;

use crate::{COCKROACH, MYSQL, Migration, POSTGRES, SQLITE};

/// The version since which the number of shards is kept in the database.
const SHARDS_SINCE: i64 = 2;

/// A family of databases that share their SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
    /// CockroachDB, which has PostgreSQL's URLs: only its name leads to it.
    Cockroach,
    /// MySQL and MariaDB.
    Mysql,
}

/// A name that is no engine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownEngine;

/// A database that a newer program has migrated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewerDatabase {
    /// The newest version that was applied to it.
    pub applied: i64,
    /// The newest one that this program has.
    pub known: i64,
}

impl Engine {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Sqlite, Self::Postgres, Self::Cockroach, Self::Mysql];

    /// Its name as an identifier: `sqlite`, `postgres`, `cockroach`, `mysql`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
            Self::Cockroach => "cockroach",
            Self::Mysql => "mysql",
        }
    }

    /// Its migrations, oldest first.
    pub fn migrations(self) -> &'static [Migration] {
        match self {
            Self::Sqlite => SQLITE,
            Self::Postgres => POSTGRES,
            Self::Cockroach => COCKROACH,
            Self::Mysql => MYSQL,
        }
    }

    /// The version of the newest migration.
    pub fn newest(self) -> i64 {
        self.migrations().last().map_or(0, |migration| migration.version)
    }

    /// Refuses a database that has had the version `applied` if that is a newer one: this program would not know what its schema
    /// means.
    ///
    /// # Errors
    /// [`NewerDatabase`].
    pub fn check(self, applied: i64) -> Result<(), NewerDatabase> {
        let known = self.newest();
        if applied > known { Err(NewerDatabase { applied, known }) } else { Ok(()) }
    }

    /// The migrations after version `after` as one script, for a task table of this name, with the statements that
    /// record them: once it is applied, the backend finds nothing to migrate. 0 means from the start; then a schema
    /// before the name is made too, and the tasks are spread over `shards`, in `1..=1024`; a table that was there has
    /// one. The name must have been checked to be made of identifiers.
    pub fn script(self, table: &str, after: i64, shards: u16) -> String {
        let mut script = String::new();
        if after == 0 {
            if let Some((schema, _)) = table.rsplit_once('.') {
                script.push_str(&format!("CREATE SCHEMA IF NOT EXISTS {schema};\n\n"));
            }
            script.push_str(&self.create_versions(table));
        }
        for migration in self.migrations().iter().filter(|migration| migration.version > after) {
            let Migration { version, name, .. } = migration;
            script.push_str(&format!(
                "\n-- Version {version}: {name}\n\n{}\n",
                migration.sql(table).trim_end()
            ));
            script.push_str(&format!("\n{}\n", self.record(table, migration)));
        }
        if self.has_shards() && after < SHARDS_SINCE {
            let shards = if after == 0 { shards } else { 1 };
            script.push_str(&format!("\nINSERT INTO {table}_shards (one, shards) VALUES (1, {shards});\n"));
        }
        script.trim_start().to_owned()
    }

    /// Whether tasks can be spread over shards.
    pub fn has_shards(self) -> bool {
        self != Self::Sqlite
    }

    fn create_versions(self, table: &str) -> String {
        let columns = match self {
            Self::Sqlite => "version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at INTEGER NOT NULL)",
            Self::Postgres | Self::Cockroach => {
                "version bigint PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
            }
            Self::Mysql => {
                "version bigint NOT NULL PRIMARY KEY, \
                 name varchar(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, \
                 applied_at datetime(6) NOT NULL) ENGINE = InnoDB"
            }
        };
        format!("CREATE TABLE IF NOT EXISTS {table}_migrations ({columns};\n")
    }

    fn record(self, table: &str, Migration { version, name, .. }: &Migration) -> String {
        let now = match self {
            Self::Sqlite => "CAST(strftime('%s', 'now') AS INTEGER) * 1000000",
            Self::Postgres | Self::Cockroach => "now()",
            Self::Mysql => "UTC_TIMESTAMP(6)",
        };
        format!(
            "INSERT INTO {table}_migrations (version, name, applied_at) VALUES ({version}, '{name}', {now});"
        )
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
            Self::Cockroach => "CockroachDB",
            Self::Mysql => "MySQL",
        })
    }
}

/// By [`name`](Engine::name), or by the other scheme that its URLs have.
impl FromStr for Engine {
    type Err = UnknownEngine;

    fn from_str(name: &str) -> Result<Self, UnknownEngine> {
        match name {
            "sqlite" => Ok(Self::Sqlite),
            "postgres" | "postgresql" => Ok(Self::Postgres),
            "cockroach" => Ok(Self::Cockroach),
            "mysql" | "mariadb" => Ok(Self::Mysql),
            _ => Err(UnknownEngine),
        }
    }
}

impl fmt::Display for UnknownEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not sqlite, postgres, cockroach or mysql")
    }
}

impl std::error::Error for UnknownEngine {}

impl fmt::Display for NewerDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { applied, known } = self;
        write!(f, "the database is at version {applied}, this program knows only {known}: update it")
    }
}

impl std::error::Error for NewerDatabase {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_records_every_version_that_it_applies() {
        for engine in Engine::ALL {
            let script = engine.script("outbox", 0, 1);
            assert!(script.starts_with("CREATE TABLE IF NOT EXISTS outbox_migrations "), "{script}");
            for Migration { version, .. } in engine.migrations() {
                let record =
                    format!("INSERT INTO outbox_migrations (version, name, applied_at) VALUES ({version}, ");
                assert_eq!(script.matches(&record).count(), 1, "{script}");
            }
        }
    }

    #[test]
    fn a_script_for_a_schema_makes_the_schema_first() {
        let script = Engine::Postgres.script("\"work\".outbox", 0, 1);
        assert!(script.starts_with("CREATE SCHEMA IF NOT EXISTS \"work\";\n"), "{script}");
        assert!(script.contains("INSERT INTO \"work\".outbox_migrations "), "{script}");
    }

    #[test]
    fn a_script_begins_after_the_version_that_is_there() {
        for engine in Engine::ALL {
            assert_eq!(engine.script("outbox", engine.newest(), 1), "");
            let last = engine.script("outbox", engine.newest() - 1, 1);
            assert_eq!(last.contains("IF NOT EXISTS outbox_migrations"), engine.newest() == 1);
            assert_eq!(last.matches("INSERT INTO outbox_migrations").count(), 1);
        }
    }

    #[test]
    fn a_script_says_how_many_shards_a_new_table_has_and_that_an_old_one_has_one() {
        let says = |engine: Engine, after, number| {
            let insert = format!("INSERT INTO outbox_shards (one, shards) VALUES (1, {number});");
            engine.script("outbox", after, 16).contains(&insert)
        };
        for engine in Engine::ALL {
            assert_eq!(says(engine, 0, 16), engine.has_shards());
            assert_eq!(says(engine, 1, 1), engine.has_shards());
            assert!(!engine.script("outbox", 2, 16).contains("outbox_shards"));
        }
    }

    #[test]
    fn engines_are_found_by_the_schemes_of_their_urls() {
        assert_eq!("mariadb".parse(), Ok(Engine::Mysql));
        assert_eq!("postgresql".parse(), Ok(Engine::Postgres));
        assert_eq!("oracle".parse::<Engine>(), Err(UnknownEngine));
        for engine in Engine::ALL {
            assert_eq!(engine.name().parse(), Ok(engine));
        }
    }

    #[test]
    fn a_database_that_is_ahead_of_the_program_is_refused() {
        for engine in Engine::ALL {
            let known = engine.newest();
            assert_eq!(engine.check(known), Ok(()));
            let newer = engine.check(known + 1).expect_err("it is newer");
            assert!(newer.to_string().contains(&format!("this program knows only {known}")), "{newer}");
        }
    }
}
