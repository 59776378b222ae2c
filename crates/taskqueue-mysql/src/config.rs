//! The settings of a MySQL or MariaDB queue. It owns their defaults and checks; it opens nothing.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use sqlx::mysql::MySqlConnectOptions;
use sqlx::{ConnectOptions as _, MySqlPool};
use taskqueue_core::clock::DURATION_MAX;
use taskqueue_core::{Error, Result, Shards};
use taskqueue_sql::cursor::Scanning;
use taskqueue_sql::{Options, known_parameters};

use crate::Engine;

/// The server's clock. Unlike `NOW` it does not depend on the session's time zone.
pub(crate) const NOW: &str = "UTC_TIMESTAMP(6)";

/// From when on the driver calls a statement slow.
const SLOW: Duration = Duration::from_secs(1);

/// The settings of a MySQL or MariaDB queue.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MysqlConfig {
    /// What every SQL backend shares: table name, visibility timeout, retry policy, limits. Payloads are no larger than the server's
    /// `max_allowed_packet` when the queue connects, less 128 KiB, whatever the limit.
    pub options: Options,
    /// The most connections that the queue opens; unused when it is given a pool. Default 10. At least 2: workers
    /// claim and settle at the same time.
    pub connections_max: u32,
    /// How long a call waits for a connection, and an enqueue with a unique key for its turn, before it fails as `Unavailable`, at most
    /// [`DURATION_MAX`](taskqueue_core::clock::DURATION_MAX); unused when the queue is given a pool. Default 30 s.
    pub acquire_timeout: Duration,
    /// How long a statement waits for a row lock before its transaction is rolled back and repeated, in whole seconds,
    /// at least 1; a settle and an enqueue with a unique key are not repeated, but fail as `Unavailable`. Unused when the queue is given a pool. Default 5 s (the server's own default is 50 s). Before Vitess 21
    /// vtgate silently ignores it, and the server's own setting holds.
    pub lock_wait_timeout: Duration,
    /// How long the server may take to answer a statement before its connection is given up and the call fails as
    /// `Unavailable`; longer than `lock_wait_timeout`. A minute more for what a migration may wait for. Default 60 s. On the queue's own
    /// pool the server ends a statement a little earlier, so that none runs on which was given up: MySQL a query that locks nothing
    /// (`max_execution_time`), MariaDB any (`max_statement_time`), those of the service on that pool too. Vitess has its own limit.
    pub statement_timeout: Duration,
    /// Over how many shards the tasks of a new table are spread, in `1..=1024`. Default none: one for a new table, and
    /// what it was made with for one that is there; a queue that is set to another number than its table has is refused.
    /// More than one costs a transaction a shard for what looks for tasks, and gains nothing on MySQL and MariaDB. The
    /// order of claims then holds within each shard. `docs/engines.md` says more.
    pub shards: Option<u16>,
    /// What the server is. Default none: what it says of itself tells. To be set for one behind a proxy that answers
    /// otherwise.
    pub engine: Option<Engine>,
    /// How often a transaction is repeated after a deadlock or a lock timeout (a settle after a deadlock only). Default 10.
    pub contention_retries_max: u32,
    /// What tests set.
    #[doc(hidden)]
    pub testing: Testing,
    pub(crate) source: Source,
}

/// What only tests set.
#[derive(Debug, Clone)]
pub struct Testing {
    /// What full scans of the claim index may cost before claims are helped by cursors; tests use cursors always.
    pub scanning: Scanning,
    /// The SQL expression for the current time, by default the server's clock: tests put one here that they move.
    pub now_sql: Cow<'static, str>,
}

impl Default for Testing {
    fn default() -> Self {
        Self { scanning: Scanning::default(), now_sql: Cow::Borrowed(NOW) }
    }
}

/// Those of URLs that the driver reads, by all of their names.
const PARAMETERS: [&str; 14] = [
    "sslmode",
    "ssl-mode",
    "sslca",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "charset",
    "collation",
    "statement-cache-capacity",
    "socket",
    "timezone",
    "time-zone",
];

#[derive(Clone)]
pub(crate) enum Source {
    Url(Box<MySqlConnectOptions>),
    Pool(MySqlPool),
}

impl MysqlConfig {
    /// A queue in the database of a `mysql://` or `mariadb://` URL. Parameters:
    ///
    /// - `ssl-mode`: `DISABLED`; `PREFERRED`, the default, encrypted if the server can; `REQUIRED`, always encrypted;
    ///   `VERIFY_CA`, and the server's certificate is checked; `VERIFY_IDENTITY`, and that it is for this host. MySQL's
    ///   own way to log in needs an encrypted connection.
    /// - `ssl-ca`: a file with the certificates of authorities to trust, beside the public ones.
    /// - `ssl-cert`, `ssl-key`: files with the client's certificate and its key.
    /// - `socket`: the path of a Unix socket to connect to.
    ///
    /// # Errors
    /// `InvalidInput` when the URL is not one, names no database, or has a parameter about TLS that is not known; its text,
    /// which may hold a password, is not repeated. Other parameters that are not known are named in a warning.
    pub fn url(url: &str) -> Result<Self> {
        let url = known_parameters(url, |name| PARAMETERS.contains(&name))?;
        let has_scheme = url.starts_with("mysql://") || url.starts_with("mariadb://");
        let options = MySqlConnectOptions::from_str(&url).ok().filter(|_| has_scheme).ok_or_else(|| {
            invalid_url(
                "the database URL is not valid; expected mysql://USER@HOST:PORT/DATABASE, with an ssl-mode, if any, of \
                 DISABLED, PREFERRED, REQUIRED, VERIFY_CA or VERIFY_IDENTITY",
            )
        })?;
        if options.get_database().is_none_or(str::is_empty) {
            return Err(invalid_url(
                "the database URL names no database; expected mysql://USER@HOST:PORT/DATABASE",
            ));
        }
        Ok(Self::from(Source::Url(Box::new(with_quiet_log(options)))))
    }

    /// A queue that shares the service's pool. The pool's sessions keep their settings; the queue's transactions ask
    /// for READ COMMITTED themselves. On Vitess they cannot: there the pool's sessions must be READ COMMITTED. Closing the
    /// queue leaves the pool open; calls under way run to their end.
    pub fn pool(pool: MySqlPool) -> Self {
        Self::from(Source::Pool(pool))
    }

    fn from(source: Source) -> Self {
        Self {
            options: Options::default(),
            connections_max: 10,
            acquire_timeout: Duration::from_secs(30),
            lock_wait_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(60),
            shards: None,
            engine: None,
            contention_retries_max: 10,
            testing: Testing::default(),
            source,
        }
    }

    /// How many shards were asked for.
    pub(crate) fn shards(&self) -> Result<Option<Shards>> {
        self.shards.map(Shards::new).transpose()
    }

    /// Checks the settings; connecting does so first.
    ///
    /// # Errors
    /// `InvalidInput`, naming the setting.
    pub fn validate(&self) -> Result<()> {
        self.options.validate()?;
        self.shards()?;
        if self.options.table.schema().is_some() {
            let message = "a table in a schema: these engines have none within a database; name the database in the URL";
            return Err(Error::invalid_input("configure", message));
        }
        if self.connections_max < 2 {
            let message = format!("connections_max {} is below 2", self.connections_max);
            return Err(Error::invalid_input("configure", message));
        }
        if self.acquire_timeout > DURATION_MAX {
            let message = format!("acquire_timeout {:?} is above {DURATION_MAX:?}", self.acquire_timeout);
            return Err(Error::invalid_input("configure", message));
        }
        if self.lock_wait_timeout < Duration::from_secs(1) {
            let message = format!("lock_wait_timeout {:?} is below 1s", self.lock_wait_timeout);
            return Err(Error::invalid_input("configure", message));
        }
        if self.statement_timeout <= self.lock_wait_timeout {
            let Self { statement_timeout, lock_wait_timeout, .. } = self;
            let message = format!(
                "statement_timeout {statement_timeout:?} is not above lock_wait_timeout {lock_wait_timeout:?}"
            );
            return Err(Error::invalid_input("configure", message));
        }
        Ok(())
    }
}

fn invalid_url(message: &'static str) -> Error {
    Error::invalid_input("connect", message)
}

/// The server, without the user and the password.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => {
                write!(f, "{}:{}/{}", url.get_host(), url.get_port(), url.get_database().unwrap_or(""))
            }
            Self::Pool(_) => f.write_str("the caller's pool"),
        }
    }
}

/// What the driver tells of statements, which is their whole text, never what is bound: of slow ones at debug, where its default is
/// warn, and a service would get pages of SQL whenever others hold locks; of all others at trace.
fn with_quiet_log(options: MySqlConnectOptions) -> MySqlConnectOptions {
    let level = |name: &str| name.parse().expect("it is a level");
    options.log_statements(level("trace")).log_slow_statements(level("debug"), SLOW)
}

#[cfg(test)]
mod tests {
    use taskqueue_core::ErrorKind;

    use super::*;

    #[test]
    fn a_url_that_names_no_database_here_is_refused_without_its_password() {
        for url in [
            "",
            "mysql://ada:secret@host",
            "postgres://ada:secret@host/q",
            "mysql://ada:secret@:x/q",
            "mysql://ada:secret@host/q?ssl-mode=PLEASE",
        ] {
            let error = MysqlConfig::url(url).expect_err(url);
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(!format!("{error:?}").contains("secret"), "{error:?}");
        }
    }

    #[test]
    fn debug_shows_the_server_and_hides_the_password() {
        let config = MysqlConfig::url("mariadb://ada:secret@db.example:3307/orders").unwrap();
        let shown = format!("{config:?}");
        assert!(shown.contains("db.example:3307/orders"), "{shown}");
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let config = || MysqlConfig::url("mysql://ada@host/q").unwrap();
        let mut in_schema = config();
        in_schema.options.table = in_schema.options.table.in_schema("sales").unwrap();
        assert!(in_schema.validate().expect_err("sales").to_string().contains("schema"));
        let too_few = MysqlConfig { connections_max: 1, ..config() };
        assert!(too_few.validate().expect_err("1").to_string().contains("connections_max"));
        let too_short = MysqlConfig { lock_wait_timeout: Duration::from_millis(10), ..config() };
        assert!(too_short.validate().expect_err("10ms").to_string().contains("lock_wait_timeout"));
        let endless = MysqlConfig { acquire_timeout: Duration::MAX, ..config() };
        assert!(endless.validate().expect_err("for ever").to_string().contains("acquire_timeout"));
        let none_at_all = MysqlConfig { shards: Some(0), ..config() };
        assert!(none_at_all.validate().expect_err("0").to_string().contains("shards"));
        let impatient = MysqlConfig { statement_timeout: Duration::from_secs(5), ..config() };
        assert!(impatient.validate().expect_err("5s").to_string().contains("statement_timeout"));
    }

    #[test]
    fn the_driver_tells_the_text_of_slow_statements_at_debug_and_of_others_at_trace() {
        let Source::Url(options) = MysqlConfig::url("mysql://ada@host/q").unwrap().source else {
            panic!("a URL")
        };
        let options = format!("{options:?}");
        let levels = "statements_level: Trace, slow_statements_level: Debug";
        assert!(options.contains(levels), "{options}");
    }
}
