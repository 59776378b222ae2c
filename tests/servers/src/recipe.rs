//! How each server is started as a container: what it is told, and the URL at which it is then found.
//! Data; it starts nothing.

use crate::answer::Protocol;

/// Of the servers' only user. They are reached from this machine only, and go with the run.
pub(crate) const PASSWORD: &str = "taskqueue";

/// A kind of server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Recipe {
    pub(crate) backend: &'static str,
    /// The port that it listens on inside its container.
    pub(crate) port: u16,
    pub(crate) environment: &'static [(&'static str, &'static str)],
    /// Conformance asks what the statements do, not what survives a power cut: nothing is synced to the disk.
    pub(crate) command: &'static [&'static str],
    pub(crate) protocol: Protocol,
    pub(crate) user: &'static str,
    /// Whether the user has `PASSWORD`.
    has_password: bool,
    /// The database that is there from the start.
    database: &'static str,
}

/// Of a PostgreSQL that a pooler stands in front of.
pub(crate) const BEHIND: &str = "postgres";

static RECIPES: [Recipe; 16] = [
    Recipe {
        backend: "postgres",
        port: 5432,
        environment: &[("POSTGRES_PASSWORD", PASSWORD)],
        command: &[
            "postgres",
            "-cfsync=off",
            "-csynchronous_commit=off",
            "-cfull_page_writes=off",
            "-cmax_connections=300",
        ],
        protocol: Protocol::Postgres,
        user: "postgres",
        has_password: true,
        database: "postgres",
    },
    Recipe {
        backend: "pgbouncer",
        port: 6432,
        environment: &[("DATABASE_PASSWORD", PASSWORD)],
        command: &[],
        protocol: Protocol::Postgres,
        user: "postgres",
        has_password: true,
        database: "postgres",
    },
    Recipe {
        backend: "mysql",
        port: 3306,
        environment: &[("MYSQL_ROOT_PASSWORD", PASSWORD)],
        command: &[
            "mysqld",
            "--innodb-flush-log-at-trx-commit=0",
            "--sync-binlog=0",
            "--skip-log-bin",
            // So that a test can read the certificate of its authority.
            "--secure-file-priv=",
            "--max-connections=500",
        ],
        protocol: Protocol::Mysql,
        user: "root",
        has_password: true,
        database: "mysql",
    },
    Recipe {
        backend: "mariadb",
        port: 3306,
        environment: &[("MARIADB_ROOT_PASSWORD", PASSWORD)],
        command: &["mariadbd", "--innodb-flush-log-at-trx-commit=0", "--max-connections=500"],
        protocol: Protocol::Mysql,
        user: "root",
        has_password: true,
        database: "mysql",
    },
    // For what is timed: each commit is synced, as in production. The data folder is a volume of the image.
    Recipe {
        backend: "postgres-durable",
        port: 5432,
        environment: &[("POSTGRES_PASSWORD", PASSWORD)],
        command: &["postgres", "-cshared_buffers=1GB", "-cmax_wal_size=4GB", "-cmax_connections=300"],
        protocol: Protocol::Postgres,
        user: "postgres",
        has_password: true,
        database: "postgres",
    },
    Recipe {
        backend: "mysql-durable",
        port: 3306,
        environment: &[("MYSQL_ROOT_PASSWORD", PASSWORD)],
        command: &["mysqld", "--innodb-buffer-pool-size=1G", "--max-connections=500"],
        protocol: Protocol::Mysql,
        user: "root",
        has_password: true,
        database: "mysql",
    },
    Recipe {
        backend: "mariadb-durable",
        port: 3306,
        environment: &[("MARIADB_ROOT_PASSWORD", PASSWORD)],
        command: &["mariadbd", "--innodb-buffer-pool-size=1G", "--max-connections=500"],
        protocol: Protocol::Mysql,
        user: "root",
        has_password: true,
        database: "mysql",
    },
    // The clusters: what each of their nodes is told. `cluster.rs` says the rest.
    Recipe {
        backend: "postgres-replica",
        port: 5432,
        environment: &[("POSTGRES_PASSWORD", PASSWORD), ("PGPASSWORD", PASSWORD)],
        command: &["postgres", "-cfsync=off", "-cfull_page_writes=off", "-cmax_connections=300"],
        protocol: Protocol::Postgres,
        user: "postgres",
        has_password: true,
        database: "postgres",
    },
    Recipe {
        backend: "galera",
        port: 3306,
        environment: &[("MARIADB_ROOT_PASSWORD", PASSWORD)],
        command: &[
            "mariadbd",
            "--innodb-flush-log-at-trx-commit=0",
            "--max-connections=500",
            "--wsrep-on=ON",
            "--wsrep-provider=/usr/lib/galera/libgalera_smm.so",
            "--wsrep-cluster-name=taskqueue",
            "--wsrep-sst-method=rsync",
            // Its settings stay one text, as in all releases, by which a test cuts a node off.
            "--loose-plugin-wsrep-provider=OFF",
            "--binlog-format=ROW",
            "--innodb-autoinc-lock-mode=2",
        ],
        protocol: Protocol::Mysql,
        user: "root",
        has_password: true,
        database: "mysql",
    },
    Recipe {
        backend: "group-replication",
        port: 3306,
        environment: &[("MYSQL_ROOT_PASSWORD", PASSWORD)],
        command: &[
            "mysqld",
            // Written at each commit, though not synced: a member that is killed has all that its binary log says.
            "--innodb-flush-log-at-trx-commit=2",
            "--sync-binlog=0",
            "--secure-file-priv=",
            "--max-connections=500",
            "--gtid-mode=ON",
            "--enforce-gtid-consistency=ON",
            "--plugin-load-add=group_replication.so",
            "--loose-group-replication-group-name=7461736b-7175-4575-8500-000000000001",
            "--loose-group-replication-start-on-boot=OFF",
            "--loose-group-replication-recovery-get-public-key=ON",
            // A member that is not heard of is put out after the five seconds in which it is suspected.
            "--loose-group-replication-member-expel-timeout=0",
        ],
        protocol: Protocol::Mysql,
        user: "root",
        has_password: true,
        database: "mysql",
    },
    // Written after CockroachDB's documentation and not run when it was: the image needs a registry. The workflows
    // are the first to run it.
    Recipe {
        backend: "cockroach",
        port: 26257,
        environment: &[],
        command: &["start-single-node", "--insecure", "--store=type=mem,size=2GiB"],
        protocol: Protocol::Postgres,
        user: "root",
        has_password: false,
        database: "defaultdb",
    },
    // Written after Vitess's documentation and not run when it was, as above. MySQL's protocol is spoken on the third
    // port after PORT.
    Recipe {
        backend: "vitess",
        port: 33577,
        environment: &[
            ("PORT", "33574"),
            ("KEYSPACES", "taskqueue"),
            ("NUM_SHARDS", "1"),
            ("MYSQL_BIND_HOST", "0.0.0.0"),
            ("MYSQL_MAX_CONNECTIONS", "500"),
        ],
        command: &[],
        protocol: Protocol::Mysql,
        user: "root",
        has_password: false,
        database: "taskqueue",
    },
    // What handlers speak to. The gateway keeps everything in memory.
    Recipe {
        backend: "s3",
        port: 7480,
        environment: &[("ACCESS_KEY", "taskqueue"), ("SECRET_KEY", PASSWORD)],
        command: &[],
        protocol: Protocol::Http,
        user: "taskqueue",
        has_password: true,
        database: "",
    },
    Recipe {
        backend: "moto",
        port: 5000,
        environment: &[],
        command: &[],
        protocol: Protocol::Http,
        user: "taskqueue",
        has_password: true,
        database: "",
    },
    Recipe {
        backend: "nats",
        port: 4222,
        environment: &[],
        command: &[],
        protocol: Protocol::Nats,
        user: "",
        has_password: false,
        database: "",
    },
    Recipe {
        backend: "redis",
        port: 6379,
        environment: &[],
        command: &[],
        protocol: Protocol::Redis,
        user: "",
        has_password: false,
        database: "",
    },
];

impl Recipe {
    pub(crate) fn of_backend(backend: &str) -> Option<&'static Self> {
        RECIPES.iter().find(|recipe| recipe.backend == backend)
    }

    /// Where the server is that answers on this port of this machine.
    pub(crate) fn url(&self, port: u16) -> String {
        let scheme = match self.protocol {
            Protocol::Postgres => "postgres",
            Protocol::Mysql => "mysql",
            Protocol::Http => "http",
            Protocol::Nats => "nats",
            Protocol::Redis => "redis",
        };
        let user = match (self.user, self.has_password) {
            ("", _) => String::new(),
            (user, true) => format!("{user}:{PASSWORD}@"),
            (user, false) => format!("{user}@"),
        };
        format!("{scheme}://{user}127.0.0.1:{port}/{}", self.database)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recipe_is_found_by_the_name_of_its_backend() {
        for recipe in &RECIPES {
            assert_eq!(Recipe::of_backend(recipe.backend), Some(recipe));
        }
        assert_eq!(Recipe::of_backend("oracle"), None);
    }

    #[test]
    fn servers_are_reached_on_loopback_only() {
        for recipe in &RECIPES {
            let (url, user) = (recipe.url(4711), recipe.user);
            let begins = if user.is_empty() { "://127.0.0.1:4711/" } else { "@127.0.0.1:4711/" };
            assert!(url.contains(begins) && url.contains(user), "{url}");
        }
    }
}
