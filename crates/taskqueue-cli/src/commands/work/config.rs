//! The file of `work --config`: what ready-made handlers need to know. It owns its form and what an error says of it
//! (the file, the line or the key, what was expected); secrets are named in it, never held by it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use taskqueue_handlers::federation::{FederationConfig, TransferConfig};

use crate::failure::{Failure, Outcome};

const MIB: u64 = 1024 * 1024;

/// The file, read and checked.
#[derive(Debug)]
pub(super) struct HandlersFile {
    path: PathBuf,
    pub(super) config: HandlersConfig,
}

/// What stands in it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HandlersConfig {
    /// Access keys by name.
    pub(super) credentials: BTreeMap<String, Credentials>,
    /// The object store that handlers work on.
    pub(super) store: Option<StoreAddress>,
    /// How objects are copied from one store to another.
    pub(super) transfer: Transfer,
    /// Federated buckets.
    pub(super) federation: Federation,
    /// Regions that changes are repeated in.
    pub(super) replication: Replication,
    /// How webhooks are delivered.
    pub(super) webhook: Webhook,
}

/// An access key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(feature = "s3"), expect(dead_code, reason = "only a store reads them"))]
pub(super) struct Credentials {
    pub(super) access_key_id: Secret,
    pub(super) secret_access_key: Secret,
    pub(super) session_token: Option<Secret>,
}

/// Where a secret is: in a variable of the environment, or in a file.
#[derive(Debug)]
pub(super) enum Secret {
    Env(String),
    File(PathBuf),
}

/// By hand, as what serde says of a wrong value shows that value: here it may be the secret itself.
impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = toml::Value::deserialize(deserializer)?;
        let entry = value.as_table().filter(|table| table.len() == 1).and_then(|table| table.iter().next());
        match entry {
            Some((key, toml::Value::String(text))) if key == "env" => Ok(Self::Env(text.clone())),
            Some((key, toml::Value::String(text))) if key == "file" => Ok(Self::File(text.into())),
            _ => Err(serde::de::Error::custom("expected { env = \"NAME\" } or { file = \"PATH\" }")),
        }
    }
}

/// A store, and who uses it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoreAddress {
    /// Its URL; none: AWS, by the region.
    pub(super) endpoint: Option<String>,
    pub(super) region: String,
    /// Which of the credentials.
    pub(super) credentials: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Transfer {
    multipart_above_mib: u64,
    part_mib: u64,
    parts_in_flight: usize,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Federation {
    pub(super) buckets: Vec<FederationConfig>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Replication {
    pub(super) regions: BTreeMap<String, StoreAddress>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Webhook {
    pub(super) allow_private: bool,
    pub(super) secret: Option<Secret>,
}

impl Default for Transfer {
    fn default() -> Self {
        let TransferConfig { multipart_above, part_bytes, parts_in_flight, .. } = TransferConfig::default();
        Self { multipart_above_mib: multipart_above / MIB, part_mib: part_bytes / MIB, parts_in_flight }
    }
}

impl HandlersFile {
    /// Reads and checks a file.
    pub(super) fn read(path: &Path) -> Outcome<Self> {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|error| Failure::io(format!("cannot read {}", path.display()), &error))?;
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Outcome<Self> {
        let config = toml::from_str(text).map_err(|error| malformed(path, text, &error))?;
        let file = Self { path: path.to_owned(), config };
        file.check()?;
        Ok(file)
    }

    /// An error in the value at `key`, which the message says more of.
    pub(super) fn wrong(&self, key: &str, what: impl std::fmt::Display) -> Failure {
        Failure::usage(format!("{}: {key}: {what}", self.path.display()))
    }

    /// How objects are copied.
    pub(super) fn transfer(&self) -> TransferConfig {
        let Transfer { multipart_above_mib, part_mib, parts_in_flight } = self.config.transfer;
        TransferConfig::default()
            .multipart_above(multipart_above_mib.saturating_mul(MIB))
            .part_bytes(part_mib.saturating_mul(MIB))
            .parts_in_flight(parts_in_flight)
    }

    /// The secret itself. No message shows it.
    pub(super) fn secret(&self, key: &str, secret: &Secret) -> Outcome<String> {
        let text = match secret {
            Secret::Env(name) => std::env::var(name)
                .map_err(|_| self.wrong(key, format!("the environment variable {name} is not set")))?,
            Secret::File(path) => std::fs::read_to_string(path)
                .map_err(|error| self.wrong(key, format!("cannot read {}: {error}", path.display())))?,
        };
        let text = text.trim();
        if text.is_empty() {
            return Err(self.wrong(key, "the secret is empty"));
        }
        Ok(text.to_owned())
    }

    fn check(&self) -> Outcome {
        self.transfer().validate().map_err(|error| self.wrong("transfer", error))?;
        let mut seen = std::collections::BTreeSet::new();
        for (index, bucket) in self.config.federation.buckets.iter().enumerate() {
            let key = format!("federation.buckets[{index}]");
            bucket.validate().map_err(|error| self.wrong(&key, error))?;
            if !seen.insert(&bucket.bucket) {
                return Err(self.wrong(&key, format!("bucket {:?} is there twice", bucket.bucket)));
            }
            self.check_credentials(&format!("{key}.external"), &bucket.external.credentials)?;
        }
        let regions = self.config.replication.regions.iter();
        let regions = regions.map(|(name, store)| (format!("replication.regions.{name}"), store));
        let stores = self.config.store.iter().map(|store| ("store".to_owned(), store)).chain(regions);
        for (key, store) in stores {
            self.check_credentials(&key, &store.credentials)?;
        }
        Ok(())
    }

    fn check_credentials(&self, key: &str, name: &str) -> Outcome {
        if self.config.credentials.contains_key(name) {
            return Ok(());
        }
        let key = format!("{key}.credentials");
        Err(self.wrong(&key, format!("expected the name of a section [credentials.NAME], found {name:?}")))
    }
}

/// What TOML or the form of the file is wrong about: the line, its key, and what was expected there. Never the line
/// itself, in which a secret may stand by mistake.
fn malformed(path: &Path, text: &str, error: &toml::de::Error) -> Failure {
    let at = error.span().map_or(0, |span| span.start.min(text.len()));
    let before = text.get(..at).unwrap_or_default();
    let number = before.matches('\n').count() + 1;
    let line = text.lines().nth(number - 1).unwrap_or_default();
    let key = line.split('=').next().unwrap_or_default().trim();
    let message = error.message().lines().collect::<Vec<_>>().join(", ");
    Failure::usage(format!("{}:{number}: {key}: {message}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../../examples/handlers.toml");

    fn parse(text: &str) -> Outcome<HandlersFile> {
        HandlersFile::parse(Path::new("handlers.toml"), text)
    }

    #[track_caller]
    fn refused(text: &str, expected: &str) {
        let failure = parse(text).expect_err("it is wrong");
        assert_eq!(failure.message(), Some(expected));
    }

    #[test]
    fn the_annotated_example_is_valid() {
        let file = parse(EXAMPLE).expect("the example is valid");
        assert_eq!(file.config.federation.buckets[0].bucket, "photos");
        assert_eq!(file.config.replication.regions.len(), 2);
    }

    #[test]
    fn an_empty_file_is_valid() {
        let file = parse("").expect("nothing is needed by itself");
        assert_eq!(file.transfer(), TransferConfig::default());
    }

    #[test]
    fn an_error_names_the_file_the_line_the_key_and_what_was_expected() {
        refused(
            "[transfer]\npart_mib = 16\nparts = 3\n",
            "handlers.toml:3: parts: unknown field `parts`, expected one of `multipart_above_mib`, `part_mib`, \
             `parts_in_flight`",
        );
        refused(
            "[transfer]\npart_mib = \"16\"\n",
            "handlers.toml:2: part_mib: invalid type: string \"16\", expected u64",
        );
        refused(
            "[store]\nregion = \"r\"\ncredentials = \"local\"\n",
            "handlers.toml: store.credentials: expected the name of a section [credentials.NAME], found \"local\"",
        );
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
}
