//! The schema migrations of the SQL backends, as data: each engine's list, in order, the same versions in each, and
//! the same as a script for other migration tools. It knows no driver and applies nothing; a backend does that.

mod engine;

pub use engine::{Engine, NewerDatabase, UnknownEngine};

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
    /// The statements for a task table of this name, which may begin with a schema and a dot. The name must have been
    /// checked to be made of identifiers.
    pub fn sql(&self, table: &str) -> String {
        // An index is in its table's schema; its name cannot say so.
        let name = table.rsplit('.').next().unwrap_or(table);
        let indexed = self.template.replace("INDEX {table}", &format!("INDEX {name}"));
        let indexed = indexed.replace("INDEX IF NOT EXISTS {table}", &format!("INDEX IF NOT EXISTS {name}"));
        indexed.replace("{table}", table)
    }

    /// Whether it changes nothing, as where only another engine has something to change. Some engines refuse a text
    /// without a statement.
    pub fn is_nothing(&self) -> bool {
        self.template.lines().all(|line| line.is_empty() || line.starts_with("--"))
    }
}

/// For engines that have nothing to change: the number keeps its place in the order.
const fn nothing(version: i64, name: &'static str) -> Migration {
    Migration { version, name, template: "-- Nothing here.\n" }
}

/// SQLite's migrations. Its index over due tasks ends with the insertion order, and so has the whole order of promotion.
pub const SQLITE: &[Migration] = &[
    Migration { version: 1, name: "tasks", template: include_str!("../sqlite/0001_tasks.sql") },
    Migration { version: 2, name: "shards", template: include_str!("../sqlite/0002_shards.sql") },
    nothing(3, "sums_identity"),
    nothing(4, "due_order"),
    nothing(5, "due"),
];

/// PostgreSQL's migrations. Each is applied in a transaction of its own, beside workers: one that takes locks on two tables, or a
/// stronger lock on a table after a weaker one, would deadlock with them.
pub const POSTGRES: &[Migration] = &[
    Migration { version: 1, name: "tasks", template: include_str!("../postgres/0001_tasks.sql") },
    Migration { version: 2, name: "shards", template: include_str!("../postgres/0002_shards.sql") },
    Migration {
        version: 3,
        name: "sums_identity",
        template: include_str!("../postgres/0003_sums_identity.sql"),
    },
    Migration { version: 4, name: "due_order", template: include_str!("../postgres/0004_due_order.sql") },
    Migration { version: 5, name: "due", template: include_str!("../postgres/0005_due.sql") },
];

/// CockroachDB's migrations. Each statement ends with a line, may be repeated, and is to be sent on its own. The index over
/// due tasks ends with the key, and so has the whole order of promotion; the sums have a key.
pub const COCKROACH: &[Migration] = &[
    Migration { version: 1, name: "tasks", template: include_str!("../cockroach/0001_tasks.sql") },
    Migration { version: 2, name: "shards", template: include_str!("../cockroach/0002_shards.sql") },
    nothing(3, "sums_identity"),
    nothing(4, "due_order"),
    nothing(5, "due"),
];

/// The migrations of MySQL and MariaDB. Promotion reads an index that has its whole order.
pub const MYSQL: &[Migration] = &[
    Migration { version: 1, name: "tasks", template: include_str!("../mysql/0001_tasks.sql") },
    Migration { version: 2, name: "shards", template: include_str!("../mysql/0002_shards.sql") },
    nothing(3, "sums_identity"),
    nothing(4, "due_order"),
    nothing(5, "due"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_rise_by_one_from_one_and_are_the_same_in_every_engine() {
        for engine in Engine::ALL {
            let versions: Vec<i64> = engine.migrations().iter().map(|migration| migration.version).collect();
            assert_eq!(versions, (1..=SQLITE.len() as i64).collect::<Vec<_>>(), "{engine}");
        }
        let named =
            |migrations: &[Migration]| migrations.iter().map(|m| (m.version, m.name)).collect::<Vec<_>>();
        assert_eq!(named(COCKROACH), named(POSTGRES));
    }

    #[test]
    fn a_migration_of_comments_changes_nothing() {
        let changing = |migrations: &[Migration]| {
            migrations
                .iter()
                .filter(|migration| !migration.is_nothing())
                .map(|m| m.version)
                .collect::<Vec<_>>()
        };
        assert_eq!(changing(POSTGRES), [1, 2, 3, 4, 5]);
        assert_eq!(changing(MYSQL), [1, 2]);
        assert_eq!(changing(SQLITE), [1]);
    }

    #[test]
    fn in_a_schema_tables_are_qualified_and_indexes_are_not() {
        for migrations in [POSTGRES, COCKROACH] {
            let sql: String = migrations.iter().map(|migration| migration.sql("\"work\".outbox")).collect();
            let sql = sql.replace(" IF NOT EXISTS", "");
            assert!(
                sql.contains("CREATE TABLE \"work\".outbox_leases (") && !sql.contains(" outbox_leases ("),
                "{sql}"
            );
            assert!(sql.contains("CREATE INDEX outbox_ready ON \"work\".outbox ("), "{sql}");
            assert!(
                !sql.contains("DROP INDEX IF EXISTS outbox"),
                "the index of another schema would go: {sql}"
            );
        }
    }

    #[test]
    fn every_object_is_named_after_the_table() {
        for migration in Engine::ALL.iter().flat_map(|engine| engine.migrations()) {
            let sql = migration.sql("outbox");
            // A list of numbers begins with the same brace as a name that nobody filled in.
            let is_filled = |rest: &str| rest.starts_with(|next: char| next.is_ascii_digit());
            assert!(sql.split('{').skip(1).all(is_filled) && !sql.contains("tasks_"), "{sql}");
            for line in sql.lines().filter(|line| line.starts_with("CREATE")) {
                assert!(line.contains(" outbox"), "{line}");
            }
        }
    }
}
