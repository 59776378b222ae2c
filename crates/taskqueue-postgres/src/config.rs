//! The settings of a PostgreSQL queue. It owns their defaults and checks; it opens nothing.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgPool};
use taskqueue_core::clock::DURATION_MAX;
use taskqueue_core::{Error, Result, Shards};
use taskqueue_sql::cursor::Scanning;
use taskqueue_sql::{Completed, Options, TableName, WakeUpMode, known_parameters};

use crate::claim::Rank;

/// From when on the driver calls a statement slow.
const SLOW: Duration = Duration::from_secs(1);

/// Which server speaks PostgreSQL's protocol at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Engine {
    /// PostgreSQL from 14 on, and what behaves like it.
    Postgres,
    /// CockroachDB from 24.1.5 on, of 24.2 from 24.2.3 on. Its statements have been run on PostgreSQL only, never on CockroachDB. There is no
    /// LISTEN and NOTIFY: workers of other processes find tasks when they poll.
    Cockroach,
}

/// What stands between the queue and the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pooler {
    /// To be found out, by two connections at the start that are closed again.
    #[default]
    Detect,
    /// No pooler in between, or one in session mode, which leaves each session its server process.
    Direct,
    /// A pooler that hands server processes from session to session between transactions, as PgBouncer does in
    /// transaction mode. No statements are prepared and nothing is listened to.
    Transaction,
    /// The same of one that keeps track of prepared statements, as PgBouncer does from 1.21 on where
    /// `max_prepared_statements` is above zero. Statements are prepared, and nothing is listened to. It is never found out.
    TransactionPrepared,
}

impl Pooler {
    /// Whether sessions get one another's server processes: what one sets for itself would be set for others, what it
    /// listens to would reach them, and it does not hear when another server takes over.
    pub(crate) fn shares_servers(self) -> bool {
        matches!(self, Self::Transaction | Self::TransactionPrepared)
    }
}

/// The settings of a PostgreSQL queue.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PostgresConfig {
    /// What every SQL backend shares: table name, visibility timeout, retry policy, limits.
    pub options: Options,
    /// The most connections that the queue opens; unused when it is given a pool. Default 10. At least 2: workers
    /// claim and settle at the same time.
    pub connections_max: u32,
    /// How long a call waits for a connection, and an enqueue with a unique key for its turn, before it fails as `Unavailable`, at most
    /// [`DURATION_MAX`](taskqueue_core::clock::DURATION_MAX); a pool that
    /// the queue is given has its own, but not for finding out what the server is: for its answers as long
    /// again is waited, and 10 s at least. Default 30 s.
    pub acquire_timeout: Duration,
    /// How long the server may take to answer a statement before its connection is closed and the call fails as
    /// `Unavailable`, also when the queue is given a pool. It includes waiting for others' locks, where `lock_wait_timeout` does
    /// not end that sooner. Above zero. Default 60 s. A migration may take longer.
    pub statement_timeout: Duration,
    /// How long a statement waits for what others have locked before its transaction is rolled back and repeated, at least a
    /// millisecond; a settle and an enqueue with a unique key are not repeated, but fail as
    /// `Unavailable`: a worker settles what else it has, and tries again. Set on the queue's own connections to PostgreSQL
    /// (`lock_timeout`); on those of a pool that the queue is given, behind a pooler in transaction mode and without
    /// `prepared_statements` the role's own setting holds, and by default none. Default 5 s.
    pub lock_wait_timeout: Duration,
    /// How often a transaction is repeated after a deadlock or a serialization failure, or after `lock_wait_timeout`. Default 10.
    pub contention_retries_max: u32,
    /// Whether statements are prepared once for each connection. Default true; about a third slower without. Behind
    /// a pooler in transaction mode, which hands one connection's statements to another, they are not, unless
    /// [`pooler`](Self::pooler) says that it keeps track of them; nor where the driver has room for none
    /// (`statement_cache_capacity(0)`).
    pub prepared_statements: bool,
    /// The schema of the task table, `[a-z_][a-z0-9_]*`, at most 48 characters; migrating creates it. Default none:
    /// the session's `search_path` decides.
    pub schema: Option<String>,
    /// Over how many shards the tasks of a new table are spread, in `1..=1024`. Default none: one for a new table, and
    /// what it was made with for one that is there; a queue that is set to another number than its table has is refused.
    /// More than one spreads CockroachDB's claim index; on PostgreSQL it costs a statement a shard and gains nothing.
    /// The order of claims then holds within each shard. `docs/engines.md` says more.
    pub shards: Option<u16>,
    /// Which server it is. Default none: it is asked, and refused when it is too old.
    pub dialect: Option<Engine>,
    /// What stands between the queue and the server. Default: to be found out. Say
    /// [`Pooler::TransactionPrepared`] where a pooler in transaction mode keeps track of prepared statements. Where the queue is given
    /// a URL that leads to the server itself, and `enqueue_in` or `complete_in` a connection through such a pooler, say
    /// [`Pooler::Transaction`]: that connection is not looked at.
    pub pooler: Pooler,
    /// Whether queues of several processes rouse one another's workers. Default [`WakeUpMode::Auto`]: by LISTEN and
    /// NOTIFY. Enqueues and whatever else makes tasks ready are announced after their commit, many at once, at most every
    /// 10 ms. Where workers wait, the queue holds one connection more than its pool has, listens on it, and tests every
    /// half minute or so that it hears. Behind a pooler in transaction mode nothing is listened to.
    pub wake_up: WakeUpMode,
    /// What tests set.
    #[doc(hidden)]
    pub testing: Testing,
    pub(crate) source: Source,
}

/// What only tests set.
#[derive(Debug, Clone, Default)]
pub struct Testing {
    /// Whether CockroachDB's statements run on PostgreSQL: it knows no hint that names an index, and is asked in its own way
    /// whether a transaction is open. Default false.
    pub is_on_postgres: bool,
    /// What full scans of the claim index may cost before claims are helped by cursors; tests use cursors always.
    pub scanning: Scanning,
    /// Whether claims leave the rank of a task, and with it its place in the claim index. Default none: where completed tasks
    /// are deleted.
    pub leaves_rank: Option<bool>,
    /// An expression that stands for `now()` in every statement: a clock that tests move. Default none.
    pub now_sql: Option<&'static str>,
}

/// Those of URLs that the driver reads, by all of their names.
const PARAMETERS: [&str; 18] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

#[derive(Clone)]
pub(crate) enum Source {
    Url(Box<PgConnectOptions>),
    Pool(PgPool),
}

impl PostgresConfig {
    /// A queue in the database of a `postgres://` URL. The parameters of libpq's URLs work.
    ///
    /// `sslmode` is `disable`, `prefer` (the default: encrypted where the server can, whoever it is), `require`
    /// (encrypted, whoever it is), `verify-ca` (its certificate is signed by a trusted authority) or `verify-full`
    /// (and names the host). Trusted are the authorities that browsers trust, as of this build, whatever the host has
    /// installed, and those in the file that `sslrootcert` names: a private authority, also a cloud provider's own,
    /// must be named there.
    ///
    /// # Errors
    /// `InvalidInput` when the URL is not one, or has a parameter about TLS that is not known; its text, which may hold a
    /// password, is not repeated. Other parameters that are not known are named in a warning.
    pub fn url(url: &str) -> Result<Self> {
        let url = known_parameters(url, |name| PARAMETERS.contains(&name) || name.starts_with("options["))?;
        // The driver takes any scheme, so that a URL without one would lead to the local host.
        let is_postgres = url.starts_with("postgres://") || url.starts_with("postgresql://");
        let parsed = is_postgres.then(|| PgConnectOptions::from_str(&url).ok()).flatten();
        let options = parsed.ok_or_else(|| {
            Error::invalid_input(
                "connect",
                "the database URL is not valid; expected postgres://USER@HOST:PORT/DATABASE, with an sslmode, if any, of \
                 disable, allow, prefer, require, verify-ca or verify-full",
            )
        })?;
        Ok(Self::from(Source::Url(Box::new(with_quiet_log(options)))))
    }

    /// A queue that shares the service's pool. Its own hooks and settings stay as they are: futures of `begin` that
    /// the service drops can leave a transaction open in it, which an `after_release` hook that closes or rolls back
    /// such connections prevents. The queue's own calls leave none. Closing the queue leaves the pool open.
    pub fn pool(pool: PgPool) -> Self {
        Self::from(Source::Pool(pool))
    }

    fn from(source: Source) -> Self {
        Self {
            options: Options::default(),
            connections_max: 10,
            acquire_timeout: Duration::from_secs(30),
            statement_timeout: Duration::from_secs(60),
            lock_wait_timeout: Duration::from_secs(5),
            contention_retries_max: 10,
            prepared_statements: true,
            schema: None,
            shards: None,
            dialect: None,
            pooler: Pooler::default(),
            wake_up: WakeUpMode::default(),
            testing: Testing::default(),
            source,
        }
    }

    /// How the server is reached.
    pub(crate) fn connect_options(&self) -> Arc<PgConnectOptions> {
        match &self.source {
            Source::Url(url) => Arc::new(PgConnectOptions::clone(url)),
            Source::Pool(pool) => pool.connect_options(),
        }
    }

    /// The task table, in its schema.
    pub(crate) fn table(&self) -> Result<TableName> {
        match &self.schema {
            Some(schema) => self.options.table.in_schema(schema),
            None => Ok(self.options.table.clone()),
        }
    }

    /// What claims do with a task's rank.
    pub(crate) fn rank(&self) -> Rank {
        let deletes = self.options.completed == Completed::Delete;
        if self.testing.leaves_rank.unwrap_or(deletes) { Rank::Left } else { Rank::Taken }
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
        self.table()?;
        self.shards()?;
        if self.connections_max < 2 {
            let message = format!("connections_max {} is below 2", self.connections_max);
            return Err(Error::invalid_input("configure", message));
        }
        if self.acquire_timeout > DURATION_MAX {
            let message = format!("acquire_timeout {:?} is above {DURATION_MAX:?}", self.acquire_timeout);
            return Err(Error::invalid_input("configure", message));
        }
        if self.statement_timeout.is_zero() {
            return Err(Error::invalid_input("configure", "statement_timeout is zero"));
        }
        if self.lock_wait_timeout.as_millis() == 0 {
            let message = format!("lock_wait_timeout {:?} is below 1ms", self.lock_wait_timeout);
            return Err(Error::invalid_input("configure", message));
        }
        Ok(())
    }
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
fn with_quiet_log(options: PgConnectOptions) -> PgConnectOptions {
    let level = |name: &str| name.parse().expect("it is a level");
    options.log_statements(level("trace")).log_slow_statements(level("debug"), SLOW)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_named() {
        let config = || PostgresConfig::url("postgres://ada@host/q").expect("it is a URL");
        let too_few = PostgresConfig { connections_max: 1, ..config() };
        assert!(too_few.validate().expect_err("1").to_string().contains("connections_max"));
        let too_many = PostgresConfig { shards: Some(1_025), ..config() };
        assert!(too_many.validate().expect_err("1025").to_string().contains("shards"));
        let endless = PostgresConfig { acquire_timeout: Duration::MAX, ..config() };
        assert!(endless.validate().expect_err("for ever").to_string().contains("acquire_timeout"));
        let hasty = PostgresConfig { lock_wait_timeout: Duration::from_micros(9), ..config() };
        assert!(hasty.validate().expect_err("9 us").to_string().contains("lock_wait_timeout"));
        let impatient = PostgresConfig { statement_timeout: Duration::ZERO, ..config() };
        assert!(impatient.validate().expect_err("0").to_string().contains("statement_timeout"));
        config().validate().expect("the defaults are in range");
    }

    #[test]
    fn the_driver_tells_the_text_of_slow_statements_at_debug_and_of_others_at_trace() {
        let options = format!(
            "{:?}",
            PostgresConfig::url("postgres://ada@host/q").expect("it is a URL").connect_options()
        );
        let levels = "statements_level: Trace, slow_statements_level: Debug";
        assert!(options.contains(levels), "{options}");
    }
}
