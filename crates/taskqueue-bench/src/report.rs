//! Figures: medians and spreads, the table that is printed, and the JSON that is kept.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

/// Which side of its bar a ratio is to be on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Better {
    /// At least the bar.
    Higher(f64),
    /// At most the bar.
    Lower(f64),
    /// There is no bar: it is told for what it is.
    Told,
}

/// The samples of one contestant.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Adds one.
    pub fn push(&mut self, sample: f64) {
        self.0.push(sample);
    }

    /// The sample below which the part `rank` (0 to 1) of them is; the mean of the middle two where the median of an
    /// even number is asked.
    ///
    /// # Panics
    /// When there is no sample.
    pub fn quantile(&self, rank: f64) -> f64 {
        assert!(!self.0.is_empty(), "a quantile needs samples");
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        if rank == 0.5 && sorted.len().is_multiple_of(2) {
            return f64::midpoint(sorted[middle - 1], sorted[middle]);
        }
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let place = (sorted.len() as f64 * rank) as usize;
        sorted[place.min(sorted.len() - 1)]
    }

    /// The median.
    ///
    /// # Panics
    /// When there is no sample.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// From the least to the most, as a part of the median.
    pub fn spread(&self) -> f64 {
        let most = self.0.iter().copied().fold(f64::MIN, f64::max);
        let least = self.0.iter().copied().fold(f64::MAX, f64::min);
        if most > least { (most - least) / self.median() } else { 0.0 }
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(samples: I) -> Self {
        Self(samples.into_iter().collect())
    }
}

/// One comparison of what we reach with what it is held against.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// What was measured, and in which unit.
    pub name: String,
    /// On which engine.
    pub engine: String,
    /// Our median.
    pub ours: f64,
    /// What ours is held against.
    pub limit: f64,
    /// `ours / limit`.
    pub ratio: f64,
    /// Where the ratio is to be, if it is to be somewhere; see `passed`.
    pub bar: Option<f64>,
    /// Whether the ratio is on the right side of the bar; true where there is none.
    pub passed: bool,
    /// On which side of the bar.
    #[serde(skip)]
    pub better: Better,
    /// From the least to the most of our samples, as a part of the median.
    pub ours_spread: f64,
    /// The same of what ours is held against.
    pub limit_spread: f64,
}

impl Figure {
    /// A figure whose ratio is that of two numbers.
    pub fn new(name: impl Into<String>, engine: &str, ours: f64, limit: f64, better: Better) -> Self {
        Self::of(name, engine, &Samples(vec![ours]), &Samples(vec![limit]), better)
    }

    /// A figure whose ratio is that of the medians.
    pub fn of(
        name: impl Into<String>,
        engine: &str,
        ours: &Samples,
        limit: &Samples,
        better: Better,
    ) -> Self {
        let ratio = ours.median() / limit.median();
        let (bar, passed) = match better {
            Better::Higher(bar) => (Some(bar), ratio >= bar),
            Better::Lower(bar) => (Some(bar), ratio <= bar),
            Better::Told => (None, true),
        };
        Self {
            name: name.into(),
            engine: engine.to_owned(),
            ours: ours.median(),
            limit: limit.median(),
            ratio,
            bar,
            passed,
            better,
            ours_spread: ours.spread(),
            limit_spread: limit.spread(),
        }
    }

    /// The figure as a row of the table.
    fn row(&self) -> String {
        let Self { name, ours, limit, ratio, passed, ours_spread, limit_spread, .. } = self;
        let verdict = if *passed { "passed" } else { "**missed**" };
        let (bar, verdict) = match self.better {
            Better::Higher(bar) => (format!("≥ {bar:.2}"), verdict),
            Better::Lower(bar) => (format!("≤ {bar:.2}"), verdict),
            Better::Told => (String::new(), ""),
        };
        let (ours, limit) = (shown(*ours), shown(*limit));
        let (ours_spread, limit_spread) = (spread_shown(*ours_spread), spread_shown(*limit_spread));
        format!(
            "| {} | {name} | {ours}{ours_spread} | {limit}{limit_spread} | {ratio:.2} | {bar} | {verdict} |",
            self.engine
        )
    }
}

/// A number with as many places as it has meaning.
fn shown(number: f64) -> String {
    if number.abs() >= 100.0 { format!("{number:.0}") } else { format!("{number:.2}") }
}

/// A number that was taken once has no spread.
fn spread_shown(spread: f64) -> String {
    if spread > 0.0 { format!(" ±{:.0}%", spread * 100.0) } else { String::new() }
}

/// The figures as a table in Markdown.
pub fn table(figures: &[Figure]) -> String {
    let head = "| engine | figure | ours | limit | ratio | bar | |\n|---|---|--:|--:|--:|--:|---|";
    std::iter::once(head.to_owned()).chain(figures.iter().map(Figure::row)).collect::<Vec<_>>().join("\n")
}

/// Writes the figures to a file, as a JSON list.
///
/// # Errors
/// When the file cannot be written.
pub fn write_json(figures: &[Figure], path: &Path) -> Result<()> {
    let text = serde_json::to_string_pretty(figures)? + "\n";
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_sample_or_the_mean_of_the_two() {
        let median = |samples: &[f64]| samples.iter().copied().collect::<Samples>().median();
        assert_eq!(median(&[3.0, 1.0, 2.0]).to_bits(), 2.0_f64.to_bits());
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]).to_bits(), 2.5_f64.to_bits());
    }

    #[test]
    fn a_high_quantile_is_among_the_largest_samples() {
        let samples: Samples = (1..=100).map(f64::from).collect();
        assert_eq!(samples.quantile(0.99).to_bits(), 100.0_f64.to_bits());
        assert_eq!(samples.quantile(0.95).to_bits(), 96.0_f64.to_bits());
    }

    #[test]
    fn a_figure_says_on_which_side_of_its_bar_it_is() {
        let passed = |ours, better| Figure::new("cycle", "memory", ours, 100.0, better).passed;
        assert!(passed(60.0, Better::Higher(0.6)) && !passed(59.0, Better::Higher(0.6)));
        assert!(passed(130.0, Better::Lower(1.3)) && !passed(131.0, Better::Lower(1.3)));
        assert!(passed(1.0, Better::Told));
    }
}
