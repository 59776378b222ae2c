//! MySQL and MariaDB under the suite that every backend runs, on real servers: `TASKQUEUE_MYSQL_URL` and
//! `TASKQUEUE_MARIADB_URL` name them, and a test whose server is not named fails. Behind the feature `server-tests`,
//! so that a plain `cargo test` needs no server:
//!
//! ```text
//! TASKQUEUE_MYSQL_URL=mysql://root:test@127.0.0.1:3306 cargo nextest run -p taskqueue-mysql --features server-tests mysql::
//! ```

mod support;

mod mysql {
    taskqueue_conformance::suite!(crate::support::MYSQL);
}

mod mariadb {
    taskqueue_conformance::suite!(crate::support::MARIADB);
}
