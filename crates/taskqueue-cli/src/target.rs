//! Which queue a command works on: the options that say so, and what is shown of them. A URL may hold a password, so
//! it is never shown: a server is named by the option or the variable that it came from, a SQLite file by its path.

use std::env::VarError;
use std::fmt;
use std::path::{Path, PathBuf};

use taskqueue_migrations::Engine;
use taskqueue_sql::TableName;

use crate::failure::{Failure, Outcome};

/// What `--database` names unless it says otherwise.
const DATABASE_DEFAULT: &str = "sqlite:taskqueue.db";
/// The variable that names the database where no option does. Other users of the host cannot see it, as they can see
/// an argument.
pub(crate) const DATABASE_VARIABLE: &str = "TASKQUEUE_DATABASE_URL";

/// What help puts above the options that every command has.
const HEADING: &str = "Which queue";

const FORMS: &str =
    "write sqlite:FILE, postgres://USER:PASSWORD@HOST/DATABASE or mysql://USER:PASSWORD@HOST/DATABASE";

/// The options that every command has.
#[derive(Clone, clap::Args)]
pub(crate) struct Target {
    /// The database, as a URL: sqlite:FILE, postgres://…, mysql://… or mariadb://…
    /// [env: TASKQUEUE_DATABASE_URL] [default: sqlite:taskqueue.db]
    // Not by clap: of an option that the environment sets it says in usage errors that it is to be given.
    #[arg(long = "database", global = true, help_heading = HEADING, value_name = "URL")]
    given: Option<String>,

    /// The task table; everything else is named after it [default: tasks]
    #[arg(long, global = true, help_heading = HEADING, value_name = "NAME")]
    table: Option<TableName>,

    /// PostgreSQL: the schema of the tables [default: the first of the session's search_path, often public]
    #[arg(long, global = true, help_heading = HEADING, value_name = "NAME")]
    schema: Option<String>,

    /// The database's URL, wherever it came from.
    #[arg(skip = DATABASE_DEFAULT.to_owned())]
    database: String,

    /// Where that was.
    #[arg(skip)]
    origin: Origin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Origin {
    Option,
    Variable,
    #[default]
    Default,
}

/// What a database URL leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A SQLite file.
    File(PathBuf),
    /// A server.
    Server(Engine),
}

impl Target {
    /// A SQLite file of our own making.
    pub(crate) fn of_file(path: &Path) -> Self {
        Self {
            given: None,
            database: format!("sqlite:{}", path.display()),
            table: None,
            schema: None,
            origin: Origin::Default,
        }
    }

    /// Takes the URL from the arguments, or else from this variable of the environment.
    ///
    /// # Errors
    /// What is wrong with the variable. It may hold a password, and is not shown.
    pub(crate) fn locate(&mut self, variable: Result<String, VarError>) -> Result<(), String> {
        let found = match (self.given.take(), variable) {
            (Some(url), _) => Some((url, Origin::Option)),
            (None, Ok(url)) => Some((url, Origin::Variable)),
            (None, Err(VarError::NotPresent)) => None,
            (None, Err(VarError::NotUnicode(_))) => {
                return Err(format!("the database URL in {DATABASE_VARIABLE} is not UTF-8"));
            }
        };
        if let Some((url, origin)) = found {
            (self.database, self.origin) = (url, origin);
        }
        Ok(())
    }

    /// The same, in this table unless the command line names one.
    pub(crate) fn in_table(mut self, table: TableName) -> Self {
        self.table.get_or_insert(table);
        self
    }

    /// Whether the command line itself names the database.
    pub(crate) fn is_given(&self) -> bool {
        self.origin == Origin::Option
    }

    /// The database URL. Not to be shown.
    pub(crate) fn url(&self) -> &str {
        &self.database
    }

    /// The task table, for this engine.
    pub(crate) fn table(&self, engine: Engine) -> Outcome<TableName> {
        let table = self.table.clone().unwrap_or_default();
        match &self.schema {
            None => Ok(table),
            Some(schema) if matches!(engine, Engine::Postgres | Engine::Cockroach) => {
                Ok(table.in_schema(schema)?)
            }
            Some(_) => Err(Failure::usage(format!(
                "--schema is for PostgreSQL; {engine} has no schemas in a database"
            ))),
        }
    }

    /// The options that lead another run of the program to the same queue, but for the database's.
    pub(crate) fn table_options(&self) -> Vec<String> {
        let table = self.table.iter().flat_map(|table| ["--table".to_owned(), table.to_string()]);
        let schema = self.schema.iter().flat_map(|schema| ["--schema".to_owned(), schema.clone()]);
        table.chain(schema).collect()
    }

    /// The engine that the URL names.
    pub(crate) fn engine(&self) -> Outcome<Engine> {
        Ok(match self.place()? {
            Place::File(_) => Engine::Sqlite,
            Place::Server(engine) => engine,
        })
    }

    /// What the URL says of the server: which of the two it is that speaks MySQL's protocol, it may leave open.
    fn server(&self, engine: Engine) -> String {
        match (engine, self.database.split(':').next()) {
            (Engine::Mysql, Some("mariadb")) => "MariaDB".to_owned(),
            (Engine::Mysql, _) => "MySQL or MariaDB".to_owned(),
            _ => engine.to_string(),
        }
    }

    /// Where the URL leads.
    pub(crate) fn place(&self) -> Outcome<Place> {
        let Some((scheme, rest)) = self.database.split_once(':') else {
            return Err(Failure::usage(format!("the database is not a URL; {FORMS}")));
        };
        match (scheme, scheme.parse()) {
            ("memory", _) => Err(in_memory()),
            (_, Ok(Engine::Sqlite)) => file(rest).map(Place::File),
            (_, Ok(engine)) if engine != Engine::Cockroach => Ok(Place::Server(engine)),
            _ => Err(Failure::usage(format!("unknown database scheme {:?}; {FORMS}", shown_scheme(scheme)))),
        }
    }
}

/// The database as it may be shown.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = match self.origin {
            Origin::Option => "--database",
            Origin::Variable => DATABASE_VARIABLE,
            Origin::Default => "the default",
        };
        match self.place() {
            Ok(Place::File(path)) => path.display().fmt(f),
            Ok(Place::Server(engine)) => write!(f, "the {} database of {origin}", self.server(engine)),
            Err(_) => write!(f, "the database of {origin}"),
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("database", &self.to_string()).field("table", &self.table).finish()
    }
}

fn file(rest: &str) -> Outcome<PathBuf> {
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
    Ok(PathBuf::from(path))
}

/// Every command is a process of its own, and so is every worker.
fn in_memory() -> Failure {
    Failure::usage(format!(
        "a queue in memory ends with the command that made it, so no other could see it; {FORMS}"
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
    use crate::failure::Code;

    fn target(database: &str) -> Target {
        Target {
            given: None,
            database: database.to_owned(),
            table: None,
            schema: None,
            origin: Origin::Variable,
        }
    }

    fn refusal(database: &str) -> String {
        let failure = target(database).place().expect_err("it is refused");
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
            assert_eq!(target(url).place().expect("a sqlite URL"), Place::File(file.into()));
            assert_eq!(target(url).to_string(), file);
        }
    }

    #[test]
    fn every_scheme_of_a_server_leads_to_its_engine() {
        for (scheme, engine) in [
            ("postgres", Engine::Postgres),
            ("postgresql", Engine::Postgres),
            ("mysql", Engine::Mysql),
            ("mariadb", Engine::Mysql),
        ] {
            assert_eq!(target(&format!("{scheme}://h/d")).place().expect("a URL"), Place::Server(engine));
        }
        // Its URLs are PostgreSQL's.
        assert_eq!(target("cockroach://h/d").place().expect_err("no scheme").code(), Code::Usage);
    }

    #[test]
    fn the_option_stands_above_the_variable_and_both_above_the_default() {
        let located = |given: Option<&str>, variable| {
            let mut target = target(DATABASE_DEFAULT);
            (target.given, target.origin) = (given.map(str::to_owned), Origin::Default);
            target.locate(variable).map(|()| (target.database, target.origin))
        };
        let variable = || Ok("sqlite:v.db".to_owned());
        assert_eq!(located(Some("sqlite:o.db"), variable()), Ok(("sqlite:o.db".into(), Origin::Option)));
        assert_eq!(located(None, variable()), Ok(("sqlite:v.db".into(), Origin::Variable)));
        assert_eq!(located(None, Err(VarError::NotPresent)), Ok((DATABASE_DEFAULT.into(), Origin::Default)));
        let broken =
            located(None, Err(VarError::NotUnicode("secret".into()))).expect_err("it cannot be read");
        assert!(broken.contains(DATABASE_VARIABLE) && !broken.contains("secret"), "{broken}");
    }

    #[test]
    fn a_schema_is_refused_where_there_are_none() {
        let target = Target { schema: Some("work".to_owned()), ..target("sqlite:x") };
        for engine in [Engine::Postgres, Engine::Cockroach] {
            assert_eq!(target.table(engine).expect("it has schemas").as_str(), "\"work\".tasks");
        }
        for engine in [Engine::Sqlite, Engine::Mysql] {
            assert_eq!(target.table(engine).expect_err("it has none").code(), Code::Usage);
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
    fn a_url_is_named_by_where_it_came_from_and_never_shown() {
        let server = target("postgres://ada:secret@host/db");
        assert_eq!(server.to_string(), "the PostgreSQL database of TASKQUEUE_DATABASE_URL");
        assert!(!format!("{server:?}").contains("secret"));
        let shown = |url: &str| target(url).to_string();
        assert_eq!(shown("mariadb://h/db"), "the MariaDB database of TASKQUEUE_DATABASE_URL");
        assert_eq!(shown("mysql://h/db"), "the MySQL or MariaDB database of TASKQUEUE_DATABASE_URL");
        for url in ["oracle://u:secret@h", "u secret://x:y", "secret"] {
            let message = refusal(url);
            assert!(!message.contains("secret") && message.contains("sqlite:FILE"), "{message}");
            assert!(!format!("{:?}", target(url)).contains("secret"));
        }
    }
}
