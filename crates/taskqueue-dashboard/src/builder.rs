//! What a dashboard is told before it serves: its settings, their defaults, and which of them contradict each other. It
//! serves nothing.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use taskqueue_core::{Error, Queue, Result};

use crate::access::{Access, Actions, Hosts, Secret};
use crate::asked::Asked;
use crate::payloads::Payloads;
use crate::served::{Metrics, Served};
use crate::{Dashboard, statistics, workers};

/// How long the database may take for one answer unless configured otherwise.
pub const QUERY_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// How many tasks a page of a list has unless configured otherwise.
pub const PAGE_SIZE_DEFAULT: usize = 50;
/// The most tasks that a page of a list may have: each brings its payload from the database.
pub const PAGE_SIZE_MAX: usize = 200;
/// The shortest password, in bytes. There is no limit to how often one may be tried.
pub const PASSWORD_BYTES_MIN: usize = 8;

/// The settings of a [`Dashboard`]. As it is made, it is read-only, without a password, and shows payloads.
#[must_use]
pub struct DashboardBuilder {
    queue: Arc<dyn Queue>,
    actions: Actions,
    hosts: Hosts,
    password: Option<String>,
    bearer_token: Option<String>,
    payloads: Payloads,
    query_timeout: Duration,
    page_size: usize,
    metrics: Option<Metrics>,
}

impl DashboardBuilder {
    pub(crate) fn over(queue: Arc<dyn Queue>) -> Self {
        Self {
            queue,
            actions: Actions::default(),
            hosts: Hosts::default(),
            password: None,
            bearer_token: None,
            payloads: Payloads::default(),
            query_timeout: QUERY_TIMEOUT_DEFAULT,
            page_size: PAGE_SIZE_DEFAULT,
            metrics: None,
        }
    }

    /// Whether tasks may be cancelled, run now and redriven, and types paused and resumed. [`Actions::Refused`] unless set.
    pub fn actions(mut self, actions: Actions) -> Self {
        self.actions = actions;
        self
    }

    /// Asks for this password before anything is shown, by HTTP Basic and for any user. Send it over TLS, or stay on this
    /// host: it is in every request. At least [`PASSWORD_BYTES_MIN`] bytes.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Lets programs in that send this token as `Authorization: Bearer`. They may act without the headers by which a
    /// browser vouches for a page. Without a password it shuts browsers out: they cannot send it. At least
    /// [`PASSWORD_BYTES_MIN`] bytes.
    pub fn bearer_token(mut self, token: impl Into<String>) -> Self {
        self.bearer_token = Some(token.into());
        self
    }

    /// By which names it may be called. [`Hosts::Any`] unless set.
    pub fn hosts(mut self, hosts: Hosts) -> Self {
        self.hosts = hosts;
        self
    }

    /// What is shown of payloads. [`Payloads::Shown`] unless set.
    pub fn payloads(mut self, payloads: Payloads) -> Self {
        self.payloads = payloads;
        self
    }

    /// How long the database may take for one answer; not zero. [`QUERY_TIMEOUT_DEFAULT`] unless set.
    pub fn query_timeout(mut self, limit: Duration) -> Self {
        self.query_timeout = limit;
        self
    }

    /// How many tasks a page of a list has, in `1..=PAGE_SIZE_MAX`. [`PAGE_SIZE_DEFAULT`] unless set.
    pub fn page_size(mut self, tasks: usize) -> Self {
        self.page_size = tasks;
        self
    }

    /// Serves what this gives at `/metrics`: the page of the recorder that the service has installed.
    pub fn metrics(mut self, render: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.metrics = Some(Arc::new(render));
        self
    }

    /// The dashboard.
    ///
    /// # Errors
    /// `InvalidInput`, which names the setting: a password or token that is too short or cannot stand in a header, a time
    /// limit of zero, a page size out of range, fields to redact without a name or none at all.
    pub fn build(self) -> Result<Dashboard> {
        self.validate()?;
        let access = Access {
            password: self.password.as_deref().map(Secret::new),
            bearer_token: self.bearer_token.as_deref().map(Secret::new),
            hosts: self.hosts,
            actions: self.actions,
        };
        let served = Served {
            asked: Asked::new(self.queue, self.query_timeout),
            statistics: statistics::Statistics::default(),
            workers: workers::Read::default(),
            access,
            payloads: self.payloads,
            page_size: self.page_size,
            metrics: self.metrics,
        };
        Ok(Dashboard { served: Arc::new(served) })
    }

    fn validate(&self) -> Result<()> {
        check_secret("password", self.password.as_deref())?;
        check_secret("bearer_token", self.bearer_token.as_deref())?;
        if self.query_timeout.is_zero() {
            return Err(invalid("query_timeout is zero: no query could be answered".to_owned()));
        }
        if !(1..=PAGE_SIZE_MAX).contains(&self.page_size) {
            return Err(invalid(format!("page_size {} is not in 1..={PAGE_SIZE_MAX}", self.page_size)));
        }
        match &self.payloads {
            Payloads::Redacted(names) if names.is_empty() || names.iter().any(String::is_empty) => {
                Err(invalid("payloads: name the fields to redact, or choose Shown or Hidden".to_owned()))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for DashboardBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DashboardBuilder")
            .field("actions", &self.actions)
            .field("hosts", &self.hosts)
            .field("password", &self.password.as_ref().map(|_| "…"))
            .field("bearer_token", &self.bearer_token.as_ref().map(|_| "…"))
            .field("payloads", &self.payloads)
            .field("query_timeout", &self.query_timeout)
            .field("page_size", &self.page_size)
            .finish_non_exhaustive()
    }
}

fn check_secret(name: &str, secret: Option<&str>) -> Result<()> {
    match secret {
        Some(secret) if secret.len() < PASSWORD_BYTES_MIN => {
            Err(invalid(format!("{name} is shorter than {PASSWORD_BYTES_MIN} bytes")))
        }
        Some(secret) if secret.chars().any(char::is_control) || secret.trim() != secret => {
            Err(invalid(format!("{name} has control characters, or blanks around it")))
        }
        _ => Ok(()),
    }
}

fn invalid(text: String) -> Error {
    Error::invalid_input("dashboard", text)
}
