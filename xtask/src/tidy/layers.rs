//! Layers: which of our crates may know which, and who may know a database driver. Read from `cargo tree`, which
//! says what is really linked; dependencies of tests are free.

use super::Violation;
use crate::workspace::Files;

/// What `cargo tree` is asked: each member with what it depends on directly.
pub(super) const TREE: [&str; 9] =
    ["tree", "--workspace", "--edges", "normal", "--depth", "1", "--prefix", "depth", "--no-dedupe"];

/// Each crate of ours with those of ours that it may depend on. A new edge is its own commit, with its reason.
const LAYERS: [(&str, &[&str]); 15] = [
    ("taskqueue-core", &[]),
    ("taskqueue-migrations", &[]),
    ("taskqueue-memory", &["taskqueue-core"]),
    ("taskqueue-sql", &["taskqueue-core"]),
    ("taskqueue-sqlite", &SQL_BACKEND),
    ("taskqueue-postgres", &SQL_BACKEND),
    ("taskqueue-mysql", &SQL_BACKEND),
    ("taskqueue-worker", &["taskqueue-core"]),
    ("taskqueue-handlers", &["taskqueue-core", "taskqueue-worker"]),
    ("taskqueue-dashboard", &["taskqueue-core"]),
    ("taskqueue-conformance", &["taskqueue-core"]),
    ("taskqueue-servers", &[]),
    (
        "taskqueue-cli",
        &[
            "taskqueue-core",
            "taskqueue-sql",
            "taskqueue-migrations",
            "taskqueue-sqlite",
            "taskqueue-postgres",
            "taskqueue-mysql",
            "taskqueue-worker",
            "taskqueue-handlers",
            "taskqueue-dashboard",
        ],
    ),
    (
        "taskqueue-bench",
        &[
            "taskqueue-core",
            "taskqueue-memory",
            "taskqueue-sqlite",
            "taskqueue-postgres",
            "taskqueue-mysql",
            "taskqueue-worker",
        ],
    ),
    ("xtask", &[]),
];
/// What a backend stands on.
const SQL_BACKEND: [&str; 3] = ["taskqueue-core", "taskqueue-sql", "taskqueue-migrations"];
/// Crates that talk to a database, by how their names begin.
const DRIVERS: [&str; 4] = ["sqlx", "sea-query-sqlx", "rusqlite", "libsqlite3-sys"];
/// Who may depend on them: the backends, the bench that compares with a bare driver, and the handlers, whose feature
/// `sql` keeps configurations in a table of a database that need not be the queue's.
const DRIVER_USERS: [&str; 5] =
    ["taskqueue-sqlite", "taskqueue-postgres", "taskqueue-mysql", "taskqueue-handlers", "taskqueue-bench"];

/// `layers`: checks what [`TREE`] printed. The manifests say on which line a dependency stands.
pub(super) fn check(tree: &str, manifests: &Files) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut member = "";
    for line in tree.lines() {
        if let Some(name) = line.strip_prefix('0').map(first_word) {
            member = name;
            if allowed(member).is_none() {
                violations.push(violation(
                    manifests,
                    member,
                    "name",
                    "has no place among the layers".to_owned(),
                ));
            }
        } else if let Some(name) = line.strip_prefix('1').map(first_word)
            && let Some(message) = refused(member, name)
        {
            violations.push(violation(manifests, member, name, message));
        }
    }
    violations
}

fn allowed(member: &str) -> Option<&'static [&'static str]> {
    LAYERS.into_iter().find(|(name, _)| *name == member).map(|(_, allowed)| allowed)
}

fn refused(member: &str, dependency: &str) -> Option<String> {
    let is_ours = dependency.starts_with("taskqueue-") || dependency == "xtask";
    if is_ours && !allowed(member).unwrap_or_default().contains(&dependency) {
        return Some(format!("{member} may not depend on {dependency}"));
    }
    let is_driver = DRIVERS.iter().any(|driver| dependency.starts_with(driver));
    (is_driver && !DRIVER_USERS.contains(&member))
        .then(|| format!("{member} may not know a database driver ({dependency})"))
}

fn violation(manifests: &Files, member: &str, key: &str, message: String) -> Violation {
    let name = format!("name = \"{member}\"");
    let is_of_member = |text: &str| text.lines().any(|line| line == name);
    let manifest =
        manifests.0.iter().find(|file| file.path.ends_with("Cargo.toml") && is_of_member(&file.text));
    let line = manifest.and_then(|file| file.text.lines().position(|line| line.starts_with(key)));
    let path = manifest.map_or("Cargo.toml", |file| &file.path);
    Violation::new("layers", path, line.unwrap_or(0) + 1, message)
}

fn first_word(text: &str) -> &str {
    text.split(' ').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(tree: &str) -> Vec<String> {
        let manifest =
            "[package]\nname = \"taskqueue-core\"\n\n[dependencies]\nserde.workspace = true\nsqlx = \"1\"\n";
        let files = Files::of([("crates/taskqueue-core/Cargo.toml", manifest)]);
        check(tree, &files).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn edges_that_point_down_are_fine() {
        let tree = "0taskqueue-core v0.1.0 (/x)\n1serde v1.0.0\n\n0taskqueue-sqlite v0.1.0 (/x)\n\
            1sqlx v0.9.0\n1taskqueue-core v0.1.0 (/x)\n1taskqueue-sql v0.1.0 (/x)\n";
        assert_eq!(messages(tree), [""; 0]);
    }

    #[test]
    fn an_edge_that_points_up_is_found() {
        let tree =
            "0taskqueue-worker v0.1.0 (/x)\n1taskqueue-core v0.1.0 (/x)\n1taskqueue-sqlite v0.1.0 (/x)\n";
        assert_eq!(
            messages(tree),
            ["Cargo.toml:1: layers: taskqueue-worker may not depend on taskqueue-sqlite"]
        );
    }

    #[test]
    fn a_driver_in_the_core_is_found_with_its_line() {
        let tree = "0taskqueue-core v0.1.0 (/x)\n1sqlx v0.9.0\n";
        assert_eq!(
            messages(tree),
            [
                "crates/taskqueue-core/Cargo.toml:6: layers: taskqueue-core may not know a database driver (sqlx)"
            ]
        );
    }

    #[test]
    fn a_crate_without_a_place_is_found() {
        let tree = "0taskqueue-extra v0.1.0 (/x)\n";
        assert_eq!(messages(tree), ["Cargo.toml:1: layers: has no place among the layers"]);
    }
}
