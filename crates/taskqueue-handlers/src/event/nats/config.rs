//! How the NATS sink is set, and what its URLs say. It opens no connection.

use std::fmt;
use std::time::Duration;

use async_nats::ServerAddr;
use taskqueue_core::{Error, Result};

use crate::percent::of_credentials;

/// How notifications are published to NATS. `Debug` hides user names, passwords and tokens.
#[derive(Clone)]
#[non_exhaustive]
pub struct NatsConfig {
    /// The servers, with a comma between them: `nats://host:4222`, `tls://user:password@host`, `nats://token@host`. The
    /// credentials of one are those of all; different ones are refused.
    pub servers: String,
    /// The subject that all are published to, without wildcards.
    pub subject: String,
    /// How. JetStream by default.
    pub mode: NatsMode,
    /// How long one delivery may take, reconnecting included. 5 s by default; not zero.
    pub timeout: Duration,
}

/// What a delivery waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NatsMode {
    /// Until the stream that takes the subject has acknowledged it: it is stored, on as many replicas as the stream has.
    /// The task's id goes along as `Nats-Msg-Id`, so that a second delivery within the stream's duplicate window is
    /// dropped by the server.
    #[default]
    JetStream,
    /// Until the server has handed it to whoever is subscribed. Core NATS keeps nothing: who is not subscribed at that
    /// moment never sees it. Such a sink has a thread of its own, for its connection.
    Core,
}

impl NatsConfig {
    /// Into a JetStream, with the default timeout.
    pub fn new(servers: impl Into<String>, subject: impl Into<String>) -> Self {
        let timeout = Duration::from_secs(5);
        Self { servers: servers.into(), subject: subject.into(), mode: NatsMode::default(), timeout }
    }

    /// Sets what a delivery waits for.
    #[must_use]
    pub fn mode(mut self, mode: NatsMode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets how long one delivery may take.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Checks what was set, and reads the servers.
    pub(super) fn validate(&self) -> Result<Servers> {
        let invalid = |message: String| Error::invalid_input("event", format!("nats: {message}"));
        if self.timeout.is_zero() {
            return Err(invalid("timeout is zero: no delivery could succeed".to_owned()));
        }
        let is_token = |token: &str| !token.is_empty() && !token.contains(['*', '>', ' ', '\t', '\r', '\n']);
        if !self.subject.split('.').all(is_token) {
            let subject = &self.subject;
            return Err(invalid(format!(
                "subject {subject:?} is empty or has spaces, wildcards or empty parts"
            )));
        }
        Servers::parse(&self.servers).map_err(|what| invalid(what.to_owned()))
    }
}

/// Where the servers are, and who asks.
pub(super) struct Servers {
    pub(super) addresses: Vec<ServerAddr>,
    pub(super) login: Option<Login>,
}

#[derive(PartialEq, Eq)]
pub(super) enum Login {
    User { name: String, password: String },
    Token(String),
}

impl Servers {
    /// Takes the credentials out of the URLs: the client uses none that stand there, and logs URLs as they are.
    fn parse(text: &str) -> std::result::Result<Self, &'static str> {
        let mut servers = Self { addresses: Vec::new(), login: None };
        for server in text.split(',') {
            let (address, login) = Self::parse_one(server.trim())
                .ok_or("the servers are not URLs as nats://host:4222,nats://host")?;
            if login.is_some() && servers.login.is_some() && servers.login != login {
                return Err("the servers have different credentials");
            }
            servers.login = login.or(servers.login);
            servers.addresses.push(address);
        }
        Ok(servers)
    }

    fn parse_one(server: &str) -> Option<(ServerAddr, Option<Login>)> {
        let mut url = server.parse::<ServerAddr>().ok()?.into_inner();
        let login = match (of_credentials(url.username()), url.password().map(of_credentials)) {
            (name, Some(password)) => Some(Login::User { name, password }),
            (token, None) => (!token.is_empty()).then_some(Login::Token(token)),
        };
        url.set_username("").and_then(|()| url.set_password(None)).ok()?;
        Some((ServerAddr::from_url(url).ok()?, login))
    }

    /// Hosts and ports, for errors.
    pub(super) fn hosts(&self) -> String {
        let host = |server: &ServerAddr| format!("{}:{}", server.host(), server.port());
        self.addresses.iter().map(host).collect::<Vec<_>>().join(",")
    }
}

impl fmt::Debug for NatsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { servers: _, subject, mode, timeout } = self;
        f.debug_struct("NatsConfig")
            .field("subject", subject)
            .field("mode", mode)
            .field("timeout", timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_the_same_for_all_servers() {
        let servers = Servers::parse("nats://ada:x@one, tls://two:4443,nats://ada:x@[::1]").ok().unwrap();
        assert_eq!(servers.hosts(), "one:4222,two:4443,::1:4222");
        assert!(servers.addresses.iter().all(|address| !address.has_user_pass()));
        assert!(servers.addresses[1].tls_required());
        assert_eq!(
            Servers::parse("nats://ada:x@one,nats://ada:y@two").err(),
            Some("the servers have different credentials")
        );
    }
}
