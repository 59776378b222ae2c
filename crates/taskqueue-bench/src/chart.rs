//! One bar chart of ratios for each engine, as SVG: how much of its limit each figure reaches, and where it is to be.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};

use crate::report::Figure;

const ROW: usize = 26;
const TOP: usize = 34;
const LABELS: f64 = 430.0;
const WIDTH: f64 = 420.0;

/// Writes `<engine>.svg` to the folder for each engine that has figures.
///
/// # Errors
/// When a file cannot be written.
pub fn write(figures: &[Figure], folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut engines: Vec<&str> = figures.iter().map(|figure| figure.engine.as_str()).collect();
    engines.dedup();
    for engine in engines {
        let of_engine: Vec<&Figure> = figures.iter().filter(|figure| figure.engine == engine).collect();
        let path = folder.join(format!("{engine}.svg"));
        std::fs::write(&path, svg(engine, &of_engine))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn svg(engine: &str, figures: &[&Figure]) -> String {
    let reach = |figure: &&Figure| figure.ratio.max(figure.bar.unwrap_or_default());
    let most = figures.iter().map(reach).fold(1.0, f64::max);
    let (height, width) = (TOP + figures.len() * ROW + 10, LABELS + WIDTH + 80.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"10\" y=\"20\" font-weight=\"bold\">{}: part of the limit; the line is the bar</text>\n",
        escaped(engine)
    );
    for (place, figure) in figures.iter().enumerate() {
        row(&mut svg, figure, TOP + place * ROW, WIDTH / most);
    }
    svg + "</svg>\n"
}

fn row(svg: &mut String, figure: &Figure, top: usize, scale: f64) {
    let (length, colour) = (figure.ratio * scale, if figure.passed { "#4c8f5b" } else { "#c0504d" });
    let text = top + 15;
    // Writing to a string cannot fail.
    let _ = writeln!(
        svg,
        "<text x=\"{:.0}\" y=\"{text}\" text-anchor=\"end\">{}</text>\n\
         <rect x=\"{LABELS}\" y=\"{}\" width=\"{length:.1}\" height=\"18\" fill=\"{colour}\"/>\n\
         <text x=\"{:.1}\" y=\"{text}\">{:.2}</text>",
        LABELS - 8.0,
        escaped(&figure.name),
        top + 2,
        LABELS + length + 6.0,
        figure.ratio
    );
    if let Some(bar) = figure.bar {
        let x = LABELS + bar * scale;
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top}\" y2=\"{}\" stroke=\"#222\" stroke-width=\"2\"/>",
            top + ROW - 4
        );
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Better;

    #[test]
    fn a_chart_has_a_bar_for_each_figure_and_a_line_for_each_that_has_one() {
        let with_bar = Figure::new("a < b", "memory", 1.0, 2.0, Better::Higher(0.6));
        let told = Figure::new("told", "memory", 1.0, 2.0, Better::Told);
        let svg = svg("memory", &[&with_bar, &told]);
        assert_eq!(svg.matches("height=\"18\"").count(), 2, "{svg}");
        assert_eq!(svg.matches("<line").count(), 1, "{svg}");
        assert!(svg.contains("a &lt; b") && !svg.contains("a < b"), "{svg}");
    }
}
