//! What the rules say about one version. Pure.

use chrono::{DateTime, Utc};
use taskqueue_core::payloads::LifecycleAction;

use super::form::{Expiration, Rule};
use super::{Decision, Rules, Tags, due};
use crate::store::Version;

/// A version, and what there is to know of its neighbours.
pub(super) struct Seen<'a, 'b> {
    pub(super) version: &'a Version,
    pub(super) tags: &'b Tags,
    pub(super) now: DateTime<Utc>,
    /// When the next newer version came.
    pub(super) successor: Option<DateTime<Utc>>,
    /// How many noncurrent versions are newer.
    pub(super) newer_noncurrent: u32,
    /// Whether the key has no other version.
    pub(super) is_only: bool,
}

/// The classes of AWS, from the warmest to the coldest.
const CLASSES: [&str; 7] =
    ["STANDARD", "STANDARD_IA", "INTELLIGENT_TIERING", "ONEZONE_IA", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE"];

impl Rules {
    pub(super) fn decide<'a>(&'a self, seen: &Seen<'a, '_>) -> Option<Decision<'a>> {
        let matching = || self.rules.iter().filter(move |rule| takes(rule, seen));
        let removal = matching().find_map(|rule| Some((rule, removal(rule, seen)?)));
        if let Some((rule, action)) = removal {
            let version = Some(seen.version);
            return Some(Decision { rule_id: rule.id(), action, version, storage_class: None });
        }
        if seen.version.is_delete_marker {
            return None;
        }
        let transitions =
            matching().flat_map(|rule| due_transitions(rule, seen).map(move |class| (rule, class)));
        let allowed = transitions
            .filter(|(rule, _)| rule.filter().has_size() || seen.version.size >= self.transition_bytes_min);
        let colder = allowed.filter(|(_, class)| is_colder(class, seen.version.storage_class.as_deref()));
        let (rule, class) = colder.max_by_key(|(_, class)| rank(class))?;
        Some(Decision {
            rule_id: rule.id(),
            action: LifecycleAction::Transition,
            version: Some(seen.version),
            storage_class: Some(class),
        })
    }
}

/// A delete marker has neither tags nor a size: filters by those are not for it.
fn takes(rule: &Rule, seen: &Seen<'_, '_>) -> bool {
    let Version { key, size, is_delete_marker, .. } = seen.version;
    let filter = rule.filter();
    if *is_delete_marker {
        filter.is_of_prefix_only() && filter.takes_key(key, 0)
    } else {
        filter.takes(key, *size, seen.tags)
    }
}

fn removal(rule: &Rule, seen: &Seen<'_, '_>) -> Option<LifecycleAction> {
    let version = seen.version;
    if !version.is_latest {
        let rule = rule.noncurrent_version_expiration.as_ref()?;
        let is_due = is_noncurrent_for(rule.noncurrent_days, seen);
        // A delete marker is no version to keep.
        let is_kept = seen.newer_noncurrent < rule.newer_noncurrent_versions && !version.is_delete_marker;
        return (is_due && !is_kept).then_some(LifecycleAction::DeleteVersion);
    }
    let expiration = rule.expiration.as_ref()?;
    if version.is_delete_marker {
        let is_expired = expiration.expired_object_delete_marker || is_past(expiration, version, seen.now);
        return (seen.is_only && is_expired).then_some(LifecycleAction::DeleteVersion);
    }
    is_past(expiration, version, seen.now).then_some(LifecycleAction::Delete)
}

fn is_past(expiration: &Expiration, version: &Version, now: DateTime<Utc>) -> bool {
    let by_age = expiration.days.is_some_and(|days| due(version.last_modified, days) <= now);
    by_age || expiration.date.is_some_and(|date| date <= now)
}

fn is_noncurrent_for(days: u32, seen: &Seen<'_, '_>) -> bool {
    seen.successor.is_some_and(|since| due(since, days) <= seen.now)
}

fn due_transitions<'a>(rule: &'a Rule, seen: &Seen<'_, '_>) -> Box<dyn Iterator<Item = &'a str> + 'a> {
    let (time, now) = (seen.version.last_modified, seen.now);
    if seen.version.is_latest {
        let due = rule.transitions.iter().filter(move |it| {
            it.days.is_some_and(|days| due(time, days) <= now) || it.date.is_some_and(|date| date <= now)
        });
        return Box::new(due.map(|it| it.storage_class.as_str()));
    }
    let (successor, newer) = (seen.successor, seen.newer_noncurrent);
    let due = rule.noncurrent_version_transitions.iter().filter(move |it| {
        let is_old = successor.is_some_and(|since| due(since, it.noncurrent_days) <= now);
        is_old && newer >= it.newer_noncurrent_versions
    });
    Box::new(due.map(|it| it.storage_class.as_str()))
}

fn rank(class: &str) -> usize {
    CLASSES.iter().position(|known| *known == class).unwrap_or_default()
}

/// Of classes that AWS has not, only that they differ is known.
fn is_colder(class: &str, from: Option<&str>) -> bool {
    let from = from.unwrap_or(CLASSES[0]);
    let is_known = |class: &str| CLASSES.contains(&class);
    if is_known(class) && is_known(from) { rank(class) > rank(from) } else { class != from }
}
