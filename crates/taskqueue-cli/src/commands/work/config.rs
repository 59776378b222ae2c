//! The file of `work --config`: what ready-made handlers need to know. It owns its form and what an error says of it
//! (the file, the line or the key, what was expected); secrets are named in it, never held by it.

mod audit;
mod destination;
mod documents;
mod secret;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use taskqueue_handlers::federation::{FederationConfig, TransferConfig};

pub(super) use self::audit::AuditLog;
#[cfg(feature = "nats")]
pub(super) use self::destination::NatsWay;
pub(super) use self::destination::{
    Destination, Event, FileDurability, FileLines, Kafka, Nats, Receiver, Redis,
};
pub(super) use self::documents::{DocumentsPlace, Restore};
pub(super) use self::secret::{Secret, Text};
use crate::failure::{Failure, Outcome};

const MIB: u64 = 1024 * 1024;
/// Of what makes no sense as 0.
const AT_LEAST_ONE: RangeInclusive<u64> = 1..=u64::MAX;

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
    /// Where documents are: who is told of events, federated buckets, how far restores are.
    pub(super) documents: Option<DocumentsPlace>,
    /// Where events go.
    pub(super) event: Event,
    /// How often restores are looked at.
    pub(super) restore: Restore,
    /// Where audit records go.
    pub(super) audit_log: AuditLog,
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

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Replication {
    pub(super) follows_deletes: bool,
    pub(super) etag_is_md5: bool,
    pub(super) regions: BTreeMap<String, StoreAddress>,
}

impl Default for Replication {
    fn default() -> Self {
        Self { follows_deletes: false, etag_is_md5: true, regions: BTreeMap::new() }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Webhook {
    pub(super) allow_private: bool,
    pub(super) secret: Option<Secret>,
    /// By the names that payloads give.
    pub(super) secrets: BTreeMap<String, Secret>,
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

    pub(super) fn parse(path: &Path, text: &str) -> Outcome<Self> {
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

    fn check(&self) -> Outcome {
        self.check_transfer()?;
        self.check_restore()?;
        self.check_documents()?;
        self.check_destinations()?;
        self.check_audit_log()?;
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

    /// In the units of the file; the library says the same in its own.
    fn check_transfer(&self) -> Outcome {
        let Transfer { multipart_above_mib, part_mib, parts_in_flight } = self.config.transfer;
        self.in_range("transfer.multipart_above_mib", multipart_above_mib, 0..=5120)?;
        self.in_range("transfer.part_mib", part_mib, 5..=5120)?;
        self.in_range("transfer.parts_in_flight", parts_in_flight as u64, AT_LEAST_ONE)?;
        self.transfer().validate().map_err(|error| self.wrong("transfer", error))
    }

    fn in_range(&self, key: &str, found: u64, range: RangeInclusive<u64>) -> Outcome {
        if range.contains(&found) {
            return Ok(());
        }
        let (least, most) = range.into_inner();
        let expected =
            if most == u64::MAX { format!("at least {least}") } else { format!("{least} to {most}") };
        Err(self.wrong(key, format!("expected {expected}, found {found}")))
    }

    /// That one of two keys of a section is there and the other is not.
    fn one_of(&self, section: &str, [one, other]: [&str; 2], are_there: [bool; 2]) -> Outcome {
        let found = match are_there {
            [true, true] => "both",
            [false, false] => "neither",
            _ => return Ok(()),
        };
        Err(self.wrong(section, format!("expected either {one} or {other}, found {found}")))
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
    let column = at - before.rfind('\n').map_or(0, |end| end + 1);
    let message = error.message().lines().collect::<Vec<_>>().join(", ");
    let key = key_at(line, column).map_or(String::new(), |key| format!(" {key}:"));
    Failure::usage(format!("{}:{number}:{key} {message}", path.display()))
}

/// The key of a line or the name of its section; within an inline table the key of the value at this column as well.
fn key_at(line: &str, column: usize) -> Option<String> {
    let is_key = |text: &&str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.\"".contains(&byte);
        !text.is_empty() && text.bytes().all(fits)
    };
    if line.starts_with('[') {
        return Some(line.trim_end().to_owned());
    }
    let key = line.split_once('=').map(|(key, _)| key.trim()).filter(is_key)?;
    let within = line.get(..column).and_then(|before| before.trim_end().strip_suffix('='));
    let inner = within.and_then(|before| before.rsplit(['{', ',']).next()).map(str::trim).filter(is_key);
    match inner {
        Some(inner) if inner != key => Some(format!("{key}.{inner}")),
        _ => Some(key.to_owned()),
    }
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
        let destinations: Vec<_> = file.config.event.destinations.keys().collect();
        assert_eq!(destinations, ["log", "metadata", "news", "pictures", "uploads"]);
        assert!(file.config.audit_log.objects.is_some());
    }

    #[test]
    fn an_empty_file_is_valid() {
        let file = parse("").expect("nothing is needed by itself");
        assert_eq!(file.transfer(), TransferConfig::default());
    }

    #[test]
    fn the_defaults_that_the_example_shows_are_those_of_an_empty_file() {
        let (example, empty) = (parse(EXAMPLE).expect("valid"), parse("").expect("valid"));
        assert_eq!(example.transfer(), empty.transfer());
        let replicates = |HandlersFile { config, .. }: &HandlersFile| {
            (config.replication.follows_deletes, config.replication.etag_is_md5)
        };
        assert_eq!(replicates(&example), replicates(&empty));
        assert_eq!(example.config.restore.polling(), empty.config.restore.polling());
        assert_eq!(example.config.audit_log.batches(), empty.config.audit_log.batches());
        let age = |file: &HandlersFile| file.config.event.configurations_age_max_seconds;
        assert_eq!(age(&example), age(&empty));
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
        refused(
            "[event.destinations.log.file]\npath = \"events\"\nsync = true\n",
            "handlers.toml:3: sync: unknown field `sync`, expected `path` or `durability`",
        );
        refused(
            "[event.destinations.log.fiel]\npath = \"events\"\n",
            "handlers.toml:1: [event.destinations.log.fiel]: unknown variant `fiel`, expected one of `webhook`, `file`, \
             `nats`, `redis`, `kafka`",
        );
    }

    #[test]
    fn an_error_in_an_inline_table_names_the_key_within_it_and_shows_no_value() {
        refused(
            "[audit_log]\nhttp = { url = \"http://h\", secret = \"hunter2\" }\n",
            "handlers.toml:2: http.secret: expected { env = \"NAME\" } or { file = \"PATH\" }",
        );
        let failure = parse("[store]\nregion = \"r\"\nhunter2\n").expect_err("it is no TOML");
        let said = failure.message().expect("it says why");
        assert!(said.starts_with("handlers.toml:3: ") && !said.contains("hunter2"), "{said}");
    }

    #[test]
    fn sections_that_contradict_themselves_are_refused() {
        let cases = [
            ("[documents]\n", "documents: expected either folder or database, found neither"),
            (
                "[documents]\nfolder = \"f\"\ntable = \"t\"\n",
                "documents.table: it is for a database, and there is none",
            ),
            (
                "[restore]\npause_min_seconds = 9\npause_max_seconds = 8\n",
                "restore.pause_min_seconds: expected 1 to pause_max_seconds, which is 8, found 9",
            ),
            (
                "[audit_log]\nobjects = { bucket = \"b\" }\nhttp = { url = \"http://h\" }\n",
                "audit_log: expected either objects or http, found both",
            ),
            ("[audit_log]\nobjects = { bucket = \"\" }\n", "audit_log.objects.bucket: it is empty"),
            ("[audit_log]\nrecords_max = 0\n", "audit_log.records_max: expected at least 1, found 0"),
            ("[transfer]\npart_mib = 4\n", "transfer.part_mib: expected 5 to 5120, found 4"),
            (
                "[event.destinations.q.redis]\nurl = \"redis://h\"\n",
                "event.destinations.q.redis: expected either stream or channel, found neither",
            ),
            (
                "[event.destinations.q.kafka]\nbrokers = \"h\"\ntopic = \"t\"\ntimeout_seconds = 0\n",
                "event.destinations.q.kafka.timeout_seconds: expected at least 1, found 0",
            ),
        ];
        for (text, expected) in cases {
            refused(text, &format!("handlers.toml: {expected}"));
        }
    }
}
