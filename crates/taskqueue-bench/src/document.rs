//! The parts of a Markdown document that runs write anew, and the sentence on what they ran. It measures nothing.

use std::path::Path;

use anyhow::{Context, Result};

/// Replaces what the document has between the lines `<!-- NAME: begin -->` and `<!-- NAME: end -->`.
///
/// # Errors
/// When the document cannot be read or written, or has no such lines.
pub fn write(path: &Path, name: &str, text: &str) -> Result<()> {
    let shown = path.display();
    let old = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    let new =
        replaced(&old, name, text).with_context(|| format!("{shown} has no lines of the name {name}"))?;
    std::fs::write(path, new).with_context(|| format!("cannot write {shown}"))
}

fn replaced(document: &str, name: &str, text: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- {name}: begin -->"), format!("<!-- {name}: end -->"));
    let (before, rest) = document.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n\n{text}\n\n{end}{after}"))
}

/// A chart as the document shows it, by the path from the document's folder where it is below.
pub fn image(document: &Path, chart: &Path) -> String {
    let folder = document.parent().unwrap_or(Path::new(""));
    let path = chart.strip_prefix(folder).unwrap_or(chart);
    let name = chart.file_stem().unwrap_or_default().to_string_lossy();
    format!("![{name}: ratios and bars]({})", path.display())
}

/// One sentence on what was measured where. `versions` are the engines' with their versions.
pub fn machine(versions: &[String]) -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let processor = field(&read("/proc/cpuinfo"), "model name").unwrap_or("an unknown processor").to_owned();
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let memory_kib: u64 = field(&read("/proc/meminfo"), "MemTotal")
        .and_then(|total| total.split_whitespace().next()?.parse().ok())
        .unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    format!(
        "taskqueue {} on {cores} cores ({processor}), {} GiB, Linux {}; {}.",
        env!("CARGO_PKG_VERSION"),
        memory_kib / 1024 / 1024,
        kernel.trim(),
        versions.join(", ")
    )
}

/// The value in the first line `name : value`.
fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_of_the_name_is_replaced() {
        let part =
            |name: &str, text: &str| format!("<!-- {name}: begin -->\n\n{text}\n\n<!-- {name}: end -->");
        let document = format!("# A\n\n{}\n\n## B\n{}\n", part("one", "old"), part("two", "other"));
        let new = replaced(&document, "one", "new").expect("it has the marks");
        assert_eq!(new, format!("# A\n\n{}\n\n## B\n{}\n", part("one", "new"), part("two", "other")));
        assert_eq!(replaced(&new, "one", "new").as_deref(), Some(new.as_str()), "again changes nothing");
        assert_eq!(replaced("# A\n", "one", "new"), None);
    }

    #[test]
    fn an_image_is_named_from_the_documents_folder() {
        let image = image(Path::new("docs/performance.md"), Path::new("docs/performance/mysql.svg"));
        assert_eq!(image, "![mysql: ratios and bars](performance/mysql.svg)");
    }

    #[test]
    fn a_field_is_found_by_its_name() {
        let text = "processor\t: 0\nmodel name\t: A 9 @ 2\n";
        assert_eq!(field(text, "model name"), Some("A 9 @ 2"));
        assert_eq!(field(text, "flags"), None);
    }
}
