//! Secrets that the file of `--config` names. It owns how they are read, and that no message shows one.

use std::env::VarError;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer};

use super::HandlersFile;
use crate::failure::Outcome;

/// Where a secret is: in a variable of the environment, or in a file.
#[derive(Debug)]
pub(in crate::commands::work) enum Secret {
    Env(String),
    File(PathBuf),
}

const EXPECTED: &str = "{ env = \"NAME\" } or { file = \"PATH\" }";

/// By hand, as what serde says of a wrong value shows that value: here it may be the secret itself.
impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = toml::Value::deserialize(deserializer)?;
        Self::read(&value).ok_or_else(|| serde::de::Error::custom(format!("expected {EXPECTED}")))
    }
}

impl Secret {
    fn read(value: &toml::Value) -> Option<Self> {
        let table = value.as_table().filter(|table| table.len() == 1)?;
        match table.iter().next()? {
            (key, toml::Value::String(text)) if key == "env" => Some(Self::Env(text.clone())),
            (key, toml::Value::String(text)) if key == "file" => Some(Self::File(text.into())),
            _ => None,
        }
    }
}

/// A value that may hold a secret, as a URL with a password: then it stands where secrets do.
#[derive(Debug)]
pub(in crate::commands::work) enum Text {
    Plain(String),
    Secret(Secret),
}

/// By hand, for the same reason.
impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match toml::Value::deserialize(deserializer)? {
            toml::Value::String(text) => Ok(Self::Plain(text)),
            other => match Secret::read(&other) {
                Some(secret) => Ok(Self::Secret(secret)),
                None => Err(serde::de::Error::custom(format!("expected a text, or {EXPECTED}"))),
            },
        }
    }
}

impl HandlersFile {
    /// The secret itself. No message shows it.
    pub(in crate::commands::work) fn secret(&self, key: &str, secret: &Secret) -> Outcome<String> {
        let text = match secret {
            Secret::Env(name) => std::env::var(name).map_err(|error| {
                let wrong = if error == VarError::NotPresent { "not set" } else { "not UTF-8" };
                self.wrong(key, format!("the environment variable {name} is {wrong}"))
            })?,
            Secret::File(path) => std::fs::read_to_string(path)
                .map_err(|error| self.wrong(key, format!("cannot read {}: {error}", path.display())))?,
        };
        let text = text.trim();
        if text.is_empty() {
            return Err(self.wrong(key, "the secret is empty"));
        }
        Ok(text.to_owned())
    }

    /// The text itself. One with a user or a password in it is refused when it stands in the file.
    pub(in crate::commands::work) fn text(&self, key: &str, text: &Text) -> Outcome<String> {
        match text {
            Text::Secret(secret) => self.secret(key, secret),
            Text::Plain(plain) if plain.is_empty() => Err(self.wrong(key, "it is empty")),
            Text::Plain(plain) if plain.contains('@') => {
                Err(self.wrong(key, format!("it names a user or holds a secret: expected {EXPECTED}")))
            }
            Text::Plain(plain) => Ok(plain.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn parse(text: &str) -> Outcome<HandlersFile> {
        HandlersFile::parse(Path::new("handlers.toml"), text)
    }

    #[test]
    fn a_secret_in_the_file_itself_is_refused_and_not_shown() {
        let text = "[credentials.local]\naccess_key_id = { env = \"ID\" }\nsecret_access_key = \"hunter2\"\n";
        let message =
            parse(text).expect_err("it is wrong").message().map(str::to_owned).expect("it says why");
        assert!(message.starts_with("handlers.toml:3: secret_access_key: "), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }

    #[test]
    fn a_secret_comes_from_a_file_or_the_environment_without_the_line_end() {
        let file = parse("").expect("valid");
        let secret = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(secret.path(), "hunter2\n").expect("writable");
        let found = file.secret("store", &Secret::File(secret.path().to_owned())).expect("readable");
        assert_eq!(found, "hunter2");
        let missing = file.secret("credentials.x.access_key_id", &Secret::Env("TASKQUEUE_NO_SUCH".into()));
        let message = missing.expect_err("it is not set").message().map(str::to_owned);
        assert_eq!(
            message.as_deref(),
            Some(
                "handlers.toml: credentials.x.access_key_id: the environment variable TASKQUEUE_NO_SUCH is not set"
            )
        );
    }

    #[test]
    fn a_url_with_a_password_is_refused_in_the_file_and_taken_from_elsewhere() {
        let file = parse("").expect("valid");
        let refused =
            file.text("event.destinations.q.nats.servers", &Text::Plain("nats://u:hunter2@h".into()));
        let message = refused.expect_err("it holds a secret").message().map(str::to_owned);
        let expected = "handlers.toml: event.destinations.q.nats.servers: it names a user or holds a secret: \
                        expected { env = \"NAME\" } or { file = \"PATH\" }";
        assert_eq!(message.as_deref(), Some(expected));
        let elsewhere = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(elsewhere.path(), "nats://u:hunter2@h\n").expect("writable");
        let text = Text::Secret(Secret::File(elsewhere.path().to_owned()));
        assert_eq!(file.text("servers", &text).expect("readable"), "nats://u:hunter2@h");
    }
}
