//! Which engine a server is, by what it says of itself, whether it is recent enough, and what its sessions and
//! transactions begin with. It opens nothing.

use std::fmt;
use std::time::Duration;

use taskqueue_core::{Error, ErrorKind, Result};
use taskqueue_sql::Access;

use crate::MysqlConfig;

/// What asks a server for what [`Server::new`] takes.
pub(crate) const QUESTION: &str = "SELECT VERSION(), @@version_comment";

/// What asks MySQL and MariaDB for the largest statement that they take, in bytes.
pub(crate) const PACKET_QUESTION: &str = "SELECT CAST(@@max_allowed_packet AS SIGNED)";
/// What a statement with one task has beside its payload, at most: metadata above all, as JSON.
const BESIDE_PAYLOAD_BYTES: usize = 128 * 1024;

/// The first releases with all that the statements use. MySQL: a parenthesized SELECT with a LIMIT inside and another
/// one behind it; MariaDB: SKIP LOCKED and JSON_TABLE; Vitess: SKIP LOCKED.
const MYSQL_MIN: Release = [8, 0, 22];
const MARIADB_MIN: Release = [10, 6, 0];
const VITESS_MIN: Release = [19, 0, 0];

/// More than this neither engine takes for a limit; MySQL counts milliseconds in 32 bits.
const LIMIT_MAX: Duration = Duration::from_secs(30 * 86_400);

/// Major, minor, patch.
type Release = [u32; 3];

/// An engine of the MySQL family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Engine {
    /// MySQL from 8.0.22, and what calls itself so: Percona Server, Aurora.
    Mysql,
    /// MariaDB from 10.6.
    Mariadb,
    /// Vitess from 19, also PlanetScale, with an unsharded keyspace: of a sharded one vtgate refuses JSON_TABLE. It has not
    /// been run: its statements and settings follow its documentation, and were tried on MySQL only.
    Vitess,
}

impl Engine {
    /// As `Backend` names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Mysql => "mysql",
            Self::Mariadb => "mariadb",
            Self::Vitess => "vitess",
        }
    }

    /// What each session begins with: READ COMMITTED (the statement, because the engines name the variable
    /// differently), short waits for locks, statements that commit by themselves, no value that does not fit, and an end to
    /// statements that nobody waits for any more. Vitess sees to the last two itself, takes no expression for a variable, and
    /// before release 21 ignores the waits.
    pub(crate) fn session(self, config: &MysqlConfig) -> Vec<String> {
        let lock_wait = config.lock_wait_timeout.as_secs();
        let mut session = vec![
            "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED".to_owned(),
            format!("SET SESSION innodb_lock_wait_timeout = {lock_wait}"),
        ];
        if let Some(limit) = self.limit(lasts_max(config)) {
            session.push(format!("SET SESSION autocommit = 1, {limit}"));
            session.push("SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_TRANS_TABLES')".to_owned());
        }
        session
    }

    /// The setting by which the server ends a statement that has taken so long; 0 is for ever. MySQL does so with queries that
    /// lock nothing, MariaDB with all statements. While MySQL computes a sum it does not notice that its client has gone.
    pub(crate) fn limit(self, lasts_max: Duration) -> Option<String> {
        match self {
            Self::Mysql => Some(format!("max_execution_time = {}", lasts_max.as_millis())),
            Self::Mariadb => Some(format!("max_statement_time = {:.3}", lasts_max.as_secs_f64())),
            Self::Vitess => None,
        }
    }

    /// What makes a connection that the service has used fit for the queue again, in one round trip: nothing is open, and
    /// statements commit by themselves, or a single enqueue would answer Ok and be lost. On Vitess, which takes one statement
    /// at a time, all that the queue does is a transaction that it commits, whatever the session's settings.
    pub(crate) fn reset(self) -> &'static str {
        match self {
            Self::Mysql | Self::Mariadb => "ROLLBACK; SET SESSION autocommit = 1",
            Self::Vitess => "ROLLBACK",
        }
    }

    /// What begins a transaction, in one round trip. Under the engines' default, REPEATABLE READ, polls would lock the
    /// gaps that enqueues insert into. The level is named for each transaction, because a pool of the caller's may have
    /// any; Vitess knows it for sessions only. A server that became read-only refuses READ WRITE at once, except to its
    /// administrators.
    pub(crate) fn begin(self, access: Access) -> &'static str {
        match (self, access) {
            (Self::Vitess, Access::Read | Access::Snapshot) => "START TRANSACTION READ ONLY",
            (Self::Vitess, Access::Single | Access::Write) => "START TRANSACTION",
            (_, Access::Read) => {
                "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; START TRANSACTION READ ONLY"
            }
            (_, Access::Snapshot) => {
                "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"
            }
            (_, Access::Single | Access::Write) => {
                "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; START TRANSACTION READ WRITE"
            }
        }
    }
}

/// A little less than the time after which a statement is given up, and more than one may wait for a lock.
fn lasts_max(config: &MysqlConfig) -> Duration {
    let lasts_max = config.statement_timeout - (config.statement_timeout - config.lock_wait_timeout) / 20;
    lasts_max.min(LIMIT_MAX)
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Mysql => "MySQL",
            Self::Mariadb => "MariaDB",
            Self::Vitess => "Vitess",
        })
    }
}

/// A server, as it describes itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) engine: Engine,
    pub(crate) version: String,
    release: Option<Release>,
    /// The largest statement that it takes, if it says so.
    pub(crate) packet_bytes_max: Option<usize>,
}

impl Server {
    /// A server that answers these to [`QUESTION`], or that the settings take for this engine. Vitess says its own
    /// version in the comment only (`Version: 19.0.4 (Git revision …`).
    pub(crate) fn new(version: &str, comment: &str, engine: Option<Engine>) -> Self {
        let engine = engine.unwrap_or_else(|| detect(version, comment));
        let own = comment.strip_prefix("Version: ").and_then(|comment| comment.split(' ').next());
        let (version, release) = match (engine, own) {
            (Engine::Vitess, Some(own)) => (own, release(own)),
            (Engine::Vitess, None) => (version, None),
            _ => (version, release(version)),
        };
        Self { engine, version: version.to_owned(), release, packet_bytes_max: None }
    }

    /// The largest payload, given what the settings allow: one that the server does not take is better refused than sent. It may
    /// close the connection while that is being sent, which looks like one that broke.
    pub(crate) fn payload_bytes_max(&self, allowed: usize) -> usize {
        let fits = |packet: usize| packet - BESIDE_PAYLOAD_BYTES.min(packet / 2);
        self.packet_bytes_max.map_or(allowed, |packet| fits(packet).min(allowed))
    }

    /// Refuses what is too old. A version that cannot be read passes: proxies make such.
    pub(crate) fn check(&self) -> Result<()> {
        let min = match self.engine {
            Engine::Mysql => MYSQL_MIN,
            Engine::Mariadb => MARIADB_MIN,
            Engine::Vitess => VITESS_MIN,
        };
        if self.release.is_none_or(|release| release >= min) {
            return Ok(());
        }
        let (Self { engine, version, .. }, [major, minor, patch]) = (self, min);
        let message =
            format!("the server is {engine} {version}; expected {engine} {major}.{minor}.{patch} or newer");
        Err(Error::new(ErrorKind::Backend, "connect", message))
    }
}

fn detect(version: &str, comment: &str) -> Engine {
    let says = |word| version.to_lowercase().contains(word) || comment.to_lowercase().contains(word);
    if says("mariadb") {
        Engine::Mariadb
    } else if says("vitess") || says("planetscale") || comment.contains("(Git revision ") {
        Engine::Vitess
    } else {
        Engine::Mysql
    }
}

/// The numbers that a version starts with; what is missing counts as recent. MariaDB puts `5.5.5-` before its own in
/// some places.
fn release(version: &str) -> Option<Release> {
    let mut numbers = version.trim_start_matches("5.5.5-").split(|c: char| !c.is_ascii_digit());
    let major = numbers.next()?.parse().ok()?;
    let mut rest = || numbers.next().and_then(|number| number.parse().ok()).unwrap_or(u32::MAX);
    Some([major, rest(), rest()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(version: &str, comment: &str) -> Server {
        Server::new(version, comment, None)
    }

    #[test]
    fn the_engine_is_told_by_what_the_server_says() {
        let vitess = "Version: 19.0.4 (Git revision 0b2a branch 'HEAD') built on Thu May 2";
        for (version, comment, engine) in [
            ("9.7.0", "MySQL Community Server - GPL", Engine::Mysql),
            ("8.0.36-28", "Percona Server (GPL), Release 28", Engine::Mysql),
            ("11.8.3-MariaDB-ubu2404", "mariadb.org binary distribution", Engine::Mariadb),
            ("10.6.18", "MariaDB Server", Engine::Mariadb),
            ("8.0.30-Vitess", vitess, Engine::Vitess),
            ("8.0.30", vitess, Engine::Vitess),
            ("8.0.34-PlanetScale", "PlanetScale", Engine::Vitess),
        ] {
            assert_eq!(server(version, comment).engine, engine, "{version}, {comment}");
        }
        assert_eq!(server("8.0.30-Vitess", vitess).version, "19.0.4");
    }

    #[test]
    fn the_settings_overrule_what_the_server_says() {
        let server = Server::new("8.0.30", "behind a proxy", Some(Engine::Vitess));
        assert_eq!(server.engine, Engine::Vitess);
        server.check().unwrap();
    }

    #[test]
    fn a_server_that_is_too_old_is_refused_by_name() {
        for (version, comment) in [
            ("5.7.44-log", "MySQL Community Server (GPL)"),
            ("8.0.21", "Source distribution"),
            ("10.5.29-MariaDB", ""),
            ("5.5.5-10.5.29-MariaDB-log", ""),
            ("8.0.30-Vitess", "Version: 18.0.2 (Git revision 1)"),
        ] {
            let refused = server(version, comment).check().expect_err(version);
            assert_eq!(refused.kind(), ErrorKind::Backend);
            assert!(!refused.is_transient());
            assert!(refused.to_string().contains("or newer"), "{refused}");
        }
    }

    #[test]
    fn a_server_that_is_recent_enough_passes() {
        for (version, comment) in [
            ("8.0.22", "MySQL Community Server - GPL"),
            ("8.0.mysql_aurora.3.05.2", ""),
            ("8.4.0", ""),
            ("9.7.0", "Debian"),
            ("10.6.0-MariaDB", ""),
            ("12.0.2-MariaDB", ""),
            ("8.0.30-Vitess", "Version: 19.0.0-SNAPSHOT (Git revision 1)"),
            ("8.0.30-Vitess", ""),
            ("8.0.34-PlanetScale", "PlanetScale"),
        ] {
            server(version, comment).check().expect(version);
        }
    }

    #[test]
    fn a_statement_ends_before_it_is_given_up_and_after_its_wait_for_a_lock() {
        let mut config = MysqlConfig::url("mysql://ada@host/q").unwrap();
        assert_eq!(lasts_max(&config), Duration::from_millis(57_250));
        (config.lock_wait_timeout, config.statement_timeout) =
            (Duration::from_secs(5), Duration::from_millis(5_100));
        assert_eq!(lasts_max(&config), Duration::from_millis(5_095));
        config.statement_timeout = Duration::from_secs(400 * 86_400);
        assert_eq!(Engine::Mysql.limit(lasts_max(&config)).unwrap(), "max_execution_time = 2592000000");
        assert_eq!(
            Engine::Mariadb.limit(Duration::from_millis(1_500)).unwrap(),
            "max_statement_time = 1.500"
        );
    }

    #[test]
    fn vitess_is_asked_for_nothing_that_it_refuses() {
        let config = MysqlConfig::url("mysql://ada@host/q").unwrap();
        let mut said = Engine::Vitess.session(&config).join("; ");
        for access in [Access::Read, Access::Snapshot, Access::Write] {
            said += Engine::Vitess.begin(access);
        }
        assert!(!Engine::Vitess.reset().contains(';'), "one statement at a time");
        assert!(!said.contains("sql_mode"), "no variable takes an expression: {said}");
        assert!(!said.contains("SET TRANSACTION"), "the isolation level is the session's: {said}");
        assert!(said.contains("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"), "{said}");
    }
}
