//! The part of a Markdown document that a run writes anew: on what it ran, and its table. It measures nothing.

use std::path::Path;

use anyhow::{Context, Result};

use crate::report::{Figure, table};

/// What is between these lines is a run's.
const BEGIN: &str = "<!-- measured: begin -->";
const END: &str = "<!-- measured: end -->";

/// Replaces what the document says was measured. `versions` are the engines' with their versions.
///
/// # Errors
/// When the document cannot be read or written, or has no place for it.
pub fn write(path: &Path, versions: &[String], figures: &[Figure]) -> Result<()> {
    let shown = path.display();
    let old = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    let measured = format!("{}\n\n{}", machine(versions), table(figures));
    let new = replaced(&old, &measured).with_context(|| format!("{shown} has no lines {BEGIN} and {END}"))?;
    std::fs::write(path, new).with_context(|| format!("cannot write {shown}"))
}

fn replaced(document: &str, measured: &str) -> Option<String> {
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{measured}\n\n{END}{after}"))
}

/// One sentence on what was measured where.
fn machine(versions: &[String]) -> String {
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
    fn only_what_is_between_the_marks_is_replaced() {
        let document = format!("# A\n\n{BEGIN}\nold\n{END}\n\n## B\n");
        let new = replaced(&document, "new").expect("it has the marks");
        assert_eq!(new, format!("# A\n\n{BEGIN}\n\nnew\n\n{END}\n\n## B\n"));
        assert_eq!(replaced(&new, "new").as_deref(), Some(new.as_str()), "writing it again changes nothing");
        assert_eq!(replaced("# A\n", "new"), None);
    }

    #[test]
    fn a_field_is_found_by_its_name() {
        let text = "processor\t: 0\nmodel name\t: A 9 @ 2\n";
        assert_eq!(field(text, "model name"), Some("A 9 @ 2"));
        assert_eq!(field(text, "flags"), None);
    }
}
