//! S3 lifecycle rules: which of them applies to what, at a given time. It reads the JSON of
//! `GetBucketLifecycleConfiguration`. Pure: it knows no store, and what it decides it does not do.
//!
//! As in S3: an age in days counts from the object's time and ends at the midnight (UTC) that follows; a version's age
//! counts from when the next newer one came. Removal comes before transitions, and of several transitions that are due
//! the one to the coldest class is chosen; nothing is moved to a warmer class.

mod apply;
mod form;

use std::collections::BTreeMap;

use chrono::{DateTime, Days, NaiveTime, Utc};
use taskqueue_core::payloads::LifecycleAction;
use taskqueue_core::{Error, Result};

use self::form::{Configuration, Filter, Rule};
use crate::store::{MultipartUpload, Version};

/// An object's tags.
pub type Tags = BTreeMap<String, String>;

/// The enabled rules of a bucket.
#[derive(Debug, Clone)]
pub struct Rules {
    rules: Vec<Rule>,
    /// The least size, in bytes, of what a rule without a size of its own moves.
    transition_bytes_min: u64,
}

/// What a rule wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<'a> {
    /// The rule.
    pub rule_id: &'a str,
    /// What is done.
    pub action: LifecycleAction,
    /// What it is done to; none: an upload.
    pub version: Option<&'a Version>,
    /// Where a transition leads.
    pub storage_class: Option<&'a str>,
}

impl Rules {
    /// Reads a configuration: `{"Rules": [{"ID": …, "Status": "Enabled", "Filter": …, "Expiration": …}, …]}`.
    ///
    /// # Errors
    /// `InvalidInput` for what is not such JSON, an unknown field among it, and for rules that S3 would refuse: without
    /// an action, with both or neither of days and date, or with a `StorageClass` that is empty.
    pub fn parse(json: &str) -> Result<Self> {
        let invalid = |what: String| Error::invalid_input("lifecycle rules", what);
        let configuration: Configuration =
            serde_json::from_str(json).map_err(|error| invalid(error.to_string()))?;
        configuration.check().map_err(invalid)?;
        let transition_bytes_min = configuration.transition_bytes_min();
        let rules = configuration.rules.into_iter().filter(Rule::is_enabled).collect();
        Ok(Self { rules, transition_bytes_min })
    }

    /// Whether no rule is enabled.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether what applies to this version depends on its tags.
    pub fn needs_tags(&self, version: &Version) -> bool {
        let asks = |filter: &Filter| !filter.tags.is_empty() && filter.takes_key(&version.key, version.size);
        !version.is_delete_marker && self.rules.iter().any(|rule| asks(&rule.filter()))
    }

    /// What is to be done to the versions of one key: all of them, the newest first. In a bucket without versions
    /// there is one. `tags` are those of a version, by its id.
    pub fn apply<'a>(
        &'a self,
        versions: &'a [Version],
        tags: &BTreeMap<Option<String>, Tags>,
        now: DateTime<Utc>,
    ) -> Vec<Decision<'a>> {
        let none = Tags::new();
        let mut newer_noncurrent = 0;
        let mut decisions = Vec::new();
        for (index, version) in versions.iter().enumerate() {
            let tags = tags.get(&version.version_id).unwrap_or(&none);
            let seen = apply::Seen {
                version,
                tags,
                now,
                successor: index.checked_sub(1).map(|newer| versions[newer].last_modified),
                newer_noncurrent,
                is_only: versions.len() == 1,
            };
            decisions.extend(self.decide(&seen));
            newer_noncurrent += u32::from(!version.is_latest && !version.is_delete_marker);
        }
        decisions
    }

    /// Whether an upload that nobody completed is to be aborted.
    pub fn apply_to_upload(&self, upload: &MultipartUpload, now: DateTime<Utc>) -> Option<Decision<'_>> {
        let is_due = |rule: &&Rule| {
            let days = rule.abort.as_ref().map(|abort| abort.days_after_initiation);
            // An upload has neither tags nor a size: filters by those are not for it.
            let filter = rule.filter();
            let is_meant = filter.is_of_prefix_only() && filter.takes_key(&upload.upload.object.key, 0);
            is_meant && days.is_some_and(|days| due(upload.initiated, days) <= now)
        };
        let rule = self.rules.iter().find(is_due)?;
        let action = LifecycleAction::AbortMpu;
        Some(Decision { rule_id: rule.id(), action, version: None, storage_class: None })
    }
}

/// The midnight after `days` days from `time`.
fn due(time: DateTime<Utc>, days: u32) -> DateTime<Utc> {
    let end = time.checked_add_days(Days::new(days.into())).unwrap_or(DateTime::<Utc>::MAX_UTC);
    let midnight = end.date_naive().and_time(NaiveTime::MIN).and_utc();
    if midnight == end {
        end
    } else {
        midnight.checked_add_days(Days::new(1)).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

#[cfg(test)]
mod tests;
