//! The backends of this build: where each one's suite is, and what server it needs. It runs nothing.

use anyhow::{Result, bail};

use crate::servers::Recipe;

/// Where a backend's suite is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Backend {
    /// Its name.
    pub(crate) name: &'static str,
    /// The crate whose test target holds the suite.
    pub(crate) package: &'static str,
    /// Which tests of the target are this backend's, by the start of their names.
    pub(crate) tests: &'static str,
    /// The server that it needs.
    pub(crate) server: Option<Recipe>,
}

/// The backends that need no server.
pub(crate) static EMBEDDED: [Backend; 2] = [
    Backend { name: "memory", package: "taskqueue-memory", tests: "", server: None },
    Backend { name: "sqlite", package: "taskqueue-sqlite", tests: "", server: None },
];

/// The backends that need one.
pub(crate) static SERVED: [Backend; 3] = [
    Backend {
        name: "postgres",
        package: "taskqueue-postgres",
        tests: "",
        server: Some(Recipe {
            name: "postgres",
            variable: "TASKQUEUE_POSTGRES_URL",
            images: &["postgres:15", "postgres:17"],
        }),
    },
    Backend {
        name: "mysql",
        package: "taskqueue-mysql",
        tests: "mysql::",
        server: Some(Recipe { name: "mysql", variable: "TASKQUEUE_MYSQL_URL", images: &["mysql:9.7"] }),
    },
    Backend {
        name: "mariadb",
        package: "taskqueue-mysql",
        tests: "mariadb::",
        server: Some(Recipe {
            name: "mariadb",
            variable: "TASKQUEUE_MARIADB_URL",
            images: &["mariadb:11.8"],
        }),
    },
];

/// The backends of these names; the embedded ones where none is named.
pub(crate) fn chosen(names: &[String]) -> Result<Vec<&'static Backend>> {
    if names.is_empty() {
        return Ok(EMBEDDED.iter().collect());
    }
    let all = || EMBEDDED.iter().chain(&SERVED);
    let find = |name: &String| match all().find(|backend| backend.name == name) {
        Some(backend) => Ok(backend),
        None => {
            let known: Vec<_> = all().map(|backend| backend.name).collect();
            bail!("backend {name} is not in this build; it has {}", known.join(", "))
        }
    };
    names.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_of_a_later_build_is_refused_by_name() {
        let error = chosen(&["cockroach".to_owned()]).expect_err("it is not in this build");
        assert_eq!(
            error.to_string(),
            "backend cockroach is not in this build; it has memory, sqlite, postgres, mysql, mariadb"
        );
    }

    #[test]
    fn without_names_the_backends_that_need_no_server_are_chosen() {
        let names: Vec<_> = chosen(&[]).unwrap().iter().map(|backend| backend.name).collect();
        assert_eq!(names, ["memory", "sqlite"]);
    }
}
