//! Which entries of a listing a cleanup removes. Pure; entries come in the order of the listing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use chrono::{DateTime, Utc};
use taskqueue_core::payloads::CleanupScope;

use crate::store::Version;

pub(super) struct Chooser {
    scope: CleanupScope,
    keep_count: usize,
    /// Only what is older goes.
    cutoff: DateTime<Utc>,
    /// The newest objects so far, the oldest of them on top.
    newest: BinaryHeap<Reverse<ByTime>>,
    /// The key whose versions are coming, and how many of them are kept so far.
    key: Option<String>,
    kept: usize,
}

impl Chooser {
    pub(super) fn new(scope: CleanupScope, keep_count: u32, cutoff: DateTime<Utc>) -> Self {
        let keep_count = usize::try_from(keep_count).unwrap_or(usize::MAX);
        Self { scope, keep_count, cutoff, newest: BinaryHeap::new(), key: None, kept: 0 }
    }

    /// Whether what follows can be chosen by one who has not seen what was before.
    pub(super) fn can_pause(&self) -> bool {
        self.scope == CleanupScope::Versions || self.keep_count == 0
    }

    /// What is to go now that this entry is known: it, or one that it pushed out.
    pub(super) fn choose(&mut self, entry: Version) -> Option<Version> {
        let entry = if self.scope == CleanupScope::Versions {
            self.superfluous_version(entry)
        } else {
            self.superfluous_object(entry)
        };
        entry.filter(|entry| entry.last_modified <= self.cutoff)
    }

    fn superfluous_version(&mut self, version: Version) -> Option<Version> {
        if self.key.as_ref() != Some(&version.key) {
            (self.key, self.kept) = (Some(version.key.clone()), 0);
        }
        if version.is_latest {
            return None;
        }
        if !version.is_delete_marker && self.kept < self.keep_count {
            self.kept += 1;
            return None;
        }
        Some(version)
    }

    fn superfluous_object(&mut self, object: Version) -> Option<Version> {
        if self.keep_count == 0 {
            return Some(object);
        }
        self.newest.push(Reverse(ByTime(object)));
        if self.newest.len() <= self.keep_count {
            return None;
        }
        self.newest.pop().map(|Reverse(ByTime(oldest))| oldest)
    }
}

/// In the order of time; of one time, of the key.
struct ByTime(Version);

impl ByTime {
    fn rank(&self) -> (DateTime<Utc>, &str) {
        (self.0.last_modified, &self.0.key)
    }
}

impl PartialEq for ByTime {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl Eq for ByTime {}

impl PartialOrd for ByTime {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByTime {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank().cmp(&other.rank())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).expect("a time")
    }

    fn entry(key: &str, seconds: i64, is_latest: bool) -> Version {
        Version {
            key: key.to_owned(),
            version_id: Some(seconds.to_string()),
            is_latest,
            is_delete_marker: false,
            size: 1,
            etag: String::new(),
            last_modified: at(seconds),
            storage_class: None,
        }
    }

    fn chosen(mut chooser: Chooser, entries: Vec<Version>) -> Vec<(String, i64)> {
        let mut chosen: Vec<_> = entries.into_iter().filter_map(|entry| chooser.choose(entry)).collect();
        chosen.sort_by(|a, b| a.key.cmp(&b.key));
        chosen.into_iter().map(|it| (it.key, it.last_modified.timestamp())).collect()
    }

    #[test]
    fn the_newest_objects_are_kept_wherever_they_are_listed() {
        let chooser = Chooser::new(CleanupScope::Objects, 2, at(100));
        let entries = [("a", 5), ("b", 1), ("c", 9), ("d", 3)].map(|(key, time)| entry(key, time, true));
        assert_eq!(chosen(chooser, entries.into()), [("b".to_owned(), 1), ("d".to_owned(), 3)]);
    }

    #[test]
    fn what_is_younger_than_the_cutoff_stays() {
        let chooser = Chooser::new(CleanupScope::Objects, 0, at(4));
        let entries = [("a", 4), ("b", 5)].map(|(key, time)| entry(key, time, true));
        assert_eq!(chosen(chooser, entries.into()), [("a".to_owned(), 4)]);
    }

    #[test]
    fn of_each_key_the_current_version_and_the_newest_others_stay() {
        let chooser = Chooser::new(CleanupScope::Versions, 1, at(100));
        let entries = vec![
            entry("a", 9, true),
            entry("a", 8, false),
            entry("a", 7, false),
            entry("b", 6, true),
            entry("b", 5, false),
        ];
        assert_eq!(chosen(chooser, entries), [("a".to_owned(), 7)]);
    }

    #[test]
    fn noncurrent_delete_markers_go_and_are_no_versions_to_keep() {
        let chooser = Chooser::new(CleanupScope::Versions, 1, at(100));
        let marker = Version { is_delete_marker: true, ..entry("a", 8, false) };
        let entries = vec![entry("a", 9, true), marker, entry("a", 7, false)];
        assert_eq!(chosen(chooser, entries), [("a".to_owned(), 8)]);
    }
}
