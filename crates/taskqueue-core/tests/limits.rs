//! The limits of what is enqueued and of identifiers, each at its exact boundary.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use proptest::prelude::*;
use taskqueue_core::batches::{check_limit, validate_batch};
use taskqueue_core::clock::DURATION_MAX;
use taskqueue_core::new_task::{MAX_RETRIES_MAX, METADATA_BYTES_MAX, UNIQUE_KEY_BYTES_MAX};
use taskqueue_core::{
    BATCH_MAX, BATCH_PAYLOAD_BYTES_MAX, ErrorKind, NewTask, PAYLOAD_BYTES_MAX_DEFAULT, Payload, Priority,
    REGION_CHARS_MAX, RawPayload, Result, Schedule, TASK_TYPE_CHARS_MAX, TaskId, TaskType, Timestamp,
    WORKER_ID_CHARS_MAX, WorkerId,
};

fn task() -> NewTask {
    NewTask::raw("welcome", "{}").unwrap()
}

fn validate(task: &NewTask) -> Result<()> {
    task.validate(PAYLOAD_BYTES_MAX_DEFAULT)
}

fn refused(task: &NewTask) -> ErrorKind {
    let error = validate(task).unwrap_err();
    assert!(!error.is_transient(), "{error}");
    error.kind()
}

/// JSON text of this many bytes: a string.
fn json_of(bytes: usize) -> String {
    format!("\"{}\"", "x".repeat(bytes - 2))
}

#[test]
fn a_plain_task_has_the_documented_defaults_and_passes() {
    let task = task();
    assert_eq!((task.priority, task.max_retries, task.schedule), (Priority(5), 3, Schedule::Now));
    validate(&task).unwrap();
}

#[test]
fn a_payload_may_have_exactly_the_limit_and_no_byte_more() {
    let fits = NewTask::raw("a", json_of(PAYLOAD_BYTES_MAX_DEFAULT)).unwrap();
    validate(&fits).unwrap();
    let over = NewTask::raw("a", json_of(PAYLOAD_BYTES_MAX_DEFAULT + 1)).unwrap();
    assert_eq!(refused(&over), ErrorKind::InvalidPayload);
    over.validate(PAYLOAD_BYTES_MAX_DEFAULT + 1).unwrap();
}

#[test]
fn text_that_is_not_one_json_value_is_refused() {
    for text in ["", " ", "{", "{} {}", "{'a':1}", "nul", "\"\u{1}\"", "[1,]"] {
        let error = NewTask::raw("a", text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidPayload, "{text:?}");
    }
}

#[test]
fn stored_text_that_is_not_json_is_written_as_a_json_string_and_json_as_it_is() {
    let written = |text: &str| serde_json::to_string(&RawPayload::from_stored(text)).unwrap();
    assert_eq!(written("not \"JSON\""), r#""not \"JSON\"""#);
    assert_eq!(written("nul"), r#""nul""#);
    assert_eq!(written(r#"{ "z": 1.0 }"#), r#"{ "z": 1.0 }"#);
}

#[test]
fn a_value_without_a_json_form_is_refused() {
    let map = std::collections::BTreeMap::from([(vec![1], 2)]);
    assert_eq!(NewTask::json("a", &map).unwrap_err().kind(), ErrorKind::InvalidPayload);
}

#[test]
fn max_retries_is_within_its_range() {
    for attempts in [1, MAX_RETRIES_MAX] {
        validate(&task().max_retries(attempts)).unwrap();
    }
    for attempts in [0, MAX_RETRIES_MAX + 1] {
        assert_eq!(refused(&task().max_retries(attempts)), ErrorKind::InvalidInput);
    }
}

#[test]
fn a_task_is_scheduled_within_the_years_1_to_9999() {
    let [first, last] = ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"]
        .map(|time| time.parse::<Timestamp>().unwrap());
    let microsecond = std::time::Duration::from_micros(1);
    for good in [first, last] {
        validate(&task().scheduled_at(good)).unwrap();
    }
    for bad in [Timestamp::MIN_UTC, first - microsecond, last + microsecond, Timestamp::MAX_UTC] {
        assert_eq!(refused(&task().scheduled_at(bad)), ErrorKind::InvalidInput, "{bad}");
    }
}

#[test]
fn a_delay_is_at_most_a_thousand_years_and_a_longer_one_is_refused_not_cut() {
    validate(&task().delay(DURATION_MAX)).unwrap();
    let over = task().delay(DURATION_MAX + std::time::Duration::from_nanos(1));
    assert_eq!(refused(&over), ErrorKind::InvalidInput);
    let error = validate(&over).unwrap_err().to_string();
    assert!(error.contains("longer than the limit of 31536000000s, 1,000 years"), "{error}");
}

#[test]
fn a_unique_key_has_one_to_two_hundred_bytes_without_nul() {
    for key in ["k".to_owned(), "k".repeat(UNIQUE_KEY_BYTES_MAX), "é".repeat(UNIQUE_KEY_BYTES_MAX / 2)] {
        validate(&task().unique_key(key)).unwrap();
    }
    for key in [
        String::new(),
        "k".repeat(UNIQUE_KEY_BYTES_MAX + 1),
        "é".repeat(UNIQUE_KEY_BYTES_MAX / 2 + 1),
        "a\0b".to_owned(),
    ] {
        assert_eq!(refused(&task().unique_key(key)), ErrorKind::InvalidInput);
    }
}

#[test]
fn a_region_has_one_to_fifty_printable_characters() {
    for region in ["r".to_owned(), "é".repeat(REGION_CHARS_MAX)] {
        validate(&task().region(region)).unwrap();
    }
    for (region, wrong) in [
        (String::new(), "region is empty"),
        ("r".repeat(REGION_CHARS_MAX + 1), "region has 51 characters, more than the limit of 50"),
        ("a\tb".to_owned(), "region has a control character, '\\t'"),
        ("a\u{202e}b".to_owned(), "region has a control character, '\\u{202e}'"),
    ] {
        let task = task().region(region);
        assert_eq!(refused(&task), ErrorKind::InvalidInput);
        assert!(validate(&task).unwrap_err().to_string().contains(wrong), "{wrong}");
    }
}

#[test]
fn metadata_is_bounded_by_its_keys_and_values_together() {
    let fits = task().metadata("key", "v".repeat(METADATA_BYTES_MAX - 3));
    validate(&fits).unwrap();
    assert_eq!(refused(&fits.metadata("k", "")), ErrorKind::InvalidInput);
}

#[test]
fn an_error_names_the_task_and_its_type() {
    let task = task().max_retries(0);
    let error = validate(&task).unwrap_err();
    assert_eq!(error.task_id(), Some(task.id));
    assert!(
        error.to_string().ends_with("max_retries 0 is not in 1..=1000000 (task type welcome)"),
        "{error}"
    );
}

#[test]
fn a_batch_may_have_exactly_the_limit_and_each_of_its_tasks_is_checked() {
    let mut tasks = vec![task(); BATCH_MAX];
    validate_batch(&tasks, PAYLOAD_BYTES_MAX_DEFAULT).unwrap();
    tasks.push(task());
    let error = validate_batch(&tasks, PAYLOAD_BYTES_MAX_DEFAULT).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let with_a_bad_one = [task(), task().max_retries(0)];
    assert!(validate_batch(&with_a_bad_one, PAYLOAD_BYTES_MAX_DEFAULT).is_err());
    validate_batch(&[], PAYLOAD_BYTES_MAX_DEFAULT).unwrap();
}

/// Copies of a task share its payload.
#[test]
fn payloads_of_a_batch_may_add_up_to_exactly_the_limit_and_no_byte_more() {
    let large = NewTask::raw("a", json_of(PAYLOAD_BYTES_MAX_DEFAULT)).unwrap();
    let mut tasks = vec![large; BATCH_PAYLOAD_BYTES_MAX / PAYLOAD_BYTES_MAX_DEFAULT];
    validate_batch(&tasks, PAYLOAD_BYTES_MAX_DEFAULT).unwrap();
    tasks.push(NewTask::raw("a", "1").unwrap());
    let error = validate_batch(&tasks, PAYLOAD_BYTES_MAX_DEFAULT).unwrap_err();
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::InvalidInput, false), "{error}");
    validate_batch(&tasks, BATCH_PAYLOAD_BYTES_MAX + 1).unwrap();
}

#[test]
fn a_limit_is_at_least_one_and_at_most_that_of_a_batch() {
    for limit in [1, BATCH_MAX] {
        check_limit("list", limit).unwrap();
    }
    for limit in [0, BATCH_MAX + 1, usize::MAX] {
        assert_eq!(check_limit("list", limit).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn a_task_type_has_one_to_sixty_four_of_its_characters() {
    for name in ["a".to_owned(), "z9_.:-".to_owned(), "x".repeat(TASK_TYPE_CHARS_MAX)] {
        assert_eq!(TaskType::new(&name).unwrap().as_str(), name);
    }
    for name in
        [String::new(), "x".repeat(TASK_TYPE_CHARS_MAX + 1), "A".to_owned(), "a b".to_owned(), "é".to_owned()]
    {
        assert_eq!(TaskType::new(&name).unwrap_err().kind(), ErrorKind::InvalidInput, "{name}");
    }
}

#[test]
fn a_worker_id_has_one_to_a_hundred_printable_characters() {
    for id in ["w".to_owned(), "Ada's host/7".to_owned(), "é".repeat(WORKER_ID_CHARS_MAX)] {
        assert_eq!(WorkerId::new(&id).unwrap().as_str(), id);
    }
    for id in [String::new(), "é".repeat(WORKER_ID_CHARS_MAX + 1), "a\tb".to_owned(), "a\0".to_owned()] {
        assert_eq!(WorkerId::new(&id).unwrap_err().kind(), ErrorKind::InvalidInput, "{id}");
    }
}

#[test]
fn unique_worker_ids_keep_the_name_and_differ() {
    let [one, other] = [(); 2].map(|()| WorkerId::unique("ada").unwrap());
    assert!(one.as_str().starts_with("ada-") && one.as_str().len() == "ada-".len() + 8, "{one}");
    assert_ne!(one, other);
    assert!(WorkerId::unique(&"x".repeat(WORKER_ID_CHARS_MAX - 9)).is_ok());
    assert!(WorkerId::unique(&"x".repeat(WORKER_ID_CHARS_MAX - 8)).is_err());
}

#[test]
fn malformed_identifiers_are_refused_in_json_too() {
    assert!(serde_json::from_str::<TaskType>("\"No\"").is_err());
    assert!(serde_json::from_str::<WorkerId>("\"\"").is_err());
    assert!(serde_json::from_str::<TaskId>("\"7\"").is_err());
    assert_eq!("7".parse::<TaskId>().unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_payload_says_how_many_attempts_its_tasks_have() {
    #[derive(serde::Serialize)]
    struct Once;
    impl Payload for Once {
        const TYPE: &'static str = "once";
        const MAX_RETRIES: u32 = 1;
    }
    assert_eq!(NewTask::new(&Once).unwrap().max_retries, 1);
    assert_eq!(NewTask::new(&&Once).unwrap().max_retries, 1);
    assert_eq!(NewTask::new(&Once).unwrap().max_retries(7).max_retries, 7);
}

#[test]
fn a_clone_is_the_same_task_and_a_copy_with_a_new_id_another() {
    let template = NewTask::raw("a", "{}").unwrap().id(uuid::Uuid::from_u128(7)).priority(9);
    assert_eq!(template.clone().id, template.id);
    let copy = template.copy_with_new_id();
    assert_ne!(copy.id, template.id);
    assert_eq!(copy.id(template.id), template, "all else is the same");
    let unique = NewTask::raw("a", "{}").unwrap().unique_key("k");
    let bits = |task: &NewTask| uuid::Uuid::from(task.id).as_u128() & 0xffff;
    assert_eq!(bits(&unique.copy_with_new_id()), bits(&unique), "where its key is unique");
}

#[test]
fn the_debug_form_of_a_task_tells_how_long_its_payload_is_and_not_what_is_in_it() {
    let shown = format!("{:?}", NewTask::raw("a", r#"{"iban":"DE02"}"#).unwrap());
    assert!(shown.contains("15 bytes") && !shown.contains("DE02"), "{shown}");
}

#[test]
fn a_task_type_is_compared_with_and_made_of_text() {
    let mail = TaskType::try_from("mail").unwrap();
    assert!(mail == *"mail" && mail == "mail" && mail.as_ref() == "mail");
    assert!(TaskType::try_from("Mail".to_owned()).is_err());
}

#[test]
fn tasks_with_one_unique_key_have_ids_with_the_same_low_bits() {
    let low = |task: &NewTask| task.id.as_uuid().as_u128() as u16;
    let [one, other] = [(); 2].map(|()| task().unique_key("order-7"));
    assert_ne!(one.id, other.id);
    assert_eq!(low(&one), low(&other));
    // Stored ids depend on it, so the value never changes either.
    assert_eq!(low(&one), ORDER_7_BITS);
}

/// FNV-1a of `welcome`, NUL, `order-7`, its four 16-bit parts folded by exclusive or.
const ORDER_7_BITS: u16 = 0xb610;

#[test]
fn an_id_that_was_given_is_kept_with_a_unique_key() {
    let id = TaskId::generate();
    assert_eq!(task().id(id).unique_key("k").id, id);
    assert_eq!(task().unique_key("k").id(id).id, id);
}

#[test]
fn scheduled_times_are_cut_to_microseconds() {
    let time = "2026-01-01T00:00:00.123456789Z".parse().unwrap();
    let expected = Schedule::At("2026-01-01T00:00:00.123456Z".parse().unwrap());
    assert_eq!(task().scheduled_at(time).schedule, expected);
}

proptest! {
    #[test]
    fn a_task_type_is_valid_exactly_when_it_has_the_documented_form(name in "\\PC{0,70}|[a-z0-9_.:-]{0,70}") {
        let documented = (1..=64).contains(&name.len())
            && name.chars().all(|char| "abcdefghijklmnopqrstuvwxyz0123456789_.:-".contains(char));
        prop_assert_eq!(TaskType::new(&name).is_ok(), documented);
    }

    #[test]
    fn json_text_is_kept_byte_for_byte(value in any::<f64>(), text in any::<String>(), padding in "[ \n\t]{0,5}") {
        prop_assume!(value.is_finite());
        let json = format!("{padding}[{value:e},{padding}{}]", serde_json::to_string(&text).unwrap());
        let payload = RawPayload::parse(json.as_str()).unwrap();
        prop_assert_eq!(payload.as_str(), json);
    }
}
