//! The schema migrations of the SQL backends, as data: each engine's list, in order, the same versions in each.
//! It knows no driver and applies nothing; a backend does that, in its own transaction.

/// One step of a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    /// Its place in the order, from 1, the same in every engine.
    pub version: i64,
    /// What it does, in a word or two.
    pub name: &'static str,
    template: &'static str,
}

impl Migration {
    /// The statements for a task table of this name. The name must have been checked to be an identifier.
    pub fn sql(&self, table: &str) -> String {
        self.template.replace("{table}", table)
    }
}

/// SQLite's migrations.
pub const SQLITE: &[Migration] =
    &[Migration { version: 1, name: "tasks", template: include_str!("../sqlite/0001_tasks.sql") }];

/// PostgreSQL's migrations.
pub const POSTGRES: &[Migration] =
    &[Migration { version: 1, name: "tasks", template: include_str!("../postgres/0001_tasks.sql") }];

/// The migrations of MySQL and MariaDB.
pub const MYSQL: &[Migration] =
    &[Migration { version: 1, name: "tasks", template: include_str!("../mysql/0001_tasks.sql") }];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_rise_by_one_from_one() {
        let versions: Vec<i64> = SQLITE.iter().map(|migration| migration.version).collect();
        assert_eq!(versions, (1..=SQLITE.len() as i64).collect::<Vec<_>>());
    }

    #[test]
    fn every_object_is_named_after_the_table() {
        for migration in SQLITE {
            let sql = migration.sql("outbox");
            assert!(!sql.contains('{') && !sql.contains("tasks_"), "{sql}");
            for line in sql.lines().filter(|line| line.starts_with("CREATE")) {
                assert!(line.contains(" outbox"), "{line}");
            }
        }
    }
}
