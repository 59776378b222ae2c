//! Figures: medians, the lines that are printed, and the JSON that is kept.

use serde::Serialize;

/// One comparison of what we reach with what bounds us.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// On which engine.
    pub engine: String,
    /// Our median.
    pub ours: f64,
    /// The median that ours is held against.
    pub limit: f64,
    /// `ours / limit`.
    pub ratio: f64,
    /// What the ratio is to reach, or to stay within where a lower one is better.
    pub bar: f64,
}

impl Figure {
    /// A figure whose ratio is that of its medians.
    pub fn new(name: &str, engine: &str, ours: f64, limit: f64, bar: f64) -> Self {
        Self { name: name.to_owned(), engine: engine.to_owned(), ours, limit, ratio: ours / limit, bar }
    }
}

/// The median of at least one sample; the mean of the middle two of an even number.
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
}
