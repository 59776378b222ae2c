//! What the demo prints at its end. It owns the words; it computes nothing.

use std::time::Duration;

use super::verify::{Kill, Verdict};
use crate::failure::{Failure, Outcome};
use crate::output::{self, Align, Table, thousands};

/// How many keys of lost or altered events are named.
const NAMED_MAX: usize = 5;

/// Everything that the summary tells.
#[derive(Debug)]
pub(super) struct Summary<'a> {
    pub(super) verdict: &'a Verdict,
    pub(super) kill: Option<&'a Kill>,
    /// Events that became dead letters.
    pub(super) dead_letters: u64,
    /// From the start of enqueueing to its end.
    pub(super) enqueueing: Duration,
    /// The database, if it stays.
    pub(super) kept: Option<String>,
}

impl Summary<'_> {
    /// The whole text.
    pub(super) fn text(&self) -> String {
        let mut text =
            format!("\nWhat the receiver got, compared with the input event by event\n\n{}", self.table());
        for (what, examples) in [("lost", &self.verdict.lost), ("altered", &self.verdict.altered)] {
            for example in examples.iter().take(NAMED_MAX) {
                text.push_str(&format!("  {what}: {}\n", output::printable(example)));
            }
        }
        text.push_str(&format!("\n{}\n\n{}", self.conclusion(), self.next_steps()));
        text
    }

    /// A failure, unless every event arrived as it was sent.
    pub(super) fn judge(&self) -> Outcome {
        if self.verdict.holds() && self.dead_letters == 0 {
            return Ok(());
        }
        Err(Failure::failed(format!(
            "demo: {} lost, {} altered, {} dead letters",
            self.verdict.lost.len(),
            self.verdict.altered.len(),
            self.dead_letters
        )))
    }

    fn table(&self) -> String {
        let verdict = self.verdict;
        let mut table = Table::plain([Align::Left, Align::Right, Align::Left]);
        let mut row = |name: &str, value: String, note: String| table.row([name.to_owned(), value, note]);
        row("enqueued", thousands(verdict.enqueued), format!("in {}", seconds(self.enqueueing)));
        row(
            "delivered",
            thousands(verdict.delivered),
            format!("in {}, the kill included", seconds(verdict.took)),
        );
        row("delivered twice", thousands(verdict.twice), self.twice_note().to_owned());
        row("lost", thousands(verdict.lost.len() as u64), String::new());
        row("altered", thousands(verdict.altered.len() as u64), COMPARED.to_owned());
        row("dead letters", thousands(self.dead_letters), String::new());
        row(
            "throughput",
            format!("{:.0}/s", verdict.throughput()),
            "durable, over HTTP, one worker process".into(),
        );
        row(
            "p50",
            seconds(verdict.wait_p50),
            "from due to delivered: all were due at once, so this is".into(),
        );
        row("p99", seconds(verdict.wait_p99), "how long the backlog took, kill and recovery included".into());
        if let Some(kill) = self.kill {
            self.recovery(kill, &mut row);
        }
        table.render(2)
    }

    fn recovery(&self, kill: &Kill, row: &mut impl FnMut(&str, String, String)) {
        let shown = |time: Option<Duration>| time.map_or_else(|| "never".to_owned(), seconds);
        let next = shown(self.verdict.next_after_kill);
        row("after the kill", next, "until the next worker delivered".into());
        if !kill.held.is_empty() {
            let held = output::count(kill.held.len() as u64, "task", "tasks");
            row(
                "recovery",
                shown(self.verdict.held_recovered),
                format!("until the {held} that it held were delivered"),
            );
        }
    }

    fn twice_note(&self) -> &'static str {
        if self.verdict.twice == 0 {
            "it may happen: delivery is at least once"
        } else {
            "under way when the worker was killed; the id header tells a repeat"
        }
    }

    fn conclusion(&self) -> &'static str {
        match (self.verdict.holds() && self.dead_letters == 0, self.kill.is_some()) {
            (true, true) => {
                "Nothing was lost: every task that the killed worker held came back and was delivered."
            }
            (true, false) => {
                "Nothing was lost. All was delivered before there was a worker to kill: try more events."
            }
            (false, _) => "This must not happen. Please report it, with the lines above.",
        }
    }

    fn next_steps(&self) -> String {
        let mut steps: Vec<(String, &str)> = Vec::new();
        match &self.kept {
            Some(database) => {
                steps.push((format!("taskqueue --database {database} stats"), "what this run left behind"));
                steps.push((format!("taskqueue --database {database} list --limit 5"), "some of its tasks"));
            }
            None => steps.push(("taskqueue demo --keep".to_owned(), "keep the database, to look into it")),
        }
        steps.push(("taskqueue demo --input .".to_owned(), "the same with your own files"));
        steps.push((r#"taskqueue enqueue --type hello '{"name":"Ada"}'"#.to_owned(), "a task of your own"));
        steps.push(("taskqueue work --exec hello=cat".to_owned(), "run it: its payload goes to a command"));
        let mut table = Table::plain([Align::Left, Align::Left]);
        steps.into_iter().for_each(|(command, why)| table.row([command, why.to_owned()]));
        format!(
            "What to try next (`cargo install --path crates/taskqueue-cli` puts `taskqueue` on your path)\n{}",
            table.render(2)
        )
    }
}

const COMPARED: &str = "bucket, key, ETag, size and sequencer compared";

fn seconds(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{} ms", duration.as_millis())
    } else {
        format!("{:.2} s", duration.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(verdict: &Verdict) -> Summary<'_> {
        Summary { verdict, kill: None, dead_letters: 0, enqueueing: Duration::from_millis(7), kept: None }
    }

    #[test]
    fn a_lost_or_altered_event_or_a_dead_letter_fails_the_demo_and_is_named() {
        let lost = Verdict { lost: vec!["a/b\u{1b}".into()], ..Verdict::default() };
        let altered = Verdict { altered: vec!["task 1".into()], ..Verdict::default() };
        assert!(summary(&lost).judge().is_err() && summary(&altered).judge().is_err());
        assert!(summary(&lost).text().contains("lost: a/b\\u{1b}\n"));
        let sound = Verdict::default();
        assert!(summary(&sound).judge().is_ok());
        assert!(Summary { dead_letters: 1, ..summary(&sound) }.judge().is_err());
    }

    #[test]
    fn durations_are_written_for_people() {
        assert_eq!(seconds(Duration::from_millis(999)), "999 ms");
        assert_eq!(seconds(Duration::from_millis(3456)), "3.46 s");
    }
}
