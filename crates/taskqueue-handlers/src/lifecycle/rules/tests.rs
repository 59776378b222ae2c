//! Which rule applies to what, and when.

use super::*;

fn time(text: &str) -> DateTime<Utc> {
    text.parse().expect("a time")
}

fn version(id: &str, is_latest: bool, at: &str) -> Version {
    Version {
        key: "logs/a".to_owned(),
        version_id: Some(id.to_owned()),
        is_latest,
        is_delete_marker: false,
        size: 1000,
        etag: "e".to_owned(),
        last_modified: time(at),
        storage_class: None,
    }
}

fn rules(rule: &str) -> Rules {
    let json = format!(r#"{{"Rules": [{{"ID": "r", "Status": "Enabled", {rule}}}]}}"#);
    Rules::parse(&json).expect("valid rules")
}

fn decided(rules: &Rules, versions: &[Version], now: &str) -> Vec<(String, &'static str, Option<String>)> {
    let decisions = rules.apply(versions, &BTreeMap::new(), time(now));
    let shown = |it: Decision<'_>| {
        let id = it.version.and_then(|version| version.version_id.clone()).unwrap_or_default();
        (id, it.action.as_str(), it.storage_class.map(str::to_owned))
    };
    decisions.into_iter().map(shown).collect()
}

fn one(id: &str, action: &'static str, class: Option<&str>) -> Vec<(String, &'static str, Option<String>)> {
    vec![(id.to_owned(), action, class.map(str::to_owned))]
}

#[test]
fn an_object_expires_at_the_midnight_after_its_days() {
    let rules = rules(r#""Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 2}"#);
    let object = [version("1", true, "2026-01-01T10:00:00Z")];
    assert_eq!(decided(&rules, &object, "2026-01-03T23:59:59Z"), []);
    assert_eq!(decided(&rules, &object, "2026-01-04T00:00:00Z"), one("1", "delete", None));
}

#[test]
fn what_the_filter_does_not_take_is_left_alone() {
    let object = [version("1", true, "2020-01-01T00:00:00Z")];
    for filter in [
        r#"{"Prefix": "other/"}"#,
        r#"{"ObjectSizeGreaterThan": 1000}"#,
        r#"{"ObjectSizeLessThan": 1000}"#,
        r#"{"And": {"Prefix": "logs/", "Tags": [{"Key": "k", "Value": "v"}]}}"#,
    ] {
        let rules = rules(&format!(r#""Filter": {filter}, "Expiration": {{"Days": 1}}"#));
        assert_eq!(decided(&rules, &object, "2026-01-01T00:00:00Z"), [], "{filter}");
    }
    let disabled = r#"{"Rules": [{"Status": "Disabled", "Prefix": "", "Expiration": {"Days": 1}}]}"#;
    assert!(Rules::parse(disabled).expect("valid rules").is_empty());
}

#[test]
fn a_filter_by_tag_takes_what_has_it() {
    let rules = rules(r#""Filter": {"Tag": {"Key": "k", "Value": "v"}}, "Expiration": {"Days": 1}"#);
    let object = [version("1", true, "2020-01-01T00:00:00Z")];
    assert!(rules.needs_tags(&object[0]));
    let tags = BTreeMap::from([(Some("1".to_owned()), Tags::from([("k".to_owned(), "v".to_owned())]))]);
    assert_eq!(rules.apply(&object, &tags, time("2026-01-01T00:00:00Z")).len(), 1);
}

#[test]
fn noncurrent_versions_expire_by_their_successors_time_and_the_newest_are_kept() {
    let rules = rules(
        r#""Filter": {}, "NoncurrentVersionExpiration": {"NoncurrentDays": 1, "NewerNoncurrentVersions": 1}"#,
    );
    let versions = [
        version("4", true, "2026-01-10T00:00:00Z"),
        version("3", false, "2026-01-03T00:00:00Z"),
        version("2", false, "2026-01-02T00:00:00Z"),
        version("1", false, "2026-01-01T00:00:00Z"),
    ];
    let expired = decided(&rules, &versions, "2026-01-03T12:00:00Z");
    assert_eq!(expired, one("1", "delete_version", None), "2 became noncurrent on the third only");
    let expired = decided(&rules, &versions, "2027-01-01T00:00:00Z");
    assert_eq!(expired.iter().map(|it| it.0.as_str()).collect::<Vec<_>>(), ["2", "1"], "3 is kept");
}

#[test]
fn of_transitions_that_are_due_the_coldest_is_chosen_and_nothing_gets_warmer() {
    let rules = rules(
        r#""Filter": {}, "Transitions": [{"Days": 30, "StorageClass": "STANDARD_IA"}, {"Days": 90, "StorageClass": "GLACIER"}]"#,
    );
    let mut object = [version("1", true, "2026-01-01T00:00:00Z")];
    assert_eq!(decided(&rules, &object, "2026-02-01T00:00:00Z"), one("1", "transition", Some("STANDARD_IA")));
    assert_eq!(decided(&rules, &object, "2026-06-01T00:00:00Z"), one("1", "transition", Some("GLACIER")));
    object[0].storage_class = Some("DEEP_ARCHIVE".to_owned());
    assert_eq!(decided(&rules, &object, "2026-06-01T00:00:00Z"), []);
}

#[test]
fn removal_comes_before_a_transition() {
    let rules = rules(
        r#""Filter": {}, "Expiration": {"Days": 5}, "Transitions": [{"Days": 1, "StorageClass": "GLACIER"}]"#,
    );
    let object = [version("1", true, "2026-01-01T00:00:00Z")];
    assert_eq!(decided(&rules, &object, "2026-02-01T00:00:00Z"), one("1", "delete", None));
}

#[test]
fn noncurrent_versions_have_transitions_of_their_own() {
    let rules = rules(
        r#""Filter": {}, "NoncurrentVersionTransitions": [{"NoncurrentDays": 1, "StorageClass": "GLACIER"}]"#,
    );
    let versions = [version("2", true, "2026-01-02T00:00:00Z"), version("1", false, "2026-01-01T00:00:00Z")];
    assert_eq!(decided(&rules, &versions, "2026-02-01T00:00:00Z"), one("1", "transition", Some("GLACIER")));
}

#[test]
fn a_delete_marker_is_removed_once_it_hides_nothing() {
    let rules = rules(r#""Filter": {}, "Expiration": {"ExpiredObjectDeleteMarker": true}"#);
    let marker = Version { is_delete_marker: true, ..version("2", true, "2026-01-02T00:00:00Z") };
    let hidden = version("1", false, "2026-01-01T00:00:00Z");
    let now = "2026-02-01T00:00:00Z";
    assert_eq!(decided(&rules, &[marker.clone(), hidden], now), []);
    assert_eq!(decided(&rules, &[marker], now), one("2", "delete_version", None));
}

#[test]
fn small_objects_do_not_move_where_the_configuration_says_so() {
    let json = r#"{"TransitionDefaultMinimumObjectSize": "all_storage_classes_128K", "Rules":
        [{"Status": "Enabled", "Filter": {}, "Transitions": [{"Days": 1, "StorageClass": "GLACIER"}]}]}"#;
    let rules = Rules::parse(json).expect("valid rules");
    let mut object = [version("1", true, "2026-01-01T00:00:00Z")];
    assert_eq!(decided(&rules, &object, "2026-02-01T00:00:00Z"), []);
    object[0].size = 128 * 1024;
    assert_eq!(decided(&rules, &object, "2026-02-01T00:00:00Z").len(), 1);
}

#[test]
fn rules_that_s3_would_refuse_are_refused_by_number() {
    for rule in [
        r#""Filter": {}"#,
        r#""Filter": {}, "Expiration": {"Days": 1, "ExpiredObjectDeleteMarker": true}"#,
        r#""Filter": {}, "Expiration": {"Days": 0}"#,
        r#""Filter": {}, "Transitions": [{"StorageClass": "GLACIER"}]"#,
        r#""Filter": {}, "Prefix": "a", "Expiration": {"Days": 1}"#,
        r#""Filter": {}, "Expiratoin": {"Days": 1}"#,
    ] {
        let json = format!(r#"{{"Rules": [{{"Status": "Enabled", {rule}}}]}}"#);
        assert!(Rules::parse(&json).is_err(), "{rule}");
    }
}
