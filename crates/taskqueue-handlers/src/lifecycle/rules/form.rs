//! The JSON form of lifecycle rules, as the API of S3 gives it. It decides nothing about objects.

use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::Tags;

/// S3 moves nothing smaller where a configuration says so.
const SMALL_BYTES: u64 = 128 * 1024;

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Configuration {
    pub(super) rules: Vec<Rule>,
    transition_default_minimum_object_size: Option<String>,
    /// Some tools print it with the rest.
    #[serde(rename = "ResponseMetadata")]
    _response: Option<serde_json::Value>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Rule {
    #[serde(rename = "ID")]
    id: Option<String>,
    status: Status,
    filter: Option<FilterForm>,
    /// The older form of a filter.
    prefix: Option<String>,
    pub(super) expiration: Option<Expiration>,
    pub(super) noncurrent_version_expiration: Option<NoncurrentExpiration>,
    #[serde(default)]
    pub(super) transitions: Vec<Transition>,
    #[serde(default)]
    pub(super) noncurrent_version_transitions: Vec<NoncurrentTransition>,
    #[serde(rename = "AbortIncompleteMultipartUpload")]
    pub(super) abort: Option<Abort>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Status {
    Enabled,
    Disabled,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct FilterForm {
    prefix: Option<String>,
    tag: Option<Tag>,
    object_size_greater_than: Option<u64>,
    object_size_less_than: Option<u64>,
    and: Option<And>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct And {
    prefix: Option<String>,
    #[serde(default)]
    tags: Vec<Tag>,
    object_size_greater_than: Option<u64>,
    object_size_less_than: Option<u64>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Tag {
    key: String,
    value: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Expiration {
    pub(super) days: Option<u32>,
    pub(super) date: Option<DateTime<Utc>>,
    #[serde(default)]
    pub(super) expired_object_delete_marker: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct NoncurrentExpiration {
    pub(super) noncurrent_days: u32,
    #[serde(default)]
    pub(super) newer_noncurrent_versions: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Transition {
    pub(super) days: Option<u32>,
    pub(super) date: Option<DateTime<Utc>>,
    pub(super) storage_class: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct NoncurrentTransition {
    pub(super) noncurrent_days: u32,
    #[serde(default)]
    pub(super) newer_noncurrent_versions: u32,
    pub(super) storage_class: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Abort {
    pub(super) days_after_initiation: u32,
}

/// What a rule is for.
#[derive(Debug, Clone, Default)]
pub(super) struct Filter<'a> {
    prefix: &'a str,
    pub(super) tags: Vec<(&'a str, &'a str)>,
    larger_than: Option<u64>,
    smaller_than: Option<u64>,
}

impl Configuration {
    pub(super) fn transition_bytes_min(&self) -> u64 {
        let is_set =
            self.transition_default_minimum_object_size.as_deref() == Some("all_storage_classes_128K");
        if is_set { SMALL_BYTES } else { 0 }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        for (number, rule) in (1..).zip(&self.rules) {
            rule.check().map_err(|what| format!("rule {number} ({}): {what}", rule.id()))?;
        }
        Ok(())
    }
}

impl Rule {
    pub(super) fn id(&self) -> &str {
        self.id.as_deref().unwrap_or("unnamed")
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.status == Status::Enabled
    }

    pub(super) fn filter(&self) -> Filter<'_> {
        let Some(form) = &self.filter else {
            return Filter { prefix: self.prefix.as_deref().unwrap_or_default(), ..Filter::default() };
        };
        match &form.and {
            Some(and) => Filter {
                prefix: and.prefix.as_deref().unwrap_or_default(),
                tags: and.tags.iter().map(|tag| (tag.key.as_str(), tag.value.as_str())).collect(),
                larger_than: and.object_size_greater_than,
                smaller_than: and.object_size_less_than,
            },
            None => Filter {
                prefix: form.prefix.as_deref().unwrap_or_default(),
                tags: form.tag.iter().map(|tag| (tag.key.as_str(), tag.value.as_str())).collect(),
                larger_than: form.object_size_greater_than,
                smaller_than: form.object_size_less_than,
            },
        }
    }

    fn check(&self) -> Result<(), &'static str> {
        let has_transitions = !self.transitions.is_empty() || !self.noncurrent_version_transitions.is_empty();
        let has_expirations = self.expiration.is_some() || self.noncurrent_version_expiration.is_some();
        if !has_transitions && !has_expirations && self.abort.is_none() {
            return Err("it has no action");
        }
        if self.filter.is_some() && self.prefix.is_some() {
            return Err("it has both a Filter and a Prefix");
        }
        if let Some(Expiration { days, date, expired_object_delete_marker }) = &self.expiration {
            let set = usize::from(days.is_some())
                + usize::from(date.is_some())
                + usize::from(*expired_object_delete_marker);
            if set != 1 || *days == Some(0) {
                return Err(
                    "Expiration needs Days (from 1), Date or ExpiredObjectDeleteMarker, and one of them",
                );
            }
        }
        if self.transitions.iter().any(|it| it.days.is_some() == it.date.is_some()) {
            return Err("a transition needs Days or Date, and one of them");
        }
        let classes = self.transitions.iter().map(|it| &it.storage_class);
        let mut classes =
            classes.chain(self.noncurrent_version_transitions.iter().map(|it| &it.storage_class));
        if classes.any(String::is_empty) {
            return Err("a transition has no StorageClass");
        }
        if self.noncurrent_version_expiration.as_ref().is_some_and(|it| it.noncurrent_days == 0) {
            return Err("NoncurrentVersionExpiration needs NoncurrentDays from 1");
        }
        Ok(())
    }
}

impl Filter<'_> {
    /// Whether a key of this size passes, whatever its tags.
    pub(super) fn takes_key(&self, key: &str, size: u64) -> bool {
        let is_large = self.larger_than.is_none_or(|least| size > least);
        key.starts_with(self.prefix) && is_large && self.smaller_than.is_none_or(|most| size < most)
    }

    pub(super) fn takes(&self, key: &str, size: u64, tags: &Tags) -> bool {
        let has = |(key, value): &(&str, &str)| tags.get(*key).is_some_and(|it| it == value);
        self.takes_key(key, size) && self.tags.iter().all(has)
    }

    pub(super) fn has_size(&self) -> bool {
        self.larger_than.is_some() || self.smaller_than.is_some()
    }

    pub(super) fn is_of_prefix_only(&self) -> bool {
        self.tags.is_empty() && !self.has_size()
    }
}
