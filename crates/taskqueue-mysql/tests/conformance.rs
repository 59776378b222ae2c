//! MySQL and MariaDB under the suite that every backend runs, on real servers: `TASKQUEUE_MYSQL_URL` and
//! `TASKQUEUE_MARIADB_URL` name them, and a test whose server is not named fails. Behind the feature `server-tests`,
//! so that a plain `cargo test` needs no server:
//!
//! ```text
//! TASKQUEUE_MYSQL_URL=mysql://root:test@127.0.0.1:3306 cargo nextest run -p taskqueue-mysql --features server-tests mysql::
//! ```
//!
//! `TASKQUEUE_GALERA_URL` and `TASKQUEUE_GROUP_REPLICATION_URL` name a node of a cluster each. Vitess is behind a feature of its own, `vitess-tests`, and `TASKQUEUE_VITESS_URL`. It has not been run.

mod support;

mod mysql {
    taskqueue_conformance::suite!(crate::support::MYSQL);
}

mod mariadb {
    taskqueue_conformance::suite!(crate::support::MARIADB);

    mod three_shards {
        use crate::support::{MARIADB, Server};

        taskqueue_conformance::suite!(Server { shards: 3, ..MARIADB });
    }
}

/// On one node, which the others follow.
mod galera {
    use crate::support::{MARIADB, Server};

    taskqueue_conformance::suite!(Server { variable: "TASKQUEUE_GALERA_URL", ..MARIADB });
}

/// On the primary.
mod group_replication {
    use crate::support::{MYSQL, Server};

    taskqueue_conformance::suite!(Server { variable: "TASKQUEUE_GROUP_REPLICATION_URL", ..MYSQL });
}

#[cfg(feature = "vitess-tests")]
mod vitess {
    use crate::support::Server;

    const VITESS: Server = Server {
        variable: "TASKQUEUE_VITESS_URL",
        engine: "vitess",
        docker: "docker run -p 127.0.0.1:33577:33577 -e PORT=33574 -e KEYSPACES=test -e NUM_SHARDS=1 \
                 -e MYSQL_BIND_HOST=0.0.0.0 vitess/vttestserver:mysql80",
        shards: 1,
    };

    taskqueue_conformance::suite!(VITESS);
}
