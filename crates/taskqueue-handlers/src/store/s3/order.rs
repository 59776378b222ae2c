//! The order of versions and delete markers in a listing, which the SDK keeps to itself: an answer has both in one
//! order, the newest of a key first, and the SDK makes two lists of them. Times do not tell that order again: they are
//! whole seconds, and that of an object that was sent in parts can be the time when its upload began.

use std::cmp::Reverse;
use std::sync::{Arc, OnceLock};

use aws_sdk_s3::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_smithy_xml::decode::{Document, XmlDecodeError};

use crate::store::Version;

/// What an entry of a listing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Version,
    DeleteMarker,
}

/// Sees the answer to one request.
#[derive(Debug, Clone, Default)]
pub(super) struct OrderOf(Arc<OnceLock<Vec<Entry>>>);

impl OrderOf {
    /// The entries of the answer in its order, out of the SDK's two lists; `None` when they are not its.
    pub(super) fn restore(&self, versions: Vec<Version>, markers: Vec<Version>) -> Option<Vec<Version>> {
        in_order(self.0.get()?, versions, markers)
    }
}

impl Intercept for OrderOf {
    fn name(&self) -> &'static str {
        "OrderOf"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // An answer that cannot be read is an error of the SDK's already.
        if let Some(Ok(entries)) = context.response().body().bytes().map(entries) {
            self.0.set(entries).ok();
        }
        Ok(())
    }
}

fn entries(answer: &[u8]) -> Result<Vec<Entry>, XmlDecodeError> {
    let mut document = Document::try_from(answer)?;
    let mut listing = document.root_element()?;
    let mut entries = Vec::new();
    while let Some(tag) = listing.next_tag() {
        match tag.start_el().local() {
            "Version" => entries.push(Entry::Version),
            "DeleteMarker" => entries.push(Entry::DeleteMarker),
            _ => {}
        }
    }
    Ok(entries)
}

fn in_order(entries: &[Entry], versions: Vec<Version>, markers: Vec<Version>) -> Option<Vec<Version>> {
    let of_versions = entries.iter().filter(|entry| **entry == Entry::Version).count();
    if (of_versions, entries.len() - of_versions) != (versions.len(), markers.len()) {
        return None;
    }
    if !entries.windows(2).any(|pair| pair == [Entry::DeleteMarker, Entry::Version]) {
        return Some(merged(versions, markers));
    }
    let (mut versions, mut markers) = (versions.into_iter(), markers.into_iter());
    let entry = |entry: &Entry| match entry {
        Entry::Version => versions.next(),
        Entry::DeleteMarker => markers.next(),
    };
    entries.iter().map(entry).collect()
}

/// All versions come first where a server writes two lists itself, as some do. Then times are all that there is: of equal
/// ones the version counts as the newer. Each list stays in its order.
fn merged(versions: Vec<Version>, markers: Vec<Version>) -> Vec<Version> {
    let (mut versions, mut markers) = (versions.into_iter().peekable(), markers.into_iter().peekable());
    std::iter::from_fn(|| match (versions.peek(), markers.peek()) {
        (Some(version), Some(marker)) if place(marker) >= place(version) => versions.next(),
        (Some(_), None) => versions.next(),
        _ => markers.next(),
    })
    .collect()
}

/// By key, the newest first.
fn place(entry: &Version) -> impl Ord {
    (entry.key.as_str(), Reverse((entry.is_latest, entry.last_modified)))
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    /// `k-*7`: key k, a delete marker, the latest, written at second 7. Any other letter than `-` is content.
    fn version(text: &str) -> Version {
        let letters: Vec<char> = text.chars().collect();
        let second = letters.last().and_then(|digit| digit.to_digit(10)).expect("a digit");
        Version {
            key: letters[0].into(),
            version_id: Some(text.to_owned()),
            is_latest: letters[2] == '*',
            is_delete_marker: letters[1] == '-',
            size: 1,
            etag: letters[1].into(),
            last_modified: DateTime::from_timestamp(second.into(), 0).expect("a time"),
            storage_class: None,
        }
    }

    /// What is made of a listing after the SDK has parted it.
    fn restored(listing: &[&str]) -> Option<Vec<String>> {
        let (markers, versions): (Vec<_>, Vec<_>) =
            listing.iter().map(|text| version(text)).partition(|version| version.is_delete_marker);
        let tag = |text: &&str| if version(text).is_delete_marker { "DeleteMarker" } else { "Version" };
        let tags = listing.iter().map(tag).map(|tag| format!("<{tag}><Key>Version</Key></{tag}>"));
        let answer =
            format!("<R xmlns=\"http://s3\"><Name>DeleteMarker</Name>{}</R>", tags.collect::<String>());
        let entries = entries(answer.as_bytes()).expect("it is XML");
        let restored = in_order(&entries, versions, markers)?;
        Some(restored.into_iter().filter_map(|version| version.version_id).collect())
    }

    #[test]
    fn a_listing_is_in_the_order_of_the_answer_whatever_the_times() {
        let in_one_second = ["k-*7", "kc 7", "k- 7", "kb 7", "ka 7", "lb*7", "l- 7", "la 7"];
        assert_eq!(restored(&in_one_second).expect("all are there"), in_one_second);
        let began_early = ["kc*9", "k- 8", "kb 2", "k- 7", "ka 6"];
        assert_eq!(restored(&began_early).expect("all are there"), began_early);
        let without_markers = ["kc*9", "kb 2", "ka 6"];
        assert_eq!(restored(&without_markers).expect("all are there"), without_markers);
    }

    #[test]
    fn two_lists_of_a_server_are_merged_by_their_times() {
        let listing = ["kc 7", "kb 3", "ka 1", "la*5", "k-*7", "k- 4", "m-*1"];
        let expected = ["k-*7", "kc 7", "k- 4", "kb 3", "ka 1", "la*5", "m-*1"];
        assert_eq!(restored(&listing).expect("all are there"), expected);
        assert_eq!(restored(&["ka 1", "k-*1"]).expect("all are there"), ["k-*1", "ka 1"]);
    }

    #[test]
    fn lists_of_another_answer_have_no_order() {
        assert_eq!(in_order(&[Entry::Version], vec![], vec![]), None);
        assert_eq!(in_order(&[Entry::Version], vec![], vec![version("k-*1")]), None);
        assert_eq!(OrderOf::default().restore(vec![], vec![]), None);
    }
}
