//! Progress of long work: a bar where standard error is a terminal, else nothing (`quiet`) or plain lines, at most
//! one a second (`lines`). It owns how progress looks; it knows no queue.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

use crate::failure::Outcome;
use crate::output;

const LINE_INTERVAL: Duration = Duration::from_secs(1);

/// What the numbers of a progress are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Of a file.
    Bytes,
    /// Files, tasks, events: `{noun}` of them.
    Things(&'static str),
}

/// How far a piece of work has come.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    lines: Option<Lines>,
}

#[derive(Debug)]
struct Lines {
    label: String,
    noun: &'static str,
    total: u64,
    last: Instant,
}

impl Progress {
    /// A bar on a terminal, nothing elsewhere. A `total` of 0 means that it is not known.
    pub(crate) fn quiet(label: &str, unit: Unit, total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| bar(label, unit, total));
        Self { bar, lines: None }
    }

    /// A bar on a terminal, plain lines on standard output elsewhere.
    pub(crate) fn lines(label: &str, noun: &'static str, total: u64) -> Self {
        let mut progress = Self::quiet(label, Unit::Things(noun), total);
        if progress.bar.is_none() {
            progress.lines = Some(Lines { label: label.to_owned(), noun, total, last: Instant::now() });
        }
        progress
    }

    /// Says how far the work has come; `message` is whatever else is worth seeing.
    pub(crate) fn set(&mut self, position: u64, message: &str) -> Outcome {
        if let Some(bar) = &self.bar {
            bar.set_position(position);
            bar.set_message(message.to_owned());
        }
        match &mut self.lines {
            Some(lines) if lines.last.elapsed() >= LINE_INTERVAL => {
                lines.last = Instant::now();
                output::line(lines.text(position, message))
            }
            _ => Ok(()),
        }
    }

    /// Takes the bar away, so that what is printed next stands alone.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Lines {
    fn text(&self, position: u64, message: &str) -> String {
        let Self { label, noun, total, .. } = self;
        let (done, all) = (output::thousands(position), output::thousands(*total));
        let text = format!("   {label}: {done} of {all} {noun}");
        if message.is_empty() { text } else { format!("{text}, {message}") }
    }
}

fn bar(label: &str, unit: Unit, total: u64) -> ProgressBar {
    let counts = match unit {
        Unit::Bytes => "{bytes} of {total_bytes}".to_owned(),
        Unit::Things(noun) if total == 0 => format!("{{human_pos}} {noun}"),
        Unit::Things(noun) => format!("{{human_pos}} of {{human_len}} {noun}"),
    };
    let gauge = if total == 0 { "{spinner}" } else { "[{bar:32}]" };
    let template = format!("   {{prefix}} {gauge} {counts} {{msg}}");
    let style = ProgressStyle::with_template(&template).expect("the template is made of known keys");
    let bar =
        ProgressBar::with_draw_target(Some(total).filter(|total| *total > 0), ProgressDrawTarget::stderr());
    bar.set_style(style.progress_chars("=> "));
    bar.set_prefix(label.to_owned());
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_form_of_bar_has_a_valid_template() {
        for unit in [Unit::Bytes, Unit::Things("files")] {
            for total in [0, 7] {
                bar("reading", unit, total).finish_and_clear();
            }
        }
    }

    #[tokio::test]
    async fn a_plain_line_says_how_far_of_how_much() {
        let lines = Lines { label: "delivering".into(), noun: "events", total: 9000, last: Instant::now() };
        assert_eq!(lines.text(1200, "900/s"), "   delivering: 1,200 of 9,000 events, 900/s");
    }
}
