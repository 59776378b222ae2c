//! How each database server is started as a container: its image, what it is told, how it says that it is ready,
//! and the URL at which it is then found. Pure; it starts nothing.

use testcontainers::core::WaitFor;

const PASSWORD: &str = "taskqueue";

/// A server that tests ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    Postgres,
    Mysql,
    Mariadb,
}

impl Backend {
    const ALL: [Self; 3] = [Self::Postgres, Self::Mysql, Self::Mariadb];

    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|backend| backend.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
            Self::Mariadb => "mariadb",
        }
    }

    pub(crate) fn port(self) -> u16 {
        match self {
            Self::Postgres => 5432,
            Self::Mysql | Self::Mariadb => 3306,
        }
    }

    pub(crate) fn environment(self) -> &'static str {
        match self {
            Self::Postgres => "POSTGRES_PASSWORD",
            Self::Mysql => "MYSQL_ROOT_PASSWORD",
            Self::Mariadb => "MARIADB_ROOT_PASSWORD",
        }
    }

    pub(crate) fn password(self) -> &'static str {
        PASSWORD
    }

    /// Conformance asks what the statements do, not what survives a power cut: nothing is synced to the disk.
    pub(crate) fn arguments(self) -> Vec<&'static str> {
        match self {
            Self::Postgres => {
                let settings =
                    ["fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=300"];
                std::iter::once("postgres")
                    .chain(settings.into_iter().flat_map(|setting| ["-c", setting]))
                    .collect()
            }
            Self::Mysql => vec![
                "mysqld",
                "--innodb-flush-log-at-trx-commit=0",
                "--sync-binlog=0",
                "--skip-log-bin",
                "--max-connections=500",
            ],
            Self::Mariadb => {
                vec!["mariadbd", "--innodb-flush-log-at-trx-commit=0", "--max-connections=500"]
            }
        }
    }

    /// What the server prints once it answers over the network. The official images start twice: the set-up run of
    /// MySQL and MariaDB says `port: 0`, that of PostgreSQL says the same line, so the port's line is waited for.
    pub(crate) fn ready(self) -> WaitFor {
        match self {
            Self::Postgres => WaitFor::message_on_stderr("listening on IPv4 address \"0.0.0.0\", port 5432"),
            Self::Mysql | Self::Mariadb => WaitFor::message_on_stderr("port: 3306"),
        }
    }

    pub(crate) fn url(self, port: u16) -> String {
        match self {
            Self::Postgres => format!("postgres://postgres:{PASSWORD}@127.0.0.1:{port}/postgres"),
            Self::Mysql | Self::Mariadb => format!("mysql://root:{PASSWORD}@127.0.0.1:{port}/mysql"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_backend_is_found_by_its_name() {
        for backend in Backend::ALL {
            assert_eq!(Backend::of_name(backend.name()), Some(backend));
        }
        assert_eq!(Backend::of_name("oracle"), None);
    }

    #[test]
    fn servers_are_reached_on_loopback_only() {
        for backend in Backend::ALL {
            assert!(backend.url(4711).contains("@127.0.0.1:4711/"), "{}", backend.url(4711));
        }
    }
}
