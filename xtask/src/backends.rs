//! The backends, and the servers that handlers speak to: where the suite of each is, what server it needs, and how that
//! is found. Data; it runs nothing.

use anyhow::{Result, bail};

/// Where the suite of a backend, or of what handlers speak to, is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Backend {
    /// Its name.
    pub(crate) name: &'static str,
    /// The crate whose test target holds the suite.
    pub(crate) package: &'static str,
    /// The module of the target that holds this backend's tests, where it holds those of several.
    pub(crate) module: &'static str,
    /// The test target that is its suite.
    pub(crate) suite: &'static str,
    /// Further targets that need its server only: of its crate, of the handlers, of the program.
    pub(crate) also: &'static [&'static str],
    /// Further targets that start containers of their own beside its server: run where it is a container, too.
    pub(crate) faults: &'static [&'static str],
    /// Which cluster of the same image they may ask for.
    pub(crate) cluster: Option<&'static str>,
    /// The server that it needs.
    pub(crate) server: Option<Needs>,
}

/// A target that needs the servers of two backends at once.
#[derive(Debug)]
pub(crate) struct Pair {
    /// The crate whose test target it is.
    pub(crate) package: &'static str,
    /// The test target.
    pub(crate) target: &'static str,
    /// The names of the backends.
    pub(crate) backends: [&'static str; 2],
}

/// A server that a suite needs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Needs {
    /// The variable that holds the URL of a server to use.
    pub(crate) variable: &'static str,
    /// The variable in which the tests look for it.
    pub(crate) tests_read: &'static str,
    /// What else the tests are told.
    pub(crate) settings: &'static [(&'static str, &'static str)],
    /// The images that are tested, oldest first.
    pub(crate) images: &'static [&'static str],
    /// The image of the server behind, where this is a pooler.
    pub(crate) behind: Option<&'static str>,
    /// The server's program, for machines where it is installed.
    pub(crate) program: Option<&'static str>,
}

/// What a suite is told of the server behind a pooler: databases are made and dropped there.
pub(crate) const ADMIN_VARIABLE: &str = "TASKQUEUE_POSTGRES_ADMIN_URL";
/// What tells the suite of PostgreSQL that it runs through a pooler.
pub(crate) const UNPREPARED_VARIABLE: &str = "TASKQUEUE_POSTGRES_UNPREPARED";

const SERVER: Needs =
    Needs { variable: "", tests_read: "", settings: &[], images: &[], behind: None, program: None };

/// The module of a suite that repeats it on a table of several shards.
pub(crate) const VARIANT: &str = "three_shards";
/// The name of the integration test that wires a backend to the conformance suite.
pub(crate) const CONFORMANCE: &str = "conformance";

const BACKEND: Backend = Backend {
    name: "",
    package: "",
    module: "",
    suite: CONFORMANCE,
    also: &[],
    faults: &[],
    cluster: None,
    server: None,
};
/// What a cluster does whose nodes are killed, and written to at once: it starts them, which takes long.
const CLUSTER: &str = "cluster";
/// The crate of the handlers, whose tests need what they speak to.
pub(crate) const HANDLERS: &str = "taskqueue-handlers";
/// What the handlers' tests need, each target one server.
const PEER: Backend = Backend { package: HANDLERS, ..BACKEND };
/// The handlers' documents in a database, which has a module for each engine as a suite has.
const DOCUMENTS: &[&str] = &["documents_server"];
/// What a backend has on its server after it was killed.
const CRASH: &[&str] = &["crash"];

/// All of them, in the order of the table. The embedded ones are first, what handlers speak to is last.
pub(crate) static BACKENDS: [Backend; 14] = [
    Backend { name: "memory", package: "taskqueue-memory", module: "memory", server: None, ..BACKEND },
    Backend { name: "sqlite", package: "taskqueue-sqlite", module: "sqlite", server: None, ..BACKEND },
    Backend {
        name: "postgres",
        package: "taskqueue-postgres",
        module: "postgres",
        also: DOCUMENTS,
        faults: &["crash", CLUSTER],
        cluster: Some("postgres-replica"),
        server: Some(Needs {
            variable: "TASKQUEUE_POSTGRES_URL",
            tests_read: "TASKQUEUE_POSTGRES_URL",
            images: &["postgres:15", "postgres:17", "postgres:18"],
            program: Some("postgres"),
            ..SERVER
        }),
        ..BACKEND
    },
    Backend {
        name: "pgbouncer",
        package: "taskqueue-postgres",
        module: "postgres",
        also: &["documents_pooler"],
        server: Some(Needs {
            variable: "TASKQUEUE_PGBOUNCER_URL",
            tests_read: "TASKQUEUE_POSTGRES_URL",
            settings: &[(UNPREPARED_VARIABLE, "1")],
            images: &["pgbouncer:1"],
            behind: Some("postgres:17"),
            ..SERVER
        }),
        ..BACKEND
    },
    Backend {
        name: "mysql",
        package: "taskqueue-mysql",
        module: "mysql",
        also: DOCUMENTS,
        faults: CRASH,
        server: Some(Needs {
            variable: "TASKQUEUE_MYSQL_URL",
            tests_read: "TASKQUEUE_MYSQL_URL",
            images: &["mysql:9.7"],
            program: Some("mysqld"),
            ..SERVER
        }),
        ..BACKEND
    },
    Backend {
        name: "mariadb",
        package: "taskqueue-mysql",
        module: "mariadb",
        also: DOCUMENTS,
        faults: CRASH,
        server: Some(Needs {
            variable: "TASKQUEUE_MARIADB_URL",
            tests_read: "TASKQUEUE_MARIADB_URL",
            images: &["mariadb:11.8"],
            program: Some("mariadbd"),
            ..SERVER
        }),
        ..BACKEND
    },
    // The suite runs on one node, which the others follow.
    Backend {
        name: "galera",
        package: "taskqueue-mysql",
        module: "galera",
        faults: &[CLUSTER],
        cluster: Some("galera"),
        server: Some(Needs {
            variable: "TASKQUEUE_GALERA_URL",
            tests_read: "TASKQUEUE_GALERA_URL",
            images: &["mariadb:11.8"],
            ..SERVER
        }),
        ..BACKEND
    },
    Backend {
        name: "group-replication",
        package: "taskqueue-mysql",
        module: "group_replication",
        faults: &[CLUSTER],
        cluster: Some("group-replication"),
        server: Some(Needs {
            variable: "TASKQUEUE_GROUP_REPLICATION_URL",
            tests_read: "TASKQUEUE_GROUP_REPLICATION_URL",
            images: &["mysql:9.7"],
            ..SERVER
        }),
        ..BACKEND
    },
    Backend {
        name: "cockroach",
        package: "taskqueue-postgres",
        module: "cockroach",
        server: Some(Needs {
            variable: "TASKQUEUE_COCKROACH_URL",
            tests_read: "TASKQUEUE_COCKROACH_URL",
            images: &["cockroachdb/cockroach:latest-v24.3"],
            ..SERVER
        }),
        ..BACKEND
    },
    Backend {
        name: "vitess",
        package: "taskqueue-mysql",
        module: "vitess",
        server: Some(Needs {
            variable: "TASKQUEUE_VITESS_URL",
            tests_read: "TASKQUEUE_VITESS_URL",
            images: &["vitess/vttestserver:mysql80"],
            ..SERVER
        }),
        ..BACKEND
    },
    Backend {
        name: "s3",
        suite: "s3",
        also: &["event_oracle", "audit_s3", "two_buckets"],
        faults: &["s3_faults"],
        server: Some(Needs {
            variable: "TASKQUEUE_S3_URL",
            tests_read: "TASKQUEUE_S3_URL",
            images: &["ceph-rgw:20"],
            ..SERVER
        }),
        ..PEER
    },
    Backend {
        name: "moto",
        suite: "moto",
        server: Some(Needs {
            variable: "TASKQUEUE_MOTO_URL",
            tests_read: "TASKQUEUE_MOTO_URL",
            images: &["moto:5"],
            ..SERVER
        }),
        ..PEER
    },
    Backend {
        name: "nats",
        suite: "nats",
        also: &["event_nats"],
        server: Some(Needs {
            variable: "TASKQUEUE_NATS_URL",
            tests_read: "TASKQUEUE_NATS_URL",
            images: &["nats:2"],
            ..SERVER
        }),
        ..PEER
    },
    Backend {
        name: "redis",
        suite: "redis",
        also: &["event_redis"],
        server: Some(Needs {
            variable: "TASKQUEUE_REDIS_URL",
            tests_read: "TASKQUEUE_REDIS_URL",
            images: &["valkey:9"],
            ..SERVER
        }),
        ..PEER
    },
];

/// What needs two servers at once.
pub(crate) static PAIRS: [Pair; 1] =
    [Pair { package: "taskqueue-cli", target: "two_buckets_on_postgres", backends: ["s3", "postgres"] }];

impl Backend {
    /// Whether it is a queue's, and runs the conformance suite.
    pub(crate) fn conforms(&self) -> bool {
        self.suite == CONFORMANCE
    }

    /// Whether its server is in images of this name, whatever the tag.
    pub(crate) fn runs_on(&self, image: &str) -> bool {
        let images = self.server.as_ref().map_or(&[][..], |needs| needs.images);
        images.iter().any(|known| repository(known) == repository(image))
    }

    /// Whether the suite is also run on tables of several shards on this server: one version is enough, and a server
    /// that somebody has named.
    pub(crate) fn runs_variant(&self, server: &str) -> bool {
        let Some(needs) = &self.server else { return true };
        let is_older = needs.images.iter().rev().skip(1).any(|image| *image == server);
        needs.behind.is_none() && !is_older
    }

    /// The targets that start containers of their own beside this server. Clusters are started of one version.
    pub(crate) fn faults_on(&self, server: &str) -> impl Iterator<Item = &'static str> {
        let has_clusters = self.runs_variant(server);
        self.faults.iter().copied().filter(move |target| has_clusters || *target != CLUSTER)
    }
}

/// The backends that need no server.
pub(crate) fn embedded() -> Vec<&'static Backend> {
    BACKENDS.iter().filter(|backend| backend.server.is_none()).collect()
}

/// The backends of these names; where none is named, those of these images; where there are none either, all that run
/// the conformance suite. An image of a backend that others are named without would not be run on: it is refused.
pub(crate) fn chosen(names: &[String], images: &[String]) -> Result<Vec<&'static Backend>> {
    let found: Vec<_> = images.iter().map(|image| of_image(image)).collect::<Result<_>>()?;
    if !names.is_empty() {
        let chosen: Vec<_> = names.iter().map(|name| named(name)).collect::<Result<_>>()?;
        let is_used = |image: &String| chosen.iter().any(|backend| backend.runs_on(image));
        if let Some((image, of)) = images.iter().zip(&found).find(|(image, _)| !is_used(image)) {
            bail!("image {image} is of {}, and only {} was asked for", of.name, names.join(", "))
        }
        return Ok(in_order(&chosen));
    }
    let all = || BACKENDS.iter().filter(|backend| backend.conforms()).collect();
    Ok(if found.is_empty() { all() } else { in_order(&found) })
}

/// The backend of this name.
pub(crate) fn named(name: &str) -> Result<&'static Backend> {
    let Some(found) = BACKENDS.iter().find(|backend| backend.name == name) else {
        let known: Vec<_> = BACKENDS.iter().map(|backend| backend.name).collect();
        bail!("there is no backend {name}; there are {}", known.join(", "))
    };
    Ok(found)
}

/// The backend whose server this image holds, by the name before the tag; of several, the one with a single server.
pub(crate) fn of_image(image: &str) -> Result<&'static Backend> {
    let Some(found) = BACKENDS.iter().find(|backend| backend.runs_on(image)) else {
        let images = BACKENDS.iter().filter_map(|backend| backend.server.as_ref()?.images.first());
        let known: Vec<_> = images.map(|image| repository(image)).collect();
        bail!("image {image} is of no backend; there are {}", known.join(", "))
    };
    Ok(found)
}

fn repository(image: &str) -> &str {
    image.split_once(':').map_or(image, |(repository, _)| repository)
}

/// Each once.
fn in_order(found: &[&'static Backend]) -> Vec<&'static Backend> {
    BACKENDS.iter().filter(|backend| found.contains(backend)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str], images: &[&str]) -> Vec<&'static str> {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let found = chosen(&owned(names), &owned(images)).expect("they exist");
        found.into_iter().map(|backend| backend.name).collect()
    }

    #[test]
    fn a_backend_that_does_not_exist_is_refused_by_name() {
        let error = chosen(&["oracle".to_owned()], &[]).expect_err("there is none");
        assert!(
            error.to_string().starts_with("there is no backend oracle; there are memory, sqlite, postgres")
        );
    }

    #[test]
    fn without_names_and_images_every_backend_is_chosen() {
        assert_eq!(names(&[], &[]).len(), 10);
        assert!(!names(&[], &[]).contains(&"s3"), "what handlers speak to has no conformance suite");
        assert_eq!(embedded().iter().map(|backend| backend.name).collect::<Vec<_>>(), ["memory", "sqlite"]);
    }

    #[test]
    fn the_suite_is_run_on_several_shards_once_a_backend() {
        let runs = |name: &str, server: &str| named(name).expect("it exists").runs_variant(server);
        assert!(runs("postgres", "postgres:18") && runs("mariadb", "mariadb:11.8"));
        assert!(!runs("postgres", "postgres:15") && !runs("postgres", "postgres:17"));
        assert!(!runs("pgbouncer", "pgbouncer:1"));
    }

    #[test]
    fn a_server_is_killed_in_each_version_and_a_cluster_in_one() {
        let on = |name: &str, server: &str| -> Vec<_> {
            named(name).expect("it exists").faults_on(server).collect()
        };
        assert_eq!(on("postgres", "postgres:15"), ["crash"]);
        assert_eq!(on("postgres", "postgres:18"), ["crash", "cluster"]);
        assert_eq!(on("mariadb", "mariadb:11.8"), ["crash"]);
    }

    #[test]
    fn an_image_of_a_backend_that_is_not_chosen_is_refused() {
        let error = chosen(&["mysql".to_owned()], &["mysql:8.0".to_owned(), "postgres:16".to_owned()]);
        let said = error.expect_err("nothing would run on it").to_string();
        assert_eq!(said, "image postgres:16 is of postgres, and only mysql was asked for");
    }

    #[test]
    fn an_image_tells_its_backend_by_the_name_before_the_tag() {
        assert_eq!(
            names(&[], &["postgres:16", "postgres:14", "vitess/vttestserver:x"]),
            ["postgres", "vitess"]
        );
        assert_eq!(names(&["sqlite", "postgres"], &["postgres:16"]), ["sqlite", "postgres"]);
        assert_eq!(names(&[], &["mariadb:10.11"]), ["mariadb"]);
        assert_eq!(names(&["galera"], &["mariadb:10.11"]), ["galera"]);
        let error = of_image("oracle:23").expect_err("there is none");
        assert!(error.to_string().starts_with("image oracle:23 is of no backend; there are postgres, "));
    }
}
