//! What a webhook sender is configured with.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use taskqueue_core::{Clock, Error, Result, SystemClock};

use super::{AddressPolicy, SigningSecret};

/// How long one delivery may take unless configured otherwise.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// How deliveries are made. `Debug` hides the secrets.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WebhookConfig {
    /// How long one delivery may take, from resolving the name to the end of the answer. 30 s by default; not
    /// zero. A payload may ask for less, never for more.
    pub timeout: Duration,
    /// Which addresses may be connected to. Only public ones by default.
    pub addresses: AddressPolicy,
    /// The secret that signs deliveries which name none. None by default: they are then not signed.
    pub secret: Option<SigningSecret>,
    /// Secrets by the name that a payload's `secret_name` gives. None by default.
    pub named_secrets: BTreeMap<String, SigningSecret>,
    /// The most bytes that are read of an answer's body. 16 KiB by default. Beyond it the connection is closed,
    /// which costs the next delivery to the same host a new one; the answer's status counts all the same.
    pub response_bytes_max: usize,
    /// The longest wait that a `Retry-After` header is granted. One day by default.
    pub retry_after_max: Duration,
    /// The `User-Agent` header. `taskqueue/<version>` by default.
    pub user_agent: String,
    /// Where the time of signatures comes from, and that against which a `Retry-After` date is held. The host's
    /// clock by default.
    pub clock: Arc<dyn Clock>,
}

impl Default for WebhookConfig {
    fn default() -> Self {
        Self {
            timeout: TIMEOUT_DEFAULT,
            addresses: AddressPolicy::default(),
            secret: None,
            named_secrets: BTreeMap::new(),
            response_bytes_max: 16 * 1024,
            retry_after_max: Duration::from_secs(24 * 60 * 60),
            user_agent: concat!("taskqueue/", env!("CARGO_PKG_VERSION")).to_owned(),
            clock: Arc::new(SystemClock),
        }
    }
}

impl WebhookConfig {
    /// Sets how long one delivery may take.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets which addresses may be connected to.
    #[must_use]
    pub fn addresses(mut self, policy: AddressPolicy) -> Self {
        self.addresses = policy;
        self
    }

    /// Sets the secret that signs deliveries which name none.
    #[must_use]
    pub fn secret(mut self, secret: SigningSecret) -> Self {
        self.secret = Some(secret);
        self
    }

    /// Adds a secret that payloads can name.
    #[must_use]
    pub fn named_secret(mut self, name: impl Into<String>, secret: SigningSecret) -> Self {
        self.named_secrets.insert(name.into(), secret);
        self
    }

    /// Sets the clock.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Checks what was set.
    ///
    /// # Errors
    /// `InvalidInput` for a timeout of zero.
    pub fn validate(&self) -> Result<()> {
        if self.timeout.is_zero() {
            return Err(Error::invalid_input("webhook", "timeout is zero: no delivery could succeed"));
        }
        Ok(())
    }
}
