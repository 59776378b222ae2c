//! From a database URL to a queue. It owns which schemes this build knows, and when a SQLite file may be created;
//! no URL is ever printed, since it may hold a password: only a SQLite file's path is.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use taskqueue_core::Queue;
use taskqueue_sqlite::SqliteQueue;

use crate::failure::{Code, Failure, Outcome};

/// What `--database` names unless it says otherwise.
pub(crate) const DATABASE_DEFAULT: &str = "sqlite:taskqueue.db";

const SUPPORTED: &str = "this build knows only sqlite:FILE";

/// Where a queue is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Location {
    url: String,
    file: PathBuf,
}

/// The queue in a database that is there.
pub(crate) async fn existing(database: &str) -> Outcome<Arc<dyn Queue>> {
    let location = Location::parse(database)?;
    if location.is_missing() {
        let hint = "enqueue something, run `taskqueue migrate`, or name another --database";
        return Err(Failure::new(Code::NotFound, format!("there is no database at {location}: {hint}")));
    }
    location.open().await
}

/// The queue in a database; a SQLite file that is not there yet is created with its tables. One that is there is
/// another's until `migrate` was run on it: then it is left as it is.
pub(crate) async fn existing_or_new(database: &str) -> Outcome<Arc<dyn Queue>> {
    let location = Location::parse(database)?;
    if location.is_missing() { location.migrate().await } else { location.open().await }
}

impl Location {
    /// Reads a database URL.
    pub(crate) fn parse(database: &str) -> Outcome<Self> {
        let Some((scheme, rest)) = database.split_once(':') else {
            return Err(Failure::usage(format!("the database is not a URL; {SUPPORTED}")));
        };
        match scheme {
            "sqlite" => sqlite(database, rest),
            "memory" => Err(in_memory()),
            "postgres" | "postgresql" | "mysql" | "mariadb" | "cockroachdb" | "vitess" => {
                Err(Failure::usage(format!("there is no {scheme} backend in this build; {SUPPORTED}")))
            }
            _ => Err(Failure::usage(format!(
                "unknown database scheme {:?}; {SUPPORTED}",
                shown_scheme(scheme)
            ))),
        }
    }

    /// Creates the file if need be, and creates or upgrades the tables.
    pub(crate) async fn migrate(&self) -> Outcome<Arc<dyn Queue>> {
        let queue = SqliteQueue::connect(&self.url).await?;
        queue.migrate().await?;
        Ok(Arc::new(queue))
    }

    async fn open(&self) -> Outcome<Arc<dyn Queue>> {
        let queue = SqliteQueue::connect(&self.url).await?;
        // The cheapest question that needs the tables: without them, say so now and not at each claim of a worker.
        queue.paused().await.map_err(|error| Failure::from(error).context(self))?;
        Ok(Arc::new(queue))
    }

    /// Whether there is nothing yet: no file, or an empty one.
    fn is_missing(&self) -> bool {
        std::fs::metadata(&self.file).map_or(true, |metadata| metadata.len() == 0)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file.display().fmt(f)
    }
}

fn sqlite(database: &str, rest: &str) -> Outcome<Location> {
    let path = rest.strip_prefix("//").unwrap_or(rest);
    if path == ":memory:" {
        return Err(in_memory());
    }
    if path.contains('?') {
        return Err(Failure::usage("a sqlite URL takes no parameters: write sqlite:FILE"));
    }
    if path.is_empty() {
        return Err(Failure::usage("the database URL names no file: write sqlite:FILE"));
    }
    Ok(Location { url: database.to_owned(), file: PathBuf::from(path) })
}

/// Every command is a process of its own, and so is every worker.
fn in_memory() -> Failure {
    Failure::usage(format!(
        "a queue in memory ends with the command that made it, so no other could see it; {SUPPORTED}"
    ))
}

/// A scheme is short and plain; what is not may be anything, a password included.
fn shown_scheme(scheme: &str) -> &str {
    let plain = scheme.len() <= 20
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    if plain { scheme } else { "…" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(database: &str) -> String {
        let failure = Location::parse(database).expect_err("it is refused");
        assert_eq!(failure.code(), Code::Usage);
        failure.message().expect("it says why").to_owned()
    }

    #[test]
    fn every_form_of_sqlite_url_names_its_file() {
        for (url, file) in [
            ("sqlite:tasks.db", "tasks.db"),
            ("sqlite://tasks.db", "tasks.db"),
            ("sqlite:///var/lib/tasks.db", "/var/lib/tasks.db"),
            ("sqlite:my tasks.db", "my tasks.db"),
        ] {
            assert_eq!(Location::parse(url).expect("a sqlite URL").to_string(), file);
        }
    }

    #[test]
    fn a_queue_that_no_other_process_could_see_is_refused() {
        for url in ["memory:", "sqlite::memory:"] {
            assert!(refusal(url).contains("ends with the command"), "{url}");
        }
        assert!(refusal("sqlite:x?mode=memory").contains("no parameters"));
    }

    #[test]
    fn a_refused_url_is_named_by_its_scheme_and_never_shown() {
        for url in
            ["postgres://u:secret@h/d", "mysql://u:secret@h/d", "oracle://u:secret@h", "u secret://x:y"]
        {
            let message = refusal(url);
            assert!(!message.contains("secret") && message.contains("sqlite:FILE"), "{message}");
        }
        assert!(refusal("postgres://h/d").contains("no postgres backend in this build"));
        assert!(refusal("tasks.db").contains("sqlite:FILE"));
    }
}
