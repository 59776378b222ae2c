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
    pub(super) kill: &'a Kill,
    /// Events that became dead letters.
    pub(super) dead_letters: u64,
    /// From the start of enqueueing to its end.
    pub(super) enqueueing: Duration,
    /// The options that lead to the queue, if it stays.
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
        let due = "from due to delivered; all were due at once, so this is the time";
        row("p50", seconds(verdict.wait_p50), due.into());
        row("p99", seconds(verdict.wait_p99), "that the backlog took, with the kill in it".into());
        self.recovery(&mut row);
        table.render(2)
    }

    fn recovery(&self, row: &mut impl FnMut(&str, String, String)) {
        let shown = |time: Option<Duration>| time.map_or_else(|| "never".to_owned(), seconds);
        let verdict = self.verdict;
        row("after the kill", shown(verdict.next_after_kill), "until the next worker delivered".into());
        if !self.kill.held.is_empty() {
            let held = output::count(self.kill.held.len() as u64, "task", "tasks");
            let held = format!("until the {held} that it held had been taken back");
            row("recovery", shown(verdict.held_taken_back), held);
            // Often the same moment: then the second line would only say how finely the first was observed.
            if verdict.held_delivered.is_none() || verdict.held_delivered > verdict.held_taken_back {
                let again = "until they were delivered, behind what was waiting already";
                row("", shown(verdict.held_delivered), again.into());
            }
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
        match (self.verdict.holds() && self.dead_letters == 0, self.kill.held.is_empty()) {
            (true, false) => {
                "Nothing was lost: every task that the killed worker held came back and was delivered."
            }
            (true, true) => {
                "Nothing was lost. The killed worker held no task at that moment: try more events."
            }
            (false, _) => "This must not happen. Please report it, with the lines above.",
        }
    }

    fn next_steps(&self) -> String {
        let mut steps: Vec<(String, &str)> = Vec::new();
        match &self.kept {
            Some(options) => {
                steps.push((format!("taskqueue {options} stats"), "what this run left behind"));
                steps.push((format!("taskqueue {options} list --limit 5"), "some of its tasks"));
            }
            None => steps.push(("taskqueue demo --keep".to_owned(), "keep the database, to look into it")),
        }
        steps.push(("taskqueue demo --input .".to_owned(), "the same with your own files"));
        steps.push((r#"taskqueue enqueue --type hello '{"name":"Ada"}'"#.to_owned(), "a task of your own"));
        steps.push((
            "taskqueue work --exec hello='tee hello.json'".to_owned(),
            "run it: the payload goes to a command, here into a file",
        ));
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
    use taskqueue_core::{Clock, ManualClock};

    use super::*;

    fn kill() -> Kill {
        let now = ManualClock::default().now();
        Kill { at: now, restarted_at: now, held: Vec::new(), taken_back_at: None }
    }

    fn summary<'a>(verdict: &'a Verdict, kill: &'a Kill) -> Summary<'a> {
        Summary { verdict, kill, dead_letters: 0, enqueueing: Duration::from_millis(7), kept: None }
    }

    #[test]
    fn a_lost_or_altered_event_or_a_dead_letter_fails_the_demo_and_is_named() {
        let lost = Verdict { lost: vec!["a/b\u{1b}".into()], ..Verdict::default() };
        let altered = Verdict { altered: vec!["task 1".into()], ..Verdict::default() };
        assert!(summary(&lost, &kill()).judge().is_err() && summary(&altered, &kill()).judge().is_err());
        assert!(summary(&lost, &kill()).text().contains("lost: a/b\\u{1b}\n"));
        let sound = Verdict::default();
        assert!(summary(&sound, &kill()).judge().is_ok());
        assert!(Summary { dead_letters: 1, ..summary(&sound, &kill()) }.judge().is_err());
    }

    #[test]
    fn durations_are_written_for_people() {
        assert_eq!(seconds(Duration::from_millis(999)), "999 ms");
        assert_eq!(seconds(Duration::from_millis(3456)), "3.46 s");
    }
}
