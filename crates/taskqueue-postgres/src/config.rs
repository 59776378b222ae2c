//! The settings of a PostgreSQL queue. It owns their defaults and checks; it opens nothing.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use taskqueue_core::{Error, Result};
use taskqueue_sql::Options;

/// The settings of a PostgreSQL queue.
#[derive(Clone)]
#[non_exhaustive]
pub struct PostgresConfig {
    /// What every SQL backend shares: table name, visibility timeout, retry policy, limits.
    pub options: Options,
    /// The most connections that the queue opens; unused when it is given a pool. Default 10. At least 2: workers
    /// claim and settle at the same time.
    pub connections_max: u32,
    /// How long a call waits for a connection before it fails as `Unavailable`; unused when the queue is given a
    /// pool. Default 30 s.
    pub acquire_timeout: Duration,
    /// How often a transaction is repeated after a deadlock, a serialization failure or a lock timeout. Default 10.
    pub contention_retries_max: u32,
    /// Whether statements are prepared once for each connection. Turn it off behind a pooler in transaction mode
    /// (PgBouncer), which hands one connection's statements to another. Default true; about a third slower without.
    pub prepared_statements: bool,
    pub(crate) source: Source,
}

#[derive(Clone)]
pub(crate) enum Source {
    Url(Box<PgConnectOptions>),
    Pool(PgPool),
}

impl PostgresConfig {
    /// A queue in the database of a `postgres://` URL. `sslmode` and the other parameters of libpq's URLs work.
    ///
    /// # Errors
    /// `InvalidInput` when the URL is not one; its text, which may hold a password, is not repeated.
    pub fn url(url: &str) -> Result<Self> {
        let options = PgConnectOptions::from_str(url).map_err(|_| {
            Error::invalid_input(
                "connect",
                "the database URL is not valid; expected postgres://USER@HOST:PORT/DATABASE",
            )
        })?;
        Ok(Self::from(Source::Url(Box::new(options))))
    }

    /// A queue that shares the service's pool.
    pub fn pool(pool: PgPool) -> Self {
        Self::from(Source::Pool(pool))
    }

    fn from(source: Source) -> Self {
        Self {
            options: Options::default(),
            connections_max: 10,
            acquire_timeout: Duration::from_secs(30),
            contention_retries_max: 10,
            prepared_statements: true,
            source,
        }
    }

    /// Checks the settings; connecting does so first.
    ///
    /// # Errors
    /// `InvalidInput`, naming the setting.
    pub fn validate(&self) -> Result<()> {
        self.options.validate()?;
        if self.connections_max < 2 {
            let message = format!("connections_max {} is below 2", self.connections_max);
            return Err(Error::invalid_input("configure", message));
        }
        Ok(())
    }
}

impl fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match &self.source {
            Source::Url(url) => {
                format!("{}:{}/{}", url.get_host(), url.get_port(), url.get_database().unwrap_or(""))
            }
            Source::Pool(_) => "the caller's pool".to_owned(),
        };
        f.debug_struct("PostgresConfig")
            .field("source", &source)
            .field("options", &self.options)
            .field("connections_max", &self.connections_max)
            .field("acquire_timeout", &self.acquire_timeout)
            .field("contention_retries_max", &self.contention_retries_max)
            .field("prepared_statements", &self.prepared_statements)
            .finish()
    }
}
