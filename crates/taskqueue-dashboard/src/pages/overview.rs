//! The overview: how many tasks there are of what, what is paused, and how that went in the last minutes.

use std::collections::BTreeSet;
use std::time::Duration;

use askama::Template;
use axum::extract::State;
use taskqueue_core::{Status, TaskFilter, TaskType};
use tokio::time::Instant;

use super::{Frame, Page, render};
use crate::chart::{self, Chart};
use crate::filter;
use crate::place::Root;
use crate::served::Here;
use crate::shown::{Moment, duration, thousands};
use crate::statistics::{REMEMBERED, Sample, Snapshot, counts};

/// What a chart's width is at least.
const SPAN_MIN: Duration = Duration::from_secs(60);

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    frame: Frame,
    cards: Vec<Card>,
    types: Vec<Type>,
    scheduled: String,
    oldest: Option<Moment>,
    average: String,
    backend: String,
    now: String,
    /// How far back the charts go.
    span: String,
    width: f64,
    height: f64,
}

/// How many tasks have a status.
struct Card {
    status: Status,
    count: String,
    query: String,
    chart: Chart,
}

/// How many tasks are of a type.
struct Type {
    name: TaskType,
    unfinished: String,
    dead: u64,
    dead_shown: String,
    query: String,
    dead_query: String,
    is_paused: bool,
}

/// Shows it.
pub(crate) async fn page(State(served): Here, root: Root) -> Page {
    let snapshot = served.statistics.read(&served.asked).await?;
    let samples = served.statistics.samples();
    let (stats, now) = (&snapshot.stats, Instant::now());
    let span = span(&samples, now);
    render(&Overview {
        frame: Frame::new("Overview", root, &served),
        cards: cards(&snapshot, &samples, now, span),
        types: types(&snapshot),
        scheduled: thousands(stats.scheduled),
        oldest: stats.oldest_pending.map(|time| Moment::new(time, snapshot.now)),
        average: average(stats.completed, stats.avg_processing_time_ms),
        backend: format!("{} {}", snapshot.backend.name, snapshot.backend.version),
        now: Moment::new(snapshot.now, snapshot.now).time,
        span: duration(span.as_secs()),
        width: chart::WIDTH,
        height: chart::HEIGHT,
    })
}

/// As far back as was looked, so that the charts are full.
fn span(samples: &[Sample], now: Instant) -> Duration {
    let seen = samples.first().map(|oldest| now.duration_since(oldest.at)).unwrap_or_default();
    seen.clamp(SPAN_MIN, REMEMBERED)
}

fn cards(snapshot: &Snapshot, samples: &[Sample], now: Instant, span: Duration) -> Vec<Card> {
    let counts = Status::ALL.into_iter().zip(counts(&snapshot.stats)).enumerate();
    let card = |(index, (status, count)): (usize, (Status, u64))| {
        let seen: Vec<(Duration, u64)> =
            samples.iter().map(|sample| (now.duration_since(sample.at), sample.counts[index])).collect();
        let chart = Chart::of(&seen, span);
        Card { status, count: thousands(count), query: of_status(None, Some(status)), chart }
    };
    counts.map(card).collect()
}

fn types(snapshot: &Snapshot) -> Vec<Type> {
    let Snapshot { stats, paused, .. } = snapshot;
    let names: BTreeSet<&TaskType> =
        stats.by_type.keys().chain(stats.dead_letter_by_type.keys()).chain(paused).collect();
    let row = |name: &TaskType| {
        let dead = stats.dead_letter_by_type.get(name).copied().unwrap_or_default();
        Type {
            name: name.clone(),
            unfinished: thousands(stats.by_type.get(name).copied().unwrap_or_default()),
            dead,
            dead_shown: thousands(dead),
            query: of_status(Some(name), None),
            dead_query: of_status(Some(name), Some(Status::DeadLetter)),
            is_paused: paused.contains(name),
        }
    };
    names.into_iter().map(row).collect()
}

fn of_status(task_type: Option<&TaskType>, status: Option<Status>) -> String {
    filter::query(&TaskFilter { task_type: task_type.cloned(), status, ..TaskFilter::default() }, None)
}

fn average(completed: u64, milliseconds: f64) -> String {
    if completed == 0 { "–".to_owned() } else { format!("{milliseconds:.1} ms") }
}
