//! The settings of the SQLite backend. It opens nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use taskqueue_core::{Clock, Error, Result, RetryPolicy, SystemClock};
use taskqueue_sql::{Completed, Options, TableName, WakeUpMode};

/// How long a write waits for other processes unless configured otherwise.
pub const BUSY_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// How many connections read unless configured otherwise.
pub const READERS_DEFAULT: u32 = 4;

/// From when on the driver calls a statement slow.
const SLOW: Duration = Duration::from_secs(1);
/// Rows that the driver's thread may read ahead: a batch of the usual size without a switch of threads.
const ROWS_AHEAD: usize = 512;
/// Negative: kibibytes. 16 MiB keep the upper levels of the indexes of ten million tasks.
const CACHE_SIZE: &str = "-16384";
/// SQLite counts it in milliseconds, in 32 bits.
const BUSY_TIMEOUT_MAX: Duration = Duration::from_millis(i32::MAX as u64);

/// When a commit is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// `synchronous = FULL`: each commit is on the disk before its call returns. The default. On macOS, where `fsync` leaves what it
    /// writes in the disk's own cache, `fullfsync` and `checkpoint_fullfsync` are on, which makes commits several times as slow
    /// there; other systems know neither.
    #[default]
    Full,
    /// `synchronous = NORMAL`: several times as many commits a second. A crash of the process loses nothing, but a
    /// power cut can lose the last commits: tasks that were enqueued are gone, tasks that were completed run again.
    Normal,
}

/// Where the database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    File(PathBuf),
    Memory,
}

/// The settings of a [`SqliteQueue`](crate::SqliteQueue).
///
/// ```
/// use std::time::Duration;
/// use taskqueue_sqlite::SqliteConfig;
///
/// let config = SqliteConfig::new("sqlite:orders.db")?.visibility_timeout(Duration::from_secs(60)).readers(2);
/// # Ok::<(), taskqueue_sqlite::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct SqliteConfig {
    pub(crate) place: Place,
    pub(crate) options: Options,
    pub(crate) durability: Durability,
    pub(crate) busy_timeout: Duration,
    pub(crate) readers: u32,
    pub(crate) wake_up: WakeUpMode,
    pub(crate) clock: Arc<dyn Clock>,
}

impl SqliteConfig {
    /// The defaults for a database: `sqlite:PATH`, a plain path, or `sqlite::memory:` for one that lives and dies
    /// with the queue. A path is taken literally.
    ///
    /// # Errors
    /// `InvalidInput` when it is empty, of another scheme, or has URL parameters, and for a path that begins with `file:`, which
    /// SQLite would not take literally.
    pub fn new(database: &str) -> Result<Self> {
        Ok(Self {
            place: place(database)?,
            options: Options::default(),
            durability: Durability::default(),
            busy_timeout: BUSY_TIMEOUT_DEFAULT,
            readers: READERS_DEFAULT,
            wake_up: WakeUpMode::default(),
            clock: Arc::new(SystemClock),
        })
    }

    /// The task table. Default `tasks`; everything else that the queue creates is named after it.
    pub fn table(mut self, table: TableName) -> Self {
        self.options.table = table;
        self
    }

    /// How long a lease lasts unless a claim says otherwise. At least a millisecond; default 5 minutes.
    pub fn visibility_timeout(mut self, timeout: Duration) -> Self {
        self.options.visibility_timeout = timeout;
        self
    }

    /// How long a failed task waits when its failure does not say. Default `2^attempt` seconds, at most 5 minutes.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.options.retry = policy;
        self
    }

    /// The largest payload, in bytes. Default 1 MiB.
    pub fn payload_bytes_max(mut self, bytes: usize) -> Self {
        self.options.payload_bytes_max = bytes;
        self
    }

    /// How often a task may be taken back from dead workers before it becomes a dead letter. Default 5.
    pub fn max_reclaims(mut self, reclaims: u32) -> Self {
        self.options.max_reclaims = reclaims;
        self
    }

    /// What becomes of a task's row when the task is completed. Default [`Completed::Keep`].
    pub fn completed(mut self, completed: Completed) -> Self {
        self.options.completed = completed;
        self
    }

    /// When a commit is safe. Default [`Durability::Full`].
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// How long a write waits for the writes of other processes before it counts as contention, which is retried
    /// twice and then an error that says that trying again can help. Default 10 seconds; zero fails at once; more than
    /// 24 days are taken as this.
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout.min(BUSY_TIMEOUT_MAX);
        self
    }

    /// How many connections read beside the one that writes, at least 1. Default 4.
    pub fn readers(mut self, connections: u32) -> Self {
        self.readers = connections;
        self
    }

    /// Whether the workers of a queue are roused when another process, or another connection of this one, changes the
    /// file. Default [`WakeUpMode::Auto`]: where workers wait, the queue watches the file, and finds a change within 2 ms
    /// while there are any, and within 25 ms after a tenth of a second of quiet, which then takes about a hundredth of a
    /// processor.
    pub fn wake_up(mut self, mode: WakeUpMode) -> Self {
        self.wake_up = mode;
        self
    }

    /// The clock of leases and schedules: the host's unless a test brings its own. Processes that share a file must
    /// share the clock.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// `InvalidInput`, naming the setting.
    pub fn validate(&self) -> Result<()> {
        self.options.validate()?;
        if self.readers == 0 {
            return Err(Error::invalid_input("configure", "readers is 0: nothing could be read"));
        }
        Ok(())
    }

    /// The database as an error names it.
    pub(crate) fn shown(&self) -> String {
        match &self.place {
            Place::File(path) => path.display().to_string(),
            Place::Memory => ":memory:".to_owned(),
        }
    }

    /// The driver's options for the connection that writes.
    pub(crate) fn writer(&self) -> SqliteConnectOptions {
        let options = SqliteConnectOptions::new()
            .busy_timeout(self.busy_timeout)
            .row_buffer_size(ROWS_AHEAD)
            .pragma("cache_size", CACHE_SIZE)
            .foreign_keys(false);
        let options = with_quiet_log(options);
        match &self.place {
            Place::Memory => options.filename(":memory:"),
            Place::File(path) => {
                let options =
                    options.filename(path).create_if_missing(true).journal_mode(SqliteJournalMode::Wal);
                match self.durability {
                    Durability::Full => options
                        .synchronous(SqliteSynchronous::Full)
                        .pragma("fullfsync", "on")
                        .pragma("checkpoint_fullfsync", "on"),
                    Durability::Normal => options.synchronous(SqliteSynchronous::Normal),
                }
            }
        }
    }

    /// The driver's options for connections that read.
    pub(crate) fn reader(&self) -> SqliteConnectOptions {
        self.writer().create_if_missing(false).pragma("query_only", "on")
    }
}

fn place(database: &str) -> Result<Place> {
    // The text itself is not shown: a URL of another scheme may hold a password.
    let invalid = |message: String| Error::invalid_input("connect", message);
    let is_url = database.starts_with("sqlite:");
    let rest = database.strip_prefix("sqlite:").unwrap_or(database);
    let path = if is_url { rest.strip_prefix("//").unwrap_or(rest) } else { rest };
    if path == ":memory:" {
        return Ok(Place::Memory);
    }
    if !is_url && let Some((scheme, _)) = database.split_once("://") {
        let scheme: String = scheme.chars().take(20).collect();
        return Err(invalid(format!(
            "a database of scheme {scheme:?} is not SQLite: give sqlite:PATH or a path"
        )));
    }
    let path = if is_url { path.strip_suffix("?mode=rwc").unwrap_or(path) } else { path };
    if is_url && path.contains('?') {
        let message = "of URL parameters only mode=rwc is supported, which says what is done anyway: use SqliteConfig's settings";
        return Err(invalid(message.to_owned()));
    }
    if path.starts_with("file:") {
        // The driver lets SQLite read it as a URI, which may name a database in memory, or one that is opened without locks.
        return Err(invalid(
            "URIs of SQLite are not supported: give sqlite:PATH or a path, which is ./file:… where a file is called so"
                .to_owned(),
        ));
    }
    if path.is_empty() || path.contains('\0') {
        return Err(invalid("the database has no file name: give sqlite:PATH or a path".to_owned()));
    }
    Ok(Place::File(Path::new(path).to_owned()))
}

/// What the driver tells of statements, which is their whole text, never what is bound: of slow ones at debug, where its default is
/// warn, and a service would get pages of SQL whenever others hold locks; of all others at trace.
fn with_quiet_log(options: SqliteConnectOptions) -> SqliteConnectOptions {
    let level = |name: &str| name.parse().expect("it is a level");
    options.log_statements(level("trace")).log_slow_statements(level("debug"), SLOW)
}

#[cfg(test)]
mod tests {
    use taskqueue_core::ErrorKind;

    use super::*;

    #[tokio::test]
    async fn a_full_commit_reaches_the_disk_where_fsync_leaves_it_in_the_disks_cache() {
        let folder = tempfile::tempdir().unwrap();
        for (durability, expected) in [(Durability::Full, 1), (Durability::Normal, 0)] {
            let file = folder.path().join(format!("{durability:?}.db"));
            let config = SqliteConfig::new(file.to_str().unwrap()).unwrap().durability(durability);
            let mut writer = config.writer().connect().await.unwrap();
            for pragma in ["PRAGMA fullfsync", "PRAGMA checkpoint_fullfsync"] {
                let set: i64 = sqlx::query_scalar(pragma).fetch_one(&mut writer).await.unwrap();
                assert_eq!(set, expected, "{pragma}, {durability:?}");
            }
        }
    }

    #[test]
    fn a_url_and_a_plain_path_name_the_same_file() {
        for database in ["sqlite:a/b.db", "sqlite://a/b.db", "sqlite://a/b.db?mode=rwc", "a/b.db"] {
            assert_eq!(place(database).unwrap(), Place::File("a/b.db".into()), "{database}");
        }
        assert_eq!(place("sqlite:///srv/q.db").unwrap(), Place::File("/srv/q.db".into()));
        assert_eq!(place("sqlite::memory:").unwrap(), Place::Memory);
    }

    #[test]
    fn what_names_no_file_is_refused_without_showing_its_password() {
        for database in ["", "sqlite:", "postgres://ada:secret@host/db", "sqlite:q.db?mode=ro"] {
            let error = place(database).expect_err(database);
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn what_sqlite_would_read_as_a_uri_is_refused_and_a_file_of_such_a_name_is_not() {
        for database in ["file::memory:", "sqlite:file::memory:", "sqlite://file:q.db", "file:q.db?nolock=1"]
        {
            let error = place(database).expect_err(database);
            assert!(error.to_string().contains("URIs"), "{error}");
        }
        assert_eq!(place("./file:q.db").unwrap(), Place::File("./file:q.db".into()));
    }

    #[test]
    fn a_busy_timeout_without_end_is_cut_to_what_sqlite_takes() {
        let config = SqliteConfig::new("q.db").unwrap().busy_timeout(Duration::MAX);
        assert!(i32::try_from(config.busy_timeout.as_millis()).is_ok());
    }

    #[test]
    fn a_config_without_readers_is_refused() {
        let config = SqliteConfig::new("q.db").unwrap().readers(0);
        assert_eq!(config.validate().expect_err("no readers").kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn the_driver_tells_the_text_of_slow_statements_at_debug_and_of_others_at_trace() {
        let options = format!("{:?}", SqliteConfig::new("q.db").unwrap().reader());
        let levels = "statements_level: Trace, slow_statements_level: Debug";
        assert!(options.contains(levels), "{options}");
    }
}
