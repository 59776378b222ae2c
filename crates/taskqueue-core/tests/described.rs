//! The units and meanings of metrics, against the page that lists them.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::HashSet;

use metrics::{counter, gauge, histogram, with_local_recorder};
use metrics_util::debugging::DebuggingRecorder;
use taskqueue_core::metrics::Metrics;

/// The names and kinds in the table of `docs/metrics.md`.
fn listed() -> Vec<(String, String)> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
    let text = std::fs::read_to_string(page).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let rows = rows.map(|(name, rest)| (name.to_owned(), rest.split(" |").next().unwrap().to_owned()));
    rows.filter(|(_, kind)| ["counter", "gauge", "histogram"].contains(&kind.as_str())).collect()
}

#[test]
fn every_metric_that_the_page_lists_is_described() {
    let (recorder, metrics) = (DebuggingRecorder::new(), Metrics::new("shop"));
    let listed = listed();
    assert!(listed.len() >= 16, "the table is found: {listed:?}");
    with_local_recorder(&recorder, || {
        metrics.describe();
        for (name, kind) in &listed {
            match kind.as_str() {
                "counter" => counter!(metrics.name(name)).increment(1),
                "gauge" => gauge!(metrics.name(name)).set(1.0),
                _ => histogram!(metrics.name(name)).record(1.0),
            }
        }
    });
    let series = recorder.snapshotter().snapshot().into_vec();
    let described: HashSet<String> = series
        .into_iter()
        .filter(|(_, unit, meaning, _)| unit.is_some() && meaning.is_some())
        .map(|(key, ..)| key.key().name().to_owned())
        .collect();
    for (name, kind) in listed {
        assert!(described.contains(&metrics.name(&name)), "{kind} {name} is not described");
    }
}

#[test]
fn names_without_a_namespace_begin_with_the_subsystem() {
    assert_eq!(Metrics::new("").name("workers_active"), "taskqueue_workers_active");
}
