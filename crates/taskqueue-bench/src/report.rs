//! Figures: medians, the lines that are printed, and the JSON that is kept.

use std::fmt;
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
}

/// One comparison of what we reach with what it is held against.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// On which engine.
    pub engine: String,
    /// Our median.
    pub ours: f64,
    /// What ours is held against.
    pub limit: f64,
    /// `ours / limit`.
    pub ratio: f64,
    /// Where the ratio is to be; see `passed`.
    pub bar: f64,
    /// Whether the ratio is on the right side of the bar.
    pub passed: bool,
}

impl Figure {
    /// A figure whose ratio is that of its medians.
    pub fn new(name: &str, engine: &str, ours: f64, limit: f64, better: Better) -> Self {
        let ratio = ours / limit;
        let (bar, passed) = match better {
            Better::Higher(bar) => (bar, ratio >= bar),
            Better::Lower(bar) => (bar, ratio <= bar),
        };
        Self { name: name.to_owned(), engine: engine.to_owned(), ours, limit, ratio, bar, passed }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, engine, ours, limit, ratio, bar, passed } = self;
        let verdict = if *passed { "passed" } else { "MISSED" };
        write!(f, "{engine}: {name}: {ours:.0} / {limit:.0} = {ratio:.2} (bar {bar}) {verdict}")
    }
}

/// Prints the figures, and writes them as a JSON list if a file is named.
///
/// # Errors
/// When the file cannot be written.
pub fn publish(figures: &[Figure], json: Option<&Path>) -> Result<()> {
    for figure in figures {
        println!("{figure}");
    }
    if let Some(path) = json {
        let text = serde_json::to_string_pretty(figures)? + "\n";
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// The median of at least one sample; the mean of the middle two of an even number.
///
/// # Panics
/// When there is no sample.
pub fn median(mut samples: Vec<f64>) -> f64 {
    assert!(!samples.is_empty(), "a median needs samples");
    samples.sort_by(f64::total_cmp);
    let middle = samples.len() / 2;
    if samples.len() % 2 == 1 { samples[middle] } else { f64::midpoint(samples[middle - 1], samples[middle]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_sample_or_the_mean_of_the_two() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]).to_bits(), 2.0_f64.to_bits());
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]).to_bits(), 2.5_f64.to_bits());
    }

    #[test]
    fn a_figure_says_on_which_side_of_its_bar_it_is() {
        let passed = |ours, better| Figure::new("cycle", "memory", ours, 100.0, better).passed;
        assert!(passed(60.0, Better::Higher(0.6)) && !passed(59.0, Better::Higher(0.6)));
        assert!(passed(130.0, Better::Lower(1.3)) && !passed(131.0, Better::Lower(1.3)));
    }
}
