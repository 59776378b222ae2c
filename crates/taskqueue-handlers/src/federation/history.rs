//! How far the history of a key has been brought over: which version is next. Pure; it asks no store.

use crate::store::Version;

/// The versions of one key outside and here, each the oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct History {
    pub(super) external: Vec<Version>,
    /// With the ETag of what each is a copy of.
    pub(super) local: Vec<Version>,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next<'a> {
    /// Every version is here.
    Nothing,
    /// This version is the oldest that is missing here; the other follows it.
    Version(&'a Version, Option<&'a Version>),
}

impl History {
    /// The first external version without a counterpart here, from the version `named` on; from the oldest on when that is
    /// not outside any more. A version has a task of its name only after those before it were here: one of them that is
    /// missing was removed here, and would come back behind newer ones. Counterparts are looked for in order: what was
    /// written here besides may stand between them.
    pub(super) fn next(&self, named: Option<&str>) -> Next<'_> {
        let from = self.external.iter().position(|external| external.version_id.as_deref() == named);
        let mut local = self.local.iter();
        let mut missing = None;
        for (index, external) in self.external.iter().enumerate() {
            let mut ahead = local.clone();
            if ahead.any(|here| is_copy(here, external)) {
                local = ahead;
            } else if index >= from.unwrap_or_default() {
                missing = Some(index);
                break;
            }
        }
        match missing {
            None => Next::Nothing,
            Some(index) => Next::Version(&self.external[index], self.external.get(index + 1)),
        }
    }

    /// The newest version here, if it was written here and is no copy.
    pub(super) fn newest_of_its_own(&self) -> Option<&Version> {
        let newest = self.local.last()?;
        (!self.external.iter().any(|external| is_copy(newest, external))).then_some(newest)
    }
}

/// Whether `here` has the content of `external`.
pub(super) fn is_copy(here: &Version, external: &Version) -> bool {
    here.is_delete_marker == external.is_delete_marker
        && here.size == external.size
        && here.etag == external.etag
}

#[cfg(test)]
mod tests {
    use taskqueue_core::{Clock, ManualClock};

    use super::*;

    /// One version a letter; `-` is a delete marker.
    fn versions(letters: &str) -> Vec<Version> {
        let version = |(index, letter): (usize, char)| Version {
            key: "k".into(),
            version_id: Some(index.to_string()),
            is_latest: false,
            is_delete_marker: letter == '-',
            size: 1,
            etag: letter.to_string(),
            last_modified: ManualClock::default().now(),
            storage_class: None,
        };
        letters.chars().enumerate().map(version).collect()
    }

    fn next(external: &str, local: &str) -> Option<usize> {
        next_from(0, external, local)
    }

    fn next_from(named: usize, external: &str, local: &str) -> Option<usize> {
        let history = History { external: versions(external), local: versions(local) };
        match history.next(Some(&named.to_string())) {
            Next::Nothing => None,
            Next::Version(version, _) => version.version_id.as_ref().and_then(|id| id.parse().ok()),
        }
    }

    #[test]
    fn the_oldest_missing_version_is_next() {
        assert_eq!([next("abc", ""), next("abc", "a"), next("abc", "ab")], [Some(0), Some(1), Some(2)]);
        assert_eq!([next("abc", "abc"), next("", ""), next("", "x")], [None; 3]);
    }

    #[test]
    fn the_same_content_twice_is_two_versions() {
        assert_eq!([next("aba", "a"), next("aba", "ab"), next("aba", "aba")], [Some(1), Some(2), None]);
        assert_eq!([next("aa", "a"), next("-a-", "-a")], [Some(1), Some(2)]);
    }

    #[test]
    fn versions_before_the_named_one_have_been_here() {
        assert_eq!(
            next_from(2, "aab", "a"),
            Some(2),
            "what was removed here does not come back out of order"
        );
        assert_eq!([next_from(1, "aab", "a"), next_from(1, "aab", "aa")], [Some(1), Some(2)]);
        assert_eq!([next_from(2, "abc", ""), next_from(9, "abc", "a")], [Some(2), Some(1)]);
    }

    #[test]
    fn what_was_written_here_besides_is_no_counterpart() {
        assert_eq!([next("abc", "axb"), next("ab", "xaxbx"), next("ab", "ba")], [Some(2), None, Some(1)]);
    }

    #[test]
    fn a_newest_version_that_is_no_copy_is_known() {
        let own = |external, local| {
            let history = History { external: versions(external), local: versions(local) };
            history.newest_of_its_own().map(|version| version.etag.clone())
        };
        assert_eq!(own("ab", "ax").as_deref(), Some("x"));
        assert_eq!([own("ab", "xa"), own("ab", "")], [None, None]);
    }
}
