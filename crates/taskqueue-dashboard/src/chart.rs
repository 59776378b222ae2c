//! A small chart of what was seen: counts over time become the points of lines. It owns the drawing's size and scale, and
//! knows no queue.

use std::time::Duration;

/// The width of a chart, in the units of its view box.
pub(crate) const WIDTH: f64 = 200.0;
/// Its height.
pub(crate) const HEIGHT: f64 = 36.0;
/// What is left free above and below the line, so that it is not cut.
const MARGIN: f64 = 2.0;
/// Nobody looked between two points that are further apart: no line joins them.
const GAP: Duration = Duration::from_secs(30);

/// The lines of a chart.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Chart {
    /// Each line's points as SVG has them: `x,y x,y`.
    pub(crate) lines: Vec<String>,
    /// The least count and the greatest.
    pub(crate) range: (u64, u64),
}

impl Chart {
    /// Of counts, each so long ago, oldest first; the chart's width is `span`.
    pub(crate) fn of(counts: &[(Duration, u64)], span: Duration) -> Self {
        let least = counts.iter().map(|(_, count)| *count).min().unwrap_or_default();
        let most = counts.iter().map(|(_, count)| *count).max().unwrap_or_default();
        let runs = counts.chunk_by(|one, next| one.0.saturating_sub(next.0) <= GAP);
        let lines = runs.filter(|run| run.len() > 1).map(|run| {
            let points = run.iter().map(|(ago, count)| {
                let (x, y) = (across(*ago, span), up(*count, least, most));
                format!("{x:.1},{y:.1}")
            });
            points.collect::<Vec<_>>().join(" ")
        });
        Self { lines: lines.collect(), range: (least, most) }
    }
}

fn across(ago: Duration, span: Duration) -> f64 {
    WIDTH * (1.0 - ago.as_secs_f64() / span.as_secs_f64()).max(0.0)
}

/// What does not change is drawn at the foot.
fn up(count: u64, least: u64, most: u64) -> f64 {
    let share = if most == least { 0.0 } else { (count - least) as f64 / (most - least) as f64 };
    MARGIN + (HEIGHT - 2.0 * MARGIN) * (1.0 - share)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_secs(100);

    fn ago(seconds: u64, count: u64) -> (Duration, u64) {
        (Duration::from_secs(seconds), count)
    }

    #[test]
    fn counts_are_drawn_from_the_left_to_the_right_and_the_greatest_is_on_top() {
        let chart = Chart::of(&[ago(50, 10), ago(25, 30), ago(0, 20)], SPAN);
        assert_eq!(chart.lines, ["100.0,34.0 150.0,2.0 200.0,18.0"]);
        assert_eq!(chart.range, (10, 30));
    }

    #[test]
    fn no_line_joins_points_between_which_nobody_looked() {
        let chart = Chart::of(&[ago(90, 1), ago(80, 1), ago(10, 1), ago(0, 1)], SPAN);
        assert_eq!(chart.lines.len(), 2);
        assert!(Chart::of(&[ago(90, 1), ago(10, 1)], SPAN).lines.is_empty());
        assert_eq!(Chart::of(&[], SPAN), Chart::default());
    }
}
