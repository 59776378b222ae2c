//! Figures: the table that is printed, and the JSON that is kept.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use taskqueue_bench::engine::Kind;
use taskqueue_bench::report::Samples;

use crate::trial::Trial;

/// What the bare program is called.
pub(crate) const BARE: &str = "the bare limit";

/// What one contestant reached in one trial.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    pub(crate) engine: String,
    pub(crate) peer: String,
    pub(crate) trial: String,
    /// Tasks of each round.
    pub(crate) tasks: usize,
    /// Tasks a second, or milliseconds.
    pub(crate) median: Option<f64>,
    /// Of a latency.
    pub(crate) p99: Option<f64>,
    /// From the least to the most of the rounds, as a part of the median.
    pub(crate) spread: Option<f64>,
    /// The median as a part of the bare program's in the same trial.
    pub(crate) share: Option<f64>,
    /// Why there is no figure.
    pub(crate) error: Option<String>,
}

impl Figure {
    /// The figure of all samples of all rounds.
    pub(crate) fn new(kind: Kind, peer: &str, trial: Trial, tasks: usize, samples: &Result<Samples>) -> Self {
        let is_latency = matches!(trial, Trial::Latency(_));
        let samples_of = samples.as_ref().ok();
        Self {
            engine: kind.to_string(),
            peer: peer.to_owned(),
            trial: trial.name(),
            tasks,
            median: samples_of.map(Samples::median),
            p99: samples_of.filter(|_| is_latency).map(|samples| samples.quantile(0.99)),
            spread: samples_of.filter(|_| !is_latency).map(Samples::spread),
            share: None,
            error: samples.as_ref().err().map(|error| format!("{error:#}")),
        }
    }

    fn cell(&self, most_tasks: usize) -> String {
        let Some(median) = self.median else { return "–".to_owned() };
        let fewer = if self.tasks < most_tasks { format!(", {} tasks", self.tasks) } else { String::new() };
        match (self.p99, self.share) {
            (Some(p99), _) => format!("{median:.1} / {p99:.1}"),
            (None, Some(share)) => format!("{median:.0} ({share:.2}{fewer})"),
            (None, None) => format!("{median:.0}{fewer}"),
        }
    }
}

/// Fills in what part of the bare program's each figure is.
pub(crate) fn share(figures: &mut [Figure]) {
    let limits: BTreeMap<String, f64> = figures
        .iter()
        .filter(|figure| figure.peer == BARE)
        .filter_map(|figure| Some((figure.trial.clone(), figure.median?)))
        .collect();
    for figure in figures {
        figure.share = figure.median.zip(limits.get(&figure.trial)).map(|(median, limit)| median / limit);
    }
}

/// The figures of an engine and a workload as a table in Markdown: a row for each peer, a column for each trial; then
/// what failed, and why.
pub(crate) fn table(figures: &[Figure]) -> String {
    let trials = distinct(figures, |figure| &figure.trial);
    let most = |trial: &str| {
        figures.iter().filter(|figure| figure.trial == trial).map(|figure| figure.tasks).max().unwrap_or(0)
    };
    let mut lines =
        vec![format!("| | {} |", trials.join(" | ")), format!("|---|{}", "--:|".repeat(trials.len()))];
    for peer in distinct(figures, |figure| &figure.peer) {
        let cells = trials.iter().map(|trial| {
            let figure = figures.iter().find(|figure| figure.peer == peer && figure.trial == *trial);
            figure.map_or_else(String::new, |figure| figure.cell(most(trial)))
        });
        lines.push(format!("| {peer} | {} |", cells.collect::<Vec<_>>().join(" | ")));
    }
    let failed = figures.iter().filter_map(|figure| {
        Some(format!("- {}: {}: {}", figure.peer, figure.trial, figure.error.as_deref()?))
    });
    lines.push(String::new());
    lines.extend(failed);
    lines.join("\n")
}

fn distinct<'a>(figures: &'a [Figure], name: impl Fn(&'a Figure) -> &'a String) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for figure in figures {
        if !names.contains(&name(figure).as_str()) {
            names.push(name(figure));
        }
    }
    names
}

/// Writes the figures to a file, as a JSON list.
pub(crate) fn write_json(figures: &[Figure], path: &Path) -> Result<()> {
    let text = serde_json::to_string_pretty(figures)? + "\n";
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
