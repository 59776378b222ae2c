//! When periodic tasks fire, which task each fire becomes, and what is refused.

use taskqueue_core::{ErrorKind, Priority, Shards};

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn task() -> NewTask {
    NewTask::raw("report", "{}").expect("a valid task")
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("a valid time")
}

/// The times of the fires after `from`, as text.
fn fires(periodic: &Periodic, from: &str, number: usize) -> Vec<String> {
    let next = std::iter::successors(Some(at(from)), |time| periodic.next_after(*time));
    next.skip(1).take(number).map(text).collect()
}

/// What is wrong with it.
fn refusal(made: Result<Periodic>) -> String {
    let error = made.expect_err("it must be refused");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    error.to_string()
}

#[test]
fn intervals_count_from_1970_so_that_all_workers_agree() {
    let hourly = Periodic::every("tidy", HOUR, task()).unwrap();
    let expected = ["2026-01-01T01:00:00Z", "2026-01-01T02:00:00Z"];
    assert_eq!(fires(&hourly, "2026-01-01T00:00:00Z", 2), expected);
    assert_eq!(fires(&hourly, "2026-01-01T00:59:59.999999Z", 2), expected);
    assert_eq!(fires(&hourly, "1969-12-31T23:10:00Z", 1), ["1970-01-01T00:00:00Z"]);
    let odd = Periodic::every("odd", Duration::from_millis(1_500), task()).unwrap();
    assert_eq!(fires(&odd, "1970-01-01T00:00:00Z", 2), ["1970-01-01T00:00:01.500Z", "1970-01-01T00:00:03Z"]);
    assert_eq!(hourly.next_after(Timestamp::MAX_UTC), None);
}

#[test]
fn an_interval_that_is_too_short_or_too_long_is_refused_by_name() {
    for interval in [Duration::ZERO, Duration::from_millis(999)] {
        let said = refusal(Periodic::every("tidy", interval, task()));
        assert!(said.contains("\"tidy\"") && said.contains("expected 1s at least"), "{said}");
    }
    let said = refusal(Periodic::every("tidy", Duration::MAX, task()));
    assert!(said.contains("a thousand years at most"), "{said}");
}

#[test]
fn a_cron_expression_fires_at_its_times_in_utc() {
    for (expression, expected) in [
        ("0 3 * * *", ["2026-01-01T03:00:00Z", "2026-01-02T03:00:00Z"]),
        ("*/20 * * * *", ["2026-01-01T00:20:00Z", "2026-01-01T00:40:00Z"]),
        ("0 0 * * MON", ["2026-01-05T00:00:00Z", "2026-01-12T00:00:00Z"]),
        ("0 0 13 * 5", ["2026-01-02T00:00:00Z", "2026-01-09T00:00:00Z"]),
        ("30 0 0 1 2 *", ["2026-02-01T00:00:30Z", "2027-02-01T00:00:30Z"]),
        ("0 0 L * *", ["2026-01-31T00:00:00Z", "2026-02-28T00:00:00Z"]),
        ("0 0 29 2 *", ["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"]),
        ("@monthly", ["2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"]),
    ] {
        let periodic = Periodic::cron("report", expression, task()).unwrap();
        assert_eq!(fires(&periodic, "2026-01-01T00:00:00Z", 2), expected, "{expression}");
        assert_eq!(fires(&periodic, "2026-01-01T00:00:00.000001Z", 2), expected, "{expression}");
    }
}

#[test]
fn a_bad_cron_expression_is_refused_with_what_was_expected() {
    let bad = [
        "",
        " ",
        "0 25 * * *",
        "every day",
        "* * * *",
        "0 0 3 * * * 2027",
        "0 3 * * FOO",
        "*/0 * * * *",
        "@often",
    ];
    for expression in bad {
        let said = refusal(Periodic::cron("report", expression, task()));
        assert!(said.starts_with("worker: periodic task \"report\": the cron expression"), "{said}");
        assert!(said.contains(&format!("{expression:?}")) && said.contains("expected five fields"), "{said}");
    }
}

#[test]
fn a_cron_expression_that_never_fires_is_refused() {
    let said = refusal(Periodic::cron("report", "0 0 30 2 *", task()));
    assert!(said.contains("\"0 0 30 2 *\" never fires"), "{said}");
}

#[cfg(feature = "time-zones")]
#[test]
fn a_time_zone_moves_the_fires_and_its_summer_time_too() {
    let berlin = |expression| {
        Periodic::cron("report", expression, task()).unwrap().in_time_zone("Europe/Berlin").unwrap()
    };
    // The clock goes from 2 to 3 on 29 March and from 3 to 2 on 25 October 2026.
    let nightly = berlin("0 3 * * *");
    let spring = ["2026-03-28T02:00:00Z", "2026-03-29T01:00:00Z", "2026-03-30T01:00:00Z"];
    assert_eq!(fires(&nightly, "2026-03-28T00:00:00Z", 3), spring);
    let in_the_gap = berlin("30 2 * * *");
    assert_eq!(
        fires(&in_the_gap, "2026-03-29T00:00:00Z", 2),
        ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
    );
    assert_eq!(
        fires(&in_the_gap, "2026-10-25T00:00:00Z", 2),
        ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
    );
    let steps = berlin("*/30 2 * * *");
    let both_hours =
        ["2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z"];
    assert_eq!(fires(&steps, "2026-10-24T12:00:00Z", 4), both_hours);
    // Only one time of day is fixed; two are a list.
    let twice = berlin("30 2,14 * * *");
    let without_the_gap = ["2026-03-28T13:30:00Z", "2026-03-29T12:30:00Z", "2026-03-30T00:30:00Z"];
    assert_eq!(fires(&twice, "2026-03-28T12:00:00Z", 3), without_the_gap);
    let both_hours_again = ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T13:30:00Z"];
    assert_eq!(fires(&twice, "2026-10-24T20:00:00Z", 3), both_hours_again);
    let unknown = Periodic::cron("report", "0 3 * * *", task()).unwrap().in_time_zone("Europe/Atlantis");
    let said = refusal(unknown);
    assert!(
        said.contains("\"Europe/Atlantis\" is not known, expected a name of the IANA database"),
        "{said}"
    );
    let said = refusal(Periodic::every("tidy", HOUR, task()).unwrap().in_time_zone("Europe/Berlin"));
    assert!(said.contains("no cron expression"), "{said}");
}

#[test]
fn a_fire_is_a_task_whose_id_is_derived_from_name_type_and_time() {
    let fire = at("2026-01-02T03:00:00Z");
    let given = task().priority(Priority::HIGH).max_retries(7).region("eu").metadata("traceparent", "00");
    let made = Periodic::cron("nightly-report", "0 3 * * *", given).unwrap().task_at(fire);

    assert_eq!(
        made.id.to_string(),
        "019b7ca5-cf80-7f71-90f3-3f8ce457cd8a",
        "it is the same in every process"
    );
    assert_eq!(made.id.as_uuid().get_version_num(), 7);
    assert_eq!(made.id.as_uuid().as_u128() >> 80, u128::from(fire.timestamp_millis().unsigned_abs()));
    assert_eq!((made.schedule, made.priority, made.max_retries), (Schedule::At(fire), Priority::HIGH, 7));
    let metadata = made.metadata.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>();
    assert_eq!(metadata, ["fire_at=2026-01-02T03:00:00Z", "periodic=nightly-report", "traceparent=00"]);
    assert_eq!(made.region.as_deref(), Some("eu"));
}

#[test]
fn fires_differ_by_name_by_type_and_by_time() {
    let fire = at("2026-01-02T03:00:00Z");
    let id = |name: &str, task_type: &str, fire| {
        let task = NewTask::raw(task_type, "{}").unwrap();
        Periodic::every(name, HOUR, task).unwrap().task_at(fire).id
    };
    let ids = [
        id("a", "b", fire),
        id("b", "b", fire),
        id("a", "c", fire),
        id("ab", "b", fire),
        id("a", "b", fire + HOUR),
    ];
    assert_eq!(ids.iter().collect::<std::collections::HashSet<_>>().len(), ids.len());
}

#[test]
fn fires_with_a_unique_key_are_in_the_shard_of_the_key() {
    let shards = Shards::new(1024).unwrap();
    let periodic = Periodic::every("tidy", HOUR, task().unique_key("k")).unwrap();
    for hour in 0..20 {
        shards
            .check(&periodic.task_at(at("2026-01-01T00:00:00Z") + hour * HOUR))
            .expect("it is where its key is");
    }
}

#[test]
fn a_task_or_a_name_that_no_fire_can_have_is_refused() {
    let every = |name: &str, task| refusal(Periodic::every(name, HOUR, task));
    assert!(every("tidy", task().delay(HOUR)).contains("a fire's time is its own"));
    assert!(every("tidy", task().max_retries(0)).contains("max_retries 0"));
    for name in ["", "a\nb", &"x".repeat(101)] {
        assert!(every(name, task()).contains("the name is not 1 to 100 printable characters"), "{name:?}");
    }
}
