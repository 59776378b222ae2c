//! One bar chart of ratios for each engine, as SVG: how much of its limit each figure reaches, and where it is to be.
//! Every text has a column of its own, so that none covers another whatever the figures are.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::report::{Better, Figure};

const ROW: usize = 24;
/// Where the rows begin, below title, legend and scale.
const TOP: usize = 84;
/// Where the bars begin; names end left of it.
const BARS: f64 = 480.0;
const BARS_WIDTH: f64 = 400.0;
/// What the longest bar stands for: more is cut off, and marked.
const RATIO_MAX: f64 = 2.0;
/// Columns right of the bars.
const RATIOS: f64 = BARS + BARS_WIDTH + 50.0;
const GOALS: f64 = RATIOS + 60.0;
const WIDTH: f64 = GOALS + 70.0;

const PASSED: &str = "#3f8f5f";
const MISSED: &str = "#c8553d";
const TOLD: &str = "#7f97b3";

/// Writes `<engine>.svg` to the folder for each engine that has figures; answers the files.
///
/// # Errors
/// When a file cannot be written.
pub fn write(figures: &[Figure], folder: &Path) -> Result<Vec<PathBuf>> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut engines: Vec<&str> = figures.iter().map(|figure| figure.engine.as_str()).collect();
    engines.dedup();
    let write = |engine: &&str| {
        let of_engine: Vec<&Figure> = figures.iter().filter(|figure| figure.engine == *engine).collect();
        let path = folder.join(format!("{engine}.svg"));
        let written = std::fs::write(&path, svg(engine, &of_engine));
        written.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    };
    engines.iter().map(write).collect()
}

fn svg(engine: &str, figures: &[&Figure]) -> String {
    let bottom = TOP + figures.len() * ROW;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" font-family=\"DejaVu Sans, Verdana, sans-serif\" font-size=\"11\" fill=\"#222\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"12\" y=\"24\" font-size=\"15\" font-weight=\"bold\">{}: ours as a part of the limit</text>\n",
        escaped(engine),
        height = bottom + 14,
    );
    legend(&mut svg);
    scale(&mut svg, bottom);
    for (place, figure) in figures.iter().enumerate() {
        row(&mut svg, figure, TOP + place * ROW);
    }
    svg + "</svg>\n"
}

// Writing to a string cannot fail: what `writeln!` answers is dropped below.

fn legend(svg: &mut String) {
    let entries = [("bar passed", PASSED), ("bar missed", MISSED), ("has no bar", TOLD)];
    for (place, (text, colour)) in (0_u32..).zip(entries) {
        let x = 12.0 + f64::from(place) * 110.0;
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"38\" width=\"12\" height=\"12\" fill=\"{colour}\"/>\n\
             <text x=\"{}\" y=\"48\">{text}</text>",
            x + 18.0
        );
    }
    let _ = writeln!(
        svg,
        "<line x1=\"348\" x2=\"348\" y1=\"36\" y2=\"52\" stroke=\"#111\" stroke-width=\"3\"/>\n\
         <text x=\"356\" y=\"48\">the bar</text>\n\
         <text x=\"{RATIOS}\" y=\"{0}\" text-anchor=\"end\" font-weight=\"bold\">ratio</text>\n\
         <text x=\"{GOALS}\" y=\"{0}\" text-anchor=\"end\" font-weight=\"bold\">bar</text>",
        TOP - 10
    );
}

fn scale(svg: &mut String, bottom: usize) {
    for quarter in (0..=8).step_by(2) {
        let ratio = f64::from(quarter) / 4.0;
        let x = place_of(ratio);
        let colour = if quarter == 4 { "#888" } else { "#ddd" };
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{}\" y2=\"{bottom}\" stroke=\"{colour}\"/>\n\
             <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#555\">{ratio:.1}</text>",
            TOP - 4,
            TOP - 10
        );
    }
}

fn row(svg: &mut String, figure: &Figure, top: usize) {
    let (colour, goal) = match figure.better {
        Better::Told => (TOLD, String::new()),
        Better::Higher(bar) => (colour(figure), format!("≥ {bar:.2}")),
        Better::Lower(bar) => (colour(figure), format!("≤ {bar:.2}")),
    };
    let (text, end) = (top + 16, place_of(figure.ratio));
    let _ = writeln!(
        svg,
        "<text x=\"{:.0}\" y=\"{text}\" text-anchor=\"end\">{}</text>\n\
         <rect class=\"figure\" x=\"{BARS}\" y=\"{}\" width=\"{:.1}\" height=\"16\" fill=\"{colour}\"/>\n\
         <text x=\"{RATIOS}\" y=\"{text}\" text-anchor=\"end\">{:.2}</text>\n\
         <text x=\"{GOALS}\" y=\"{text}\" text-anchor=\"end\">{goal}</text>",
        BARS - 10.0,
        escaped(&figure.name),
        top + 4,
        end - BARS,
        figure.ratio,
    );
    if figure.ratio > RATIO_MAX {
        let tip = (top + 4, top + 12, top + 20);
        let _ = writeln!(
            svg,
            "<polygon points=\"{end},{} {},{} {end},{}\" fill=\"{colour}\"/>",
            tip.0,
            end + 9.0,
            tip.1,
            tip.2
        );
    }
    // One that is beyond the scale stands in its column only.
    if let Some(bar) = figure.bar.filter(|bar| *bar <= RATIO_MAX) {
        let x = place_of(bar);
        let _ = writeln!(
            svg,
            "<line class=\"bar\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{}\" y2=\"{}\" stroke=\"#111\" stroke-width=\"3\"/>",
            top + 1,
            top + ROW - 1
        );
    }
}

fn colour(figure: &Figure) -> &'static str {
    if figure.passed { PASSED } else { MISSED }
}

fn place_of(ratio: f64) -> f64 {
    BARS + ratio.clamp(0.0, RATIO_MAX) / RATIO_MAX * BARS_WIDTH
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_has_a_bar_for_each_figure_and_a_line_for_each_that_has_one() {
        let with_bar = Figure::new("a < b", "memory", 1.0, 2.0, Better::Higher(0.6));
        let told = Figure::new("told", "memory", 1.0, 2.0, Better::Told);
        let svg = svg("memory", &[&with_bar, &told]);
        assert_eq!(svg.matches("class=\"figure\"").count(), 2, "{svg}");
        assert_eq!(svg.matches("class=\"bar\"").count(), 1, "{svg}");
        assert!(svg.contains("a &lt; b") && !svg.contains("a < b"), "{svg}");
        assert!(svg.contains("≥ 0.60"), "{svg}");
    }

    #[test]
    fn a_ratio_beyond_the_scale_is_cut_off_and_marked() {
        let far = Figure::new("far", "memory", 9.0, 1.0, Better::Higher(3.0));
        let svg = svg("memory", &[&far]);
        assert!(svg.contains(&format!("width=\"{BARS_WIDTH:.1}\"")), "{svg}");
        assert!(svg.contains("<polygon") && svg.contains(">9.00<"), "{svg}");
        assert!(svg.contains("≥ 3.00") && !svg.contains("class=\"bar\""), "{svg}");
    }
}
